"""Two models on the same images, several labels to an image: how far apart are their rankings?

A label's area under the ROC curve (AUC) is the share of pairs, one image with the label and one without,
that a model ranks rightly, ties one half. Its variance comes from what each image contributes, its
*placement*: the share of images of the other kind that it is ranked rightly against (DeLong, DeLong and
Clarke-Pearson 1988, Biometrics 44:837). Contributions are kept by image, so that both models, and all
labels of an image, vary together as they do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgecell.metrics.intervals import Interval, resampled_images
from edgecell.metrics.labels import check_label_inputs
from edgecell.metrics.paired import RESAMPLES
from edgecell.metrics.scores import FloatArray, IntArray

FEWEST = 3
"""Images that have a label, and images that lack it, for its AUC to have a spread."""
_ROUNDING = 1e-13
"""Below this an error or a drop is the rounding of sums: one pair ranked otherwise is more."""


@dataclass(frozen=True)
class Areas:
    """AUC of each label, ``area`` (C,), and what each image contributes to it, ``parts`` (N, C).

    The standard error of a label's AUC is the root of the sum of its squared parts; of a mean of
    labels that of the mean parts. NaN and zeros where fewer than three images have the label or lack it:
    two differ from their mean by the same, which hides how little they tell.
    """

    area: FloatArray
    parts: FloatArray

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which labels can be ranked and their spread told (C,)."""
        return np.isfinite(self.area)

    def __add__(self, other: Areas) -> Areas:
        """Sums and differences of AUCs on the same images: what an image contributes adds up alike."""
        return Areas(self.area + other.area, self.parts + other.parts)

    def __sub__(self, other: Areas) -> Areas:
        return Areas(self.area - other.area, self.parts - other.parts)

    def __truediv__(self, count: float) -> Areas:
        return Areas(self.area / count, self.parts / count)


@dataclass(frozen=True)
class AreaDrop:
    """A drop of AUC, reference minus converted, its standard error and degrees of freedom.

    ``unseen``: the error that one image more of the rarer kind could bring, moved by half the ranking.
    Where both models rank all images alike, the error is 0 and says nothing of other images; what is
    said of equivalence counts ``unseen`` in. Of two that rank perfectly and not at all the error is 0
    too, and then ``unseen`` stands for it.
    """

    drop: float
    error: float
    freedom: float
    unseen: float

    def interval(self, level: float = 0.95) -> Interval:
        """Student's interval of the drop."""
        reach = self._quantile((1 - level) / 2) * self._spread()
        return Interval(self.drop - reach, self.drop + reach)

    def upper_bound(self, alpha: float) -> float:
        """What the drop does not exceed at one-sided ``alpha``; ``unseen`` counted in."""
        return self.drop + self._quantile(alpha) * math.hypot(self.error, self.unseen)

    def lower_bound(self, alpha: float) -> float:
        """What the drop does not fall below at one-sided ``alpha``; ``unseen`` counted in."""
        return self.drop - self._quantile(alpha) * math.hypot(self.error, self.unseen)

    def worse_p(self) -> float:
        """One-sided p-value against "no drop"; 1.0 where the models rank all images alike."""
        if self._spread() == 0:
            return 0.0 if self.drop > 0 else 1.0
        return float(stats.t.sf(self.drop / self._spread(), self.freedom))

    def two_sided_p(self) -> float:
        """p-value against "no difference"; 1.0 where the models rank all images alike."""
        worse = self.worse_p()
        return 1.0 if self.drop == 0 else 2 * min(worse, 1 - worse)

    def non_inferiority_p(self, margin: float) -> float:
        """p-value against "the drop is ``margin`` or more"; small: it is less."""
        spread = math.hypot(self.error, self.unseen)
        return float(stats.t.cdf((self.drop - margin) / spread, self.freedom))

    def images_for_equivalence(self, n: int, margin: float, alpha: float) -> int | None:
        """Images, of which there were ``n``, to show a drop below ``margin`` in 4 of 5 repetitions."""
        left = margin - max(self.drop, 0.0)
        if left <= 0:
            return None
        # With k times the images error falls by the root of k, unseen by k: solve for 1 / k.
        a, b, c = self.unseen**2, self.error**2, (left / self._reach(alpha)) ** 2
        share = 2 * c / (b + math.sqrt(b * b + 4 * a * c))
        return math.ceil(n / share)

    def images_for_worse(self, n: int, alpha: float) -> int | None:
        """Images, of which there were ``n``, to see this drop in 4 of 5 repetitions."""
        if self.drop <= 0:
            return None
        return math.ceil(n * (self._reach(alpha) * self._spread() / self.drop) ** 2)

    def _spread(self) -> float:
        return self.unseen if self.error == 0 and self.drop != 0 else self.error

    def _reach(self, alpha: float, power: float = 0.8) -> float:
        return self._quantile(alpha) + self._quantile(1 - power)

    def _quantile(self, tail: float) -> float:
        return float(stats.t.isf(tail, self.freedom))


