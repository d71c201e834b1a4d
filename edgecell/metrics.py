"""Agreement of predictions with labels: point values and their intervals.

Everything here is arrays in, numbers out. Shapes used throughout: N samples, C classes, B resamples;
`labels` int (N,) in 0..C-1, `probabilities` float (N, C) in 0..1, `confusion` int (C, C) with rows =
label and columns = prediction. Nothing returns NaN: a quantity that does not exist is None, or 0.0
with a flag where the field is an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgecell.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ECE_BINS = 15
PROBABILITY_FLOOR = 1e-7  # Keras' epsilon, so that the loss here is the loss of training


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class PerClass:
    """Per-class scores, each (C,).

    A ratio with an empty denominator is 0.0 and flagged: `precision_undefined` where a class is never
    predicted, `recall_undefined` where it has no images, `f1_undefined` where both hold.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    support: IntArray
    predicted: IntArray
    precision_undefined: BoolArray
    recall_undefined: BoolArray
    f1_undefined: BoolArray


@dataclass(frozen=True)
class Reliability:
    """Confidence (largest probability) against accuracy in equal-width bins (lower, upper].

    `edges` (bins + 1,), the others (bins,); an empty bin has confidence and accuracy 0.0 and count 0.
    """

    edges: FloatArray
    count: IntArray
    confidence: FloatArray
    accuracy: FloatArray


# ---------------------------------------------------------------------------------- point values


def check_inputs(labels: NDArray, probabilities: NDArray) -> tuple[IntArray, FloatArray]:
    """Labels as int64 (N,) and probabilities as float64 (N, C); DataError where they do not fit."""
    labels = np.asarray(labels).reshape(-1)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise DataError(
            f"probabilities have shape {probabilities.shape}; expected (images, classes) with at least 2 classes"
        )
    if len(labels) != len(probabilities):
        raise DataError(
            f"{len(labels)} labels for {len(probabilities)} predictions; each image needs one of each"
        )
    if len(labels) == 0:
        raise DataError("nothing to evaluate: 0 images; name a split that has some")
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise DataError(
            f"{bad} of {len(labels)} predictions hold NaN or infinity; the model is numerically broken"
        )
    _check_range("labels", labels, probabilities.shape[1])
    return labels.astype(np.int64), probabilities


def _check_range(what: str, values: NDArray, class_count: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= class_count):
        raise DataError(
            f"{what} run from {values.min()} to {values.max()}; "
            f"a model of {class_count} classes allows 0 to {class_count - 1}"
        )


def confusion_matrix(labels: NDArray, predictions: NDArray, class_count: int) -> IntArray:
    """Counts (C, C), rows = label, columns = prediction."""
    labels, predictions = np.asarray(labels).reshape(-1), np.asarray(predictions).reshape(-1)
    if len(labels) != len(predictions):
        raise DataError(f"{len(labels)} labels for {len(predictions)} predictions")
    _check_range("labels", labels, class_count)
    _check_range("predictions", predictions, class_count)
    cells = labels.astype(np.int64) * class_count + predictions.astype(np.int64)
    return np.bincount(cells, minlength=class_count**2).reshape(class_count, class_count)


def normalize_rows(confusion: NDArray) -> FloatArray:
    """Each row divided by its sum: the share of a class's images by prediction. Empty rows stay 0."""
    return _divide(confusion, confusion.sum(axis=1, keepdims=True))


def accuracy(confusion: NDArray) -> float:
    return float(np.trace(confusion) / confusion.sum())


def per_class(confusion: NDArray) -> PerClass:
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return PerClass(
        precision=_divide(hits, predicted),
        recall=_divide(hits, support),
        f1=_divide(2 * hits, support + predicted),
        support=support.astype(np.int64),
        predicted=predicted.astype(np.int64),
        precision_undefined=predicted == 0,
        recall_undefined=support == 0,
        f1_undefined=(support + predicted) == 0,
    )


def macro_f1(confusion: NDArray) -> float:
    """Mean F1 of the classes that occur in labels or predictions (scikit-learn's default)."""
    return float(_count_scores(*_margins(confusion))["macro_f1"])


