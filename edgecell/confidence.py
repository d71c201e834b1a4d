"""Can a file's confidence be trusted? Temperature, abstention threshold, conformal sets.

Thresholds apply to the file's own output, before any temperature: an app compares bytes, and the
promise does not hang on a second number fitted on the same images. Shapes: N images, C classes,
`labels` int (N,), `probabilities` float (N, C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from edgecell.errors import DataError
from edgecell.metrics import Interval, wilson_interval
from edgecell.metrics.scores import PROBABILITY_FLOOR, sample_loss

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 10
THRESHOLDS = np.arange(256, 0, -1) / 256
"""Candidate thresholds, one per step of an int8 output; fixed, as the promise requires."""
_STARTS = (0.99, 0.95, 0.9, 0.8, 0.65, 0.5)
_TEMPERATURES = (0.05, 20.0)
NO_MISTAKE = "without a wrong answer on val every lower temperature looks better"
"""Why no temperature is kept."""


# ------------------------------------------------------------------------------- temperature


def probability_floor(output_scale: float | None) -> float:
    """The least that a probability can be taken for: half a step of a quantized output."""
    return PROBABILITY_FLOOR if output_scale is None else output_scale / 2


def floored(probabilities: NDArray, output_scale: float | None) -> Floats:
    """Rows that sum to 1 without zeros: a quantized 0 means less than half a step.

    ``output_scale``: one step of the output as a probability; None for float outputs.
    """
    rows = np.maximum(np.asarray(probabilities, np.float64), probability_floor(output_scale))
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def tempered(probabilities: NDArray, temperature: float) -> Floats:
    """softmax(ln p / temperature) of rows without zeros: above 1 is less sure (Guo et al. 2017)."""
    logits = np.log(probabilities) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def fit_temperature(labels: Ints, probabilities: Floats) -> float:
    """The temperature from 0.05 to 20 with the least log loss; rows without zeros."""
    low, high = np.log(_TEMPERATURES)
    found = optimize.minimize_scalar(
        lambda t: sample_loss(labels, tempered(probabilities, math.exp(t))).mean(),
        bounds=(low, high),
        method="bounded",
    )
    return math.exp(found.x)


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature and whether to use it.

    ``gain`` is the mean fall of the log loss in nat on images that did not fit it, with its 95 %
    interval; it is kept where the whole interval is above 0 and some answer is wrong. Without a
    wrong answer the least temperature is always the best, whatever the model; ``reason`` says so.
    """

    value: float
    kept: bool
    gain: float
    interval: Interval
    n: int
    reason: str | None = None

    @property
    def used(self) -> float:
        """The temperature to apply: 1.0 where it was not kept."""
        return self.value if self.kept else 1.0


def choose_temperature(labels: Ints, probabilities: Floats, seed: int = 0) -> Temperature:
    """Fit on all images; keep it only if it helps in cross-validation.

    Each of ten folds is scored with the temperature of the other nine.
    """
    gains = np.empty(len(labels))
    for rest, fold in folds(labels, seed):
        value = fit_temperature(labels[rest], probabilities[rest])
        before = sample_loss(labels[fold], probabilities[fold])
        gains[fold] = before - sample_loss(labels[fold], tempered(probabilities[fold], value))
    interval = mean_interval(gains)
    value = fit_temperature(labels, probabilities)
    own = probabilities[np.arange(len(labels)), labels]
    wrong = bool((own < probabilities.max(axis=1)).any())
    return Temperature(
        value,
        wrong and interval.low > 0,
        float(gains.mean()),
        interval,
        len(labels),
        None if wrong else NO_MISTAKE,
    )


# -------------------------------------------------------------------------------- abstention


@dataclass(frozen=True)
class Abstention:
    """Answer where the largest probability is at least ``threshold``, else abstain.

    ``accuracy`` and ``coverage`` are those on the images that chose it, ``accuracy_low`` the lower
    bound that the promise rests on. ``threshold`` is None where no promise can be made; ``reason``
    says why.
    """

    target: float
    certainty: float
    threshold: float | None
    answered: int
    right: int
    n: int
    accuracy_low: float | None
    reason: str | None = None


