"""Can the probability of each of several labels be trusted, and from which on is a label present?

As in :mod:`edgecell.confidence` thresholds apply to the file's own output, before any scaling.
Shapes: N images, C labels; `labels` int (N, C) of 0 and 1, `probabilities` float (N, C) in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from edgecell.confidence import (
    Floats,
    Ints,
    coverage_at_least,
    folds,
    least_score,
    mean_interval,
    probability_floor,
)
from edgecell.metrics import THRESHOLD, Interval
from edgecell.metrics.labels import sample_label_loss

SLACK = 1e-7
"""How far below a threshold still reaches it: thresholds and probabilities are rounded floats."""
_SLOPES = (0.05, 20.0)
_OFFSETS = (-20.0, 20.0)


# ----------------------------------------------------------------------------------- scaling


def floored_labels(probabilities: NDArray, output_scale: float | None) -> Floats:
    """Probabilities without 0 and 1: a quantized 0 means less than half a step, as does a 1.

    ``output_scale``: one step of the output as a probability; None for float outputs.
    """
    floor = probability_floor(output_scale)
    return np.asarray(probabilities, np.float64).clip(floor, 1 - floor)


def scaled(probabilities: NDArray, slopes: ArrayLike, offsets: ArrayLike) -> Floats:
    """sigmoid(slope · logit(p) + offset) of probabilities without 0 and 1, each label with its own."""
    logits = special.logit(np.asarray(probabilities, np.float64))
    return np.asarray(special.expit(logits * np.asarray(slopes) + np.asarray(offsets)))


def fit_label_temperature(labels: Ints, probabilities: Floats) -> float:
    """The one temperature from 0.05 to 20, of all labels, with the least log loss."""
    signed = special.logit(probabilities) * (1 - 2 * labels)
    low, high = np.log(_SLOPES)
    found = optimize.minimize_scalar(
        lambda t: np.logaddexp(0, signed * math.exp(-t)).mean(),
        bounds=(low, high),
        method="bounded",
    )
    return math.exp(found.x)


def fit_slopes(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Slope (0.05 to 20) and offset of each label, (C,) both (Platt 1999, with his targets).

    His targets keep a label of few images from certainty; one that no image or every image has stays
    as it is.
    """
    logits = special.logit(probabilities)
    fitted = np.array([_platt(x, y) for x, y in zip(logits.T, labels.T, strict=True)])
    return fitted[:, 0], fitted[:, 1]


def _platt(logits: Floats, labels: Ints) -> tuple[float, float]:
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return 1.0, 0.0
    wanted = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(at: Floats) -> tuple[float, Floats]:
        z = at[0] * logits + at[1]
        wrong = special.expit(z) - wanted
        return (
            float((np.logaddexp(0, z) - wanted * z).mean()),
            np.array([(wrong * logits).mean(), wrong.mean()]),
        )

    found = optimize.minimize(
        loss, (1.0, 0.0), jac=True, method="L-BFGS-B", bounds=(_SLOPES, _OFFSETS)
    )
    return float(found.x[0]), float(found.x[1])


@dataclass(frozen=True)
class Gain:
    """Mean fall of the log loss in nat on images that fitted nothing, with its 95 % interval."""

    value: float
    interval: Interval
    n: int

    @property
    def sure(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.interval.low > 0


@dataclass(frozen=True)
class LabelScaling:
    """How to turn a file's probabilities into those to show, and what that gains.

    ``gain_temperature`` is that of one temperature for all labels over none, ``gain_labels`` that of a slope and
    an offset for each label over what would be kept without them. ``kind`` is what is kept; ``slopes`` and
    ``offsets`` (C,) are 1 and 0 where nothing is.
    """

    kind: Literal["none", "temperature", "labels"]
    temperature: float
    gain_temperature: Gain
    gain_labels: Gain
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]


def choose_scaling(labels: Ints, probabilities: Floats, seed: int = 0) -> LabelScaling:
    """Fit on all images; keep only what helps in cross-validation, and the simpler of two.

    One temperature is kept only where some decision is wrong: see :class:`edgecell.confidence.Temperature`.

    Each of ten folds is scored with what the other nine fit. Probabilities without 0 and 1.

    Raises:
        DataError: fewer than 20 images.
    """
    plain = sample_label_loss(labels, probabilities)
    common, own = np.empty(len(labels)), np.empty(len(labels))
    for rest, fold in _label_folds(labels, seed):
        seen, shown = (labels[rest], probabilities[rest]), probabilities[fold]
        slope = 1 / fit_label_temperature(*seen)
        common[fold] = sample_label_loss(labels[fold], scaled(shown, [slope], [0.0]))
        own[fold] = sample_label_loss(labels[fold], scaled(shown, *fit_slopes(*seen)))
    by_temperature = _gain(plain - common)
    # Without a wrong decision every lower temperature looks better, whatever the model.
    wrong = bool(((probabilities > THRESHOLD) != labels).any())
    tempers = wrong and by_temperature.sure
    by_label = _gain((common if tempers else plain) - own)
    temperature = fit_label_temperature(labels, probabilities)
    count = labels.shape[1]
    kind: Literal["none", "temperature", "labels"] = "none"
    slopes, offsets = np.ones(count), np.zeros(count)
    if by_label.sure:
        kind = "labels"
        slopes, offsets = fit_slopes(labels, probabilities)
    elif tempers:
        kind = "temperature"
        slopes = np.full(count, 1 / temperature)
    return LabelScaling(
        kind,
        temperature,
        by_temperature,
        by_label,
        tuple(slopes.tolist()),
        tuple(offsets.tolist()),
    )