def weighted_f1(confusion: NDArray) -> float:
    """Mean F1 weighted by support."""
    return float(_count_scores(*_margins(confusion))["weighted_f1"])


def auc(labels: NDArray, probabilities: NDArray) -> float | None:
    """Area under the ROC curve as MedMNIST's evaluator defines it.

    Two classes: ROC AUC of class 1. More: unweighted mean of the one-vs-rest AUCs. A class without
    images has no ROC curve and is left out of the mean (MedMNIST's own code fails there); with images
    of one class only there is nothing to rank, and the answer is None.
    """
    labels, probabilities = check_inputs(labels, probabilities)
    if len(np.unique(labels)) < 2:
        return None
    return float(_weighted_auc(labels, probabilities)(np.ones((1, len(labels))))[0])


def log_loss(labels: NDArray, probabilities: NDArray) -> float:
    """Mean -ln p(label) in nat. Rows are clipped at 1e-7 and renormalised, as Keras does.

    Quantized outputs hold exact zeros: without the clip one wrong image makes the loss infinite.
    """
    return float(_sample_loss(*check_inputs(labels, probabilities)).mean())


def brier(labels: NDArray, probabilities: NDArray) -> float:
    """Mean squared distance to the one-hot label, summed over classes: 0 (perfect) to 2 (Brier 1950)."""
    return float(_sample_brier(*check_inputs(labels, probabilities)).mean())


def reliability(labels: NDArray, probabilities: NDArray, bins: int = ECE_BINS) -> Reliability:
    labels, probabilities = check_inputs(labels, probabilities)
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    # side="left" puts a value on an edge into the bin below it: bins are (lower, upper]
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    count = np.bincount(place, minlength=bins)
    return Reliability(
        edges=edges,
        count=count,
        confidence=_divide(np.bincount(place, confidence, bins), count),
        accuracy=_divide(np.bincount(place, right, bins), count),
    )


def ece(labels: NDArray, probabilities: NDArray, bins: int = ECE_BINS) -> float:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over the bins,
    weighted by their share of the images. 0 (calibrated) to 1."""
    table = reliability(labels, probabilities, bins)
    return float((table.count * abs(table.accuracy - table.confidence)).sum() / table.count.sum())


def confidence_histogram(
    labels: NDArray, probabilities: NDArray, bins: int = 20
) -> tuple[FloatArray, IntArray, IntArray]:
    """Edges (bins + 1,) over 0..1 and counts (bins,) of right and of wrong predictions."""
    labels, probabilities = check_inputs(labels, probabilities)
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = probabilities.max(axis=1).clip(0.0, 1.0)
    right = probabilities.argmax(axis=1) == labels
    return (
        edges,
        np.histogram(confidence[right], edges)[0].astype(np.int64),
        np.histogram(confidence[~right], edges)[0].astype(np.int64),
    )


# ------------------------------------------------------------------------------------- intervals


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of a proportion; None where n is 0.

    Preferred to the bootstrap for proportions: it keeps a width at 0 and at n successes.
    """
    if n == 0:
        return None
    found = stats.binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def percentile_interval(samples: NDArray, level: float = 0.95) -> Interval:
    """Central `level` share of resampled values (B,)."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_confusion(
    confusion: NDArray, n: int = 1000, seed: int = 0
) -> dict[str, FloatArray]:
    """`n` resamples of accuracy, macro_f1, weighted_f1 (n,) and precision, recall, f1 (n, C).

    Drawing N images with replacement and counting their (label, prediction) cells is one multinomial
    draw over the cells, so no image is touched and 1,000 resamples take milliseconds.
    """
    class_count, total = len(confusion), int(confusion.sum())
    rows, columns = np.nonzero(confusion)
    draws = np.random.default_rng(seed).multinomial(total, confusion[rows, columns] / total, size=n)
    one_hot = np.eye(class_count, dtype=np.int64)
    support, predicted = draws @ one_hot[rows], draws @ one_hot[columns]
    hits = draws @ (one_hot[rows] * (rows == columns)[:, None])
    return _count_scores(hits, support, predicted)


_CONFUSION_METRICS = ("accuracy", "macro_f1", "weighted_f1")
_SAMPLE_METRICS = ("log_loss", "brier", "auc")


def bootstrap_interval(
    metric: str,
    labels: NDArray,
    probabilities: NDArray,
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap over images of accuracy, macro_f1, weighted_f1, log_loss, brier or auc.

    ECE is not offered: resampling inflates it (each bin gains noise), so that a percentile interval
    can miss the value it is meant to enclose.
    """
    labels, probabilities = check_inputs(labels, probabilities)
    if metric in _CONFUSION_METRICS:
        confusion = confusion_matrix(labels, probabilities.argmax(1), probabilities.shape[1])
        return percentile_interval(bootstrap_confusion(confusion, n, seed)[metric], level)
    if metric not in _SAMPLE_METRICS:
        allowed = ", ".join(_CONFUSION_METRICS + _SAMPLE_METRICS)
        raise DataError(f"no bootstrap interval for {metric!r}; it is offered for {allowed}")
    score = _weighted_score(metric, labels, probabilities)
    rng, total = np.random.default_rng(seed), len(labels)
    chunk = max(1, 4_000_000 // total)  # bounds the (B, N) weights at about 32 MB
    samples: list[FloatArray] = []
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        weights = rng.multinomial(total, np.full(total, 1 / total), size=size)
        samples.append(score(weights.astype(np.float64)))
    return percentile_interval(np.concatenate(samples), level)


# --------------------------------------------------------------------------------------- details


def _divide(above: NDArray, below: NDArray) -> FloatArray:
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def _margins(confusion: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    return np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)


def _count_scores(hits: NDArray, support: NDArray, predicted: NDArray) -> dict[str, FloatArray]:
    """Scores from counts (…, C); classes that occur nowhere do not enter macro_f1."""
    f1 = _divide(2 * hits, support + predicted)
    total = support.sum(axis=-1)
    return {
        "accuracy": hits.sum(axis=-1) / total,
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, support),
        "f1": f1,
        "macro_f1": f1.sum(axis=-1) / ((support + predicted) > 0).sum(axis=-1),
        "weighted_f1": (f1 * support).sum(axis=-1) / total,
    }