def choose_threshold(
    labels: Ints, probabilities: NDArray, target: float, certainty: float = 0.95
) -> Abstention:
    """The lowest threshold above which at least ``target`` of the answers are right.

    The promise holds with probability ``certainty`` over the drawing of the images: thresholds of
    a grid that was fixed beforehand are tested from strict to loose until one fails
    (fixed-sequence testing: Geifman & El-Yaniv 2017; Angelopoulos et al. 2021, "Learn then Test").
    Six sequences start at 0.99, 0.95, 0.9, 0.8, 0.65 and 0.5 and share the error probability. A
    threshold passes when Clopper and Pearson's lower bound of the accuracy above it is ``target``.
    """
    confidence, right = _confidence(labels, probabilities)
    level = 1 - (1 - certainty) / len(_STARTS)
    # Counts of images at or above each threshold: sorted once, looked up in one go.
    order = np.argsort(-confidence, kind="stable")
    answered = np.searchsorted(-confidence[order], -THRESHOLDS + 1e-7, side="right")
    hits = np.concatenate([[0], np.cumsum(right[order])])[answered]
    low = stats.beta.ppf(1 - level, hits, answered - hits + 1)  # nan where no answer is right
    passes = low >= target
    best = -1
    for start in _STARTS:
        first = int(np.argmax(start >= THRESHOLDS))
        failing = np.flatnonzero(~passes[first:])
        last = first + (int(failing[0]) if len(failing) else len(passes) - first) - 1
        if last >= first:
            best = max(best, last)
    n = len(labels)
    if best < 0:
        least = math.ceil(math.log(1 - level) / math.log(target))
        reason = (
            f"no threshold holds {target:g} with certainty {certainty:g} on {n} images; it takes"
            f" at least {least} answers without an error above one of the starting thresholds"
        )
        return Abstention(target, certainty, None, 0, 0, n, None, reason)
    return Abstention(
        target,
        certainty,
        float(THRESHOLDS[best]),
        int(answered[best]),
        int(hits[best]),
        n,
        float(low[best]),
    )


def answered_above(labels: Ints, probabilities: NDArray, threshold: float) -> tuple[int, int]:
    """(answered, right) at a threshold."""
    confidence, right = _confidence(labels, probabilities)
    above = confidence >= threshold - 1e-7
    return int(above.sum()), int(right[above].sum())


def selective_curve(labels: Ints, probabilities: NDArray) -> tuple[Floats, Floats]:
    """Coverage (K,) and accuracy of the answers (K,) at each of the K thresholds that differ."""
    confidence, right = _confidence(labels, probabilities)
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.flatnonzero(np.diff(confidence[order])), len(labels) - 1)
    counts = last + 1
    return counts / len(labels), np.cumsum(right[order])[last] / counts


# --------------------------------------------------------------------------------- conformal


@dataclass(frozen=True)
class ConformalSets:
    """A class is in an image's set where its probability is at least its threshold.

    ``threshold`` (one for all classes) promises ``coverage`` in the mean over validation sets;
    ``class_thresholds`` (C,) promise it for each class by itself. 0.0: always in the set, because
    there are too few images for the promise. ``at_least`` and ``class_at_least`` (C,): the coverage that
    the thresholds have with the certainty asked for, on the strength of these images.
    """

    coverage: float
    threshold: float
    class_thresholds: tuple[float, ...]
    at_least: float
    class_at_least: tuple[float, ...]

    def members(self, probabilities: NDArray, *, by_class: bool = False) -> NDArray[np.bool_]:
        """(N, C): which classes are in each image's set."""
        limits = np.asarray(self.class_thresholds if by_class else self.threshold)
        return np.asarray(probabilities >= limits - 1e-7)


def fit_conformal(
    labels: Ints, probabilities: NDArray, coverage: float, certainty: float = 0.95
) -> ConformalSets:
    """Split conformal with score 1 - p(label) (LAC: Sadinle et al. 2019; Angelopoulos & Bates 2021).

    The threshold is 1 minus the ⌈(n + 1) coverage⌉-th smallest score of n images, without
    randomisation; by class, of the images of that class (Vovk's Mondrian sets). About half of all
    validation sets give less than ``coverage``; what this one gives is :func:`coverage_at_least`.
    """
    mine = np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels]
    classes = [mine[labels == index] for index in range(probabilities.shape[1])]
    return ConformalSets(
        coverage,
        least_score(mine, coverage) or 0.0,
        tuple(least_score(scores, coverage) or 0.0 for scores in classes),
        coverage_at_least(len(mine), coverage, certainty),
        tuple(coverage_at_least(len(scores), coverage, certainty) for scores in classes),
    )