def _gain(values: Floats) -> Gain:
    return Gain(float(values.mean()), mean_interval(values), len(values))


# -------------------------------------------------------------------------------- thresholds


@dataclass(frozen=True)
class LabelThreshold:
    """From which probability on a label counts as present.

    ``threshold`` None: too few of the ``positives`` images with the label for the promise, which
    ``reason`` says; it is then called above 0.5. ``at_least``: the sensitivity that the threshold has with
    the certainty asked for, on the strength of these images.
    """

    threshold: float | None
    positives: int
    at_least: float | None
    reason: str | None = None


def choose_label_thresholds(
    labels: Ints, probabilities: NDArray, sensitivity: float, certainty: float = 0.95
) -> tuple[LabelThreshold, ...]:
    """The highest threshold of each label (C,) that finds a new image with it with probability ``sensitivity``.

    Split conformal within a label (Vovk's label-conditional prediction, 2012; Sadinle, Lei & Wasserman 2019):
    the ⌈(n + 1) sensitivity⌉-th largest probability of the n images that have the label. It holds whatever
    the model, if these images chose nothing of it, for images drawn as they were, on average over their
    drawing; ties make it more. What one such threshold keeps is ``at_least``, of
    :func:`edgecell.confidence.coverage_at_least`.
    """
    rows = np.asarray(probabilities, np.float64)
    return tuple(
        _threshold(p[y == 1], sensitivity, certainty) for p, y in zip(rows.T, labels.T, strict=True)
    )


def _threshold(scores: Floats, sensitivity: float, certainty: float) -> LabelThreshold:
    count = len(scores)
    found = least_score(scores, sensitivity)
    if found is None:
        reason = f"{count} images with it, and {fewest(sensitivity)} are needed to promise {sensitivity:g}"
        return LabelThreshold(None, count, None, reason)
    return LabelThreshold(found, count, coverage_at_least(count, sensitivity, certainty))


def fewest(sensitivity: float) -> int:
    """The least number of images with a label on which ``sensitivity`` can be promised."""
    return math.ceil(sensitivity / (1 - sensitivity) - 1e-9)


def present(
    probabilities: NDArray, thresholds: Sequence[float | None], otherwise: float = THRESHOLD
) -> NDArray[np.bool_]:
    """Which labels are called present (N, C): from their threshold on, above ``otherwise`` without one."""
    rows = np.asarray(probabilities, np.float64)
    least = [np.nextafter(otherwise, 2) if t is None else t - SLACK for t in thresholds]
    return np.asarray(rows >= np.array(least))


def cross_present(
    labels: Ints,
    probabilities: NDArray,
    found: Sequence[LabelThreshold],
    sensitivity: float,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """:func:`present` of images that did not choose the thresholds they are judged by: ten folds.

    A label without a threshold in ``found`` stays at 0.5; where a fold leaves one fewer images than the
    promise takes, the least of them is the threshold.
    """
    rows = np.asarray(probabilities, np.float64)
    called = np.empty(labels.shape, bool)
    for rest, fold in _label_folds(labels, seed):
        limits: list[float | None] = []
        for index, whole in enumerate(found):
            mine = rows[rest, index][labels[rest, index] == 1]
            if whole.threshold is None or not len(mine):
                limits.append(None)
            else:
                least = least_score(mine, sensitivity)
                limits.append(float(mine.min()) if least is None else least)
        called[fold] = present(rows[fold], limits)
    return called


@dataclass(frozen=True)
class LabelQuality:
    """What the decisions about a label come to: of ``n`` images ``positives`` have it, ``called`` are said to,
    ``hits`` both."""

    n: int
    positives: int
    called: int
    hits: int

    @property
    def shares(self) -> dict[str, tuple[int, int]]:
        """(right, of how many) of sensitivity, specificity and precision."""
        negatives = self.n - self.positives
        return {
            "sensitivity": (self.hits, self.positives),
            "specificity": (negatives - (self.called - self.hits), negatives),
            "precision": (self.hits, self.called),
        }


def judge_labels(labels: Ints, called: NDArray[np.bool_]) -> tuple[LabelQuality, ...]:
    """The quality of decisions (N, C), label by label."""
    return tuple(
        LabelQuality(len(y), int(y.sum()), int(said.sum()), int((y & said).sum()))
        for y, said in zip((labels == 1).T, called.T, strict=True)
    )


def _label_folds(labels: Ints, seed: int) -> Sequence[tuple[Ints, Ints]]:
    """Images dealt out by the rarest label they have, so that rare labels are in every fold."""
    rarity = np.where(labels == 1, labels.sum(axis=0), len(labels) + 1)
    rarest = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])
    return folds(rarest, seed)