def areas(labels: NDArray, probabilities: NDArray) -> Areas:
    """AUC of each label with DeLong's placements; labels int (N, C) of 0 and 1, probabilities (N, C).

    Raises:
        DataError: shapes or values that do not fit.
    """
    labels, probabilities = check_label_inputs(labels, probabilities)
    found = [_placements(y == 1, p) for y, p in zip(labels.T, probabilities.T, strict=True)]
    return Areas(np.array([area for area, _ in found]), np.stack([part for _, part in found], 1))


def _placements(has: NDArray[np.bool_], scores: FloatArray) -> tuple[float, FloatArray]:
    parts = np.zeros(len(has))
    with_it, without = np.sort(scores[has]), np.sort(scores[~has])
    m, n = len(with_it), len(without)
    if min(m, n) < FEWEST:
        return math.nan, parts
    above = _share_below(without, scores[has])
    below = 1 - _share_below(with_it, scores[~has])
    area = float(above.mean())
    # Divisors m (m - 1): the squares sum up to DeLong's unbiased variance.
    parts[has] = (above - area) / math.sqrt(m * (m - 1))
    parts[~has] = (below - area) / math.sqrt(n * (n - 1))
    return area, parts


def _share_below(ordered: FloatArray, scores: FloatArray) -> FloatArray:
    """Share of ``ordered`` below each score, equal ones counted half."""
    low, high = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    return np.asarray((low + high) / (2 * len(ordered)))


def label_drops(labels: NDArray, reference: Areas, converted: Areas) -> list[AreaDrop | None]:
    """The drop of each label; None where its spread cannot be told."""
    weights = np.eye(len(reference.area))
    return [
        _drop(labels, reference, converted, weights[i]) if known else None
        for i, known in enumerate(reference.known)
    ]


def mean_drop(labels: NDArray, reference: Areas, converted: Areas) -> AreaDrop | None:
    """The drop of the mean over labels, of those that can be ranked; None without any."""
    known = reference.known
    if not known.any():
        return None
    return _drop(labels, reference, converted, known / known.sum())


def above_chance(labels: NDArray, found: Areas) -> AreaDrop | None:
    """How far the mean AUC is above 0.5; None where no label can be ranked."""
    nothing = Areas(np.where(found.known, 0.5, np.nan), np.zeros_like(found.parts))
    return mean_drop(labels, found, nothing)


def _drop(
    labels: NDArray, reference: Areas, converted: Areas, weights: NDArray[np.float64]
) -> AreaDrop:
    used = weights > 0
    share = weights[used]
    error, freedom = spread((reference.parts - converted.parts)[:, used] @ share)
    drop = float((reference.area - converted.area)[used] @ share)
    if abs(drop) < _ROUNDING:
        drop = 0.0
    return AreaDrop(drop, error, freedom, unseen(labels[:, used], share))


def unseen(labels: NDArray, share: NDArray[np.float64]) -> float:
    """:attr:`AreaDrop.unseen` of labels (N, K) that count ``share`` (K,) each."""
    having = labels.sum(axis=0)
    rarer = np.minimum(having, len(labels) - having)
    return float(np.sqrt(((0.5 * share / rarer) ** 2).sum()))


def spread(parts: FloatArray) -> tuple[float, float]:
    """Standard error and degrees of freedom of what images (N,) add up to, or of its difference.

    Each image is a variance of its own (Satterthwaite 1946): few images that differ are few degrees.
    """
    squares = parts**2
    total = float(squares.sum())
    if total < _ROUNDING**2:
        return 0.0, math.inf
    return math.sqrt(total), total**2 / float((squares**2).sum())


def paired_label_bootstrap(
    labels: IntArray,
    reference: NDArray[np.bool_],
    converted: NDArray[np.bool_],
    seed: int = 0,
) -> dict[str, FloatArray]:
    """Resampled drops of decisions, 2000 of each: accuracy and macro_f1 (B,), f1 (B, C).

    ``reference`` and ``converted`` (N, C) say which labels each model predicts. Images are drawn, with
    all their labels and both models' decisions. The macro-F1 is over labels that an image has, at least one.
    """
    truth = labels.astype(np.float64)
    present = labels.any(axis=0)
    said = [each.astype(np.float64) for each in (reference, converted)]
    right = ((reference == labels).mean(axis=1) - (converted == labels).mean(axis=1)).astype(float)
    total, parts = len(labels), []
    for weights in resampled_images(total, RESAMPLES, seed):
        support = weights @ truth
        scores = []
        for each in said:
            below = support + weights @ each
            hits = 2 * (weights @ (truth * each))
            scores.append(np.divide(hits, below, out=np.zeros(hits.shape), where=below > 0))
        drop = scores[0] - scores[1]
        parts.append((weights @ right / total, drop[:, present].mean(axis=1), drop))
    accuracy, macro_f1, f1 = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {"accuracy": accuracy, "macro_f1": macro_f1, "f1": f1}