def cross_members(
    labels: Ints, probabilities: NDArray, coverage: float, seed: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Sets (N, C), common and by class, of images that did not fit their thresholds: ten folds."""
    common = np.empty(probabilities.shape, bool)
    by_class = np.empty(probabilities.shape, bool)
    for rest, fold in folds(labels, seed):
        sets = fit_conformal(labels[rest], probabilities[rest], coverage)
        common[fold] = sets.members(probabilities[fold])
        by_class[fold] = sets.members(probabilities[fold], by_class=True)
    return common, by_class


@dataclass(frozen=True)
class SetQuality:
    """How often sets hold the right class, in all and per class (None: no images), and their sizes.

    ``sizes`` (C + 1,): how many sets hold 0, 1, … C classes.
    """

    n: int
    covered: int
    interval: Interval
    by_class: tuple[tuple[int, int, Interval | None], ...]
    sizes: tuple[int, ...]

    @property
    def mean_size(self) -> float:
        """Classes in a set, on average."""
        return sum(size * count for size, count in enumerate(self.sizes)) / self.n


def judge_sets(labels: Ints, members: NDArray[np.bool_]) -> SetQuality:
    """Coverage with Wilson's intervals; ``by_class`` holds (covered, images, interval)."""
    held = members[np.arange(len(labels)), labels]
    rows = []
    for index in range(members.shape[1]):
        of_class = held[labels == index]
        hits, n = int(of_class.sum()), len(of_class)
        rows.append((hits, n, wilson_interval(hits, n)))
    overall = wilson_interval(int(held.sum()), len(labels))
    if overall is None:
        raise DataError("no images to judge conformal sets on; name a split that has some")
    sizes = np.bincount(members.sum(axis=1), minlength=members.shape[1] + 1)
    return SetQuality(
        len(labels), int(held.sum()), overall, tuple(rows), tuple(int(k) for k in sizes)
    )


def quanta(threshold: float, output_scale: float | None) -> int | None:
    """The threshold as the integer an app compares the raw output with; None for float outputs."""
    if output_scale is None:
        return None
    return math.ceil(threshold / output_scale - 1e-4)


def least_score(scores: Floats, coverage: float) -> float | None:
    """The threshold that a further score (of n that are like it) reaches with probability ``coverage``.

    The ⌈(n + 1) coverage⌉-th largest of scores (n,); None where there are too few of them for that.
    """
    rank = rank_of(len(scores), coverage)
    if rank > len(scores):
        return None
    # The rank-th smallest 1 - p is 1 minus the rank-th largest p.
    return float(np.sort(scores)[len(scores) - rank])


def rank_of(count: int, coverage: float) -> int:
    """⌈(count + 1) coverage⌉: how many of ``count`` scores have to reach a threshold that promises coverage."""
    return math.ceil((count + 1) * coverage - 1e-9)


def coverage_at_least(count: int, coverage: float, certainty: float) -> float:
    """What the threshold of :func:`least_score` keeps with ``certainty``, on the strength of ``count`` scores.

    Over their drawing the coverage of one threshold varies as Beta(rank, count + 1 - rank), and is more where
    scores tie (Vovk 2012; Angelopoulos & Bates 2021): its lower quantile. 1.0 where there are too few scores
    for a threshold, and all are let in.
    """
    rank = rank_of(count, coverage)
    if rank > count:
        return 1.0
    return float(stats.beta.ppf(1 - certainty, rank, count + 1 - rank))


def _confidence(labels: Ints, probabilities: NDArray) -> tuple[Floats, NDArray[np.bool_]]:
    rows = np.asarray(probabilities, np.float64)
    return rows.max(axis=1), rows.argmax(axis=1) == labels


def folds(classes: Ints, seed: int) -> Sequence[tuple[Ints, Ints]]:
    """Ten (rest, fold) of image numbers, each class (N,) dealt out evenly; DataError below 20 images."""
    if len(classes) < 2 * FOLDS:
        raise DataError(
            f"{len(classes)} images are too few to check confidence on; at least {2 * FOLDS} are needed"
        )
    random = np.random.default_rng(seed)
    fold = np.empty(len(classes), np.int64)
    # Each class dealt out like cards, so that no fold lacks one that has ten images.
    fold[np.lexsort((random.random(len(classes)), classes))] = np.arange(len(classes)) % FOLDS
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def mean_interval(values: Floats) -> Interval:
    """95 % t interval of the mean of values (N,)."""
    mean, error = float(values.mean()), float(stats.sem(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean - reach, mean + reach)