def _sample_loss(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    clipped = probabilities.clip(PROBABILITY_FLOOR, 1.0)
    return np.log(clipped.sum(axis=1)) - np.log(clipped[np.arange(len(labels)), labels])


def _sample_brier(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    return ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)


def _weighted_score(
    metric: str, labels: IntArray, probabilities: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    """The metric as a function of image weights (B, N) -> (B,)."""
    if metric == "auc":
        return _weighted_auc(labels, probabilities)
    sample_score = {"log_loss": _sample_loss, "brier": _sample_brier}[metric]
    values = sample_score(labels, probabilities)
    return lambda weights: weights @ values / weights.sum(axis=1)


def _weighted_auc(
    labels: IntArray, probabilities: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    """AUC as the weighted share of (positive, negative) pairs in the right order, ties one half.

    Sorting happens once; a resample only changes the weights. Classes without a pair are left out; a
    resample in which no class has a pair counts as 0.5, chance.
    """
    class_count = probabilities.shape[1]
    columns = [1] if class_count == 2 else range(class_count)
    plans = []
    for column in columns:
        order = np.argsort(probabilities[:, column], kind="stable")
        scores = probabilities[order, column]
        starts = np.flatnonzero(np.r_[True, scores[1:] > scores[:-1]])  # of each group of ties
        plans.append((order, starts, labels[order] == column))

    def score(weights: FloatArray) -> FloatArray:
        total, defined = np.zeros(len(weights)), np.zeros(len(weights))
        for order, starts, positive in plans:
            ordered = weights[:, order]
            above = np.add.reduceat(ordered * positive, starts, axis=1)
            below = np.add.reduceat(ordered * ~positive, starts, axis=1)
            won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
            pairs = above.sum(axis=1) * below.sum(axis=1)
            total += _divide(won, pairs)
            defined += pairs > 0
        return np.where(defined > 0, total / np.maximum(defined, 1), 0.5)

    return score
