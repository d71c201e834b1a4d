"""Agreement of predictions with labels: point values and their intervals.

Everything here is arrays in, numbers out. Shapes used throughout: N samples, C classes, B resamples;
`labels` int (N,) in 0..C-1, `probabilities` float (N, C) in 0..1, `confusion` int (C, C) with rows =
label and columns = prediction. Nothing returns NaN: a quantity that does not exist is None, or 0.0
with a flag where the field is an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ECE_BINS = 15
PROBABILITY_FLOOR = 1e-7  # Keras' epsilon, so that the loss here is the loss of training


@dataclass(frozen=True)
class PerClass:
    """Per-class scores, each (C,).

    A ratio with an empty denominator is 0.0 and flagged: `precision_undefined` where a class is never
    predicted, `recall_undefined` where it has no images; then its F1 says nothing either.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    support: IntArray
    predicted: IntArray
    precision_undefined: BoolArray
    recall_undefined: BoolArray


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
    """Share of images on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def per_class(confusion: NDArray) -> PerClass:
    """Precision, recall, F1 and counts of each class."""
    hits, support, predicted = margins(confusion)
    return PerClass(
        precision=_divide(hits, predicted),
        recall=_divide(hits, support),
        f1=_divide(2 * hits, support + predicted),
        support=support.astype(np.int64),
        predicted=predicted.astype(np.int64),
        precision_undefined=predicted == 0,
        recall_undefined=support == 0,
    )


def macro_f1(confusion: NDArray) -> float:
    """Mean F1 of the classes that images have: scikit-learn's with ``labels=np.unique(y_true)``.

    Its default also counts a class that is only predicted, with F1 0. Then one image that is called an
    absent class lowers the mean by 1/C, and two models are compared over different classes.
    """
    return float(count_scores(*margins(confusion))["macro_f1"])


def weighted_f1(confusion: NDArray) -> float:
    """Mean F1 weighted by support."""
    return float(count_scores(*margins(confusion))["weighted_f1"])


def auc(labels: NDArray, probabilities: NDArray) -> float | None:
    """Area under the ROC curve as MedMNIST's evaluator defines it.

    Two classes: ROC AUC of class 1. More: unweighted mean of the one-vs-rest AUCs. A class without
    images has no ROC curve and is left out of the mean (MedMNIST's own code fails there); with images
    of one class only there is nothing to rank, and the answer is None.
    """
    labels, probabilities = check_inputs(labels, probabilities)
    if len(np.unique(labels)) < 2:
        return None
    return float(weighted_auc(labels, probabilities)(np.ones((1, len(labels))))[0])


def log_loss(labels: NDArray, probabilities: NDArray) -> float:
    """Mean -ln p(label) in nat. Rows are clipped at 1e-7 and renormalised, as Keras does.

    Quantized outputs hold exact zeros: without the clip one wrong image makes the loss infinite.
    """
    return float(sample_loss(*check_inputs(labels, probabilities)).mean())


def brier(labels: NDArray, probabilities: NDArray) -> float:
    """Mean squared distance to the one-hot label, summed over classes: 0 (perfect) to 2 (Brier 1950)."""
    return float(sample_brier(*check_inputs(labels, probabilities)).mean())


def reliability(labels: NDArray, probabilities: NDArray, bins: int = ECE_BINS) -> Reliability:
    """Confidence against accuracy; a prediction on an edge belongs to the bin below it."""
    labels, probabilities = check_inputs(labels, probabilities)
    right = probabilities.argmax(axis=1) == labels
    return binned_reliability(probabilities.max(axis=1), right, bins)


def binned_reliability(
    confidence: FloatArray, right: BoolArray, bins: int = ECE_BINS
) -> Reliability:
    """Confidence (N,) in 0..1 against what came true (N,), as :func:`reliability` bins them."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = bin_of(confidence, edges)
    count = np.bincount(place, minlength=bins)
    return Reliability(
        edges=edges,
        count=count,
        confidence=_divide(np.bincount(place, confidence, bins), count),
        accuracy=_divide(np.bincount(place, right, bins), count),
    )


def bin_of(confidence: FloatArray, edges: FloatArray) -> IntArray:
    """The bin (lower, upper] between ``edges`` (bins + 1,) that each confidence (N,) is in, int (N,)."""
    return np.searchsorted(edges[1:-1], confidence, side="left")  # an edge belongs to the bin below


def ece(labels: NDArray, probabilities: NDArray, bins: int = ECE_BINS) -> float:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over the bins,
    weighted by their share of the images. 0 (calibrated) to 1."""
    return gap(reliability(labels, probabilities, bins))


def gap(table: Reliability) -> float:
    """Mean |accuracy - confidence| over the bins, weighted by how many images they hold."""
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


# --------------------------------------------------------------------------------------- details


def _divide(above: NDArray, below: NDArray) -> FloatArray:
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def margins(confusion: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Hits, support and predicted of each class, (C,) each."""
    return np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)


def count_scores(hits: NDArray, support: NDArray, predicted: NDArray) -> dict[str, FloatArray]:
    """Scores from counts (…, C); classes without images do not enter macro_f1."""
    f1 = _divide(2 * hits, support + predicted)
    present = support > 0
    total = support.sum(axis=-1)
    return {
        "accuracy": hits.sum(axis=-1) / total,
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, support),
        "f1": f1,
        "macro_f1": (f1 * present).sum(axis=-1) / present.sum(axis=-1),
        "weighted_f1": (f1 * support).sum(axis=-1) / total,
    }


def sample_loss(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """-ln p(label) of each image (N,), in nat."""
    clipped = probabilities.clip(PROBABILITY_FLOOR, 1.0)
    return np.log(clipped.sum(axis=1)) - np.log(clipped[np.arange(len(labels)), labels])


def sample_brier(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """Squared distance of each image to its one-hot label (N,), 0 to 2."""
    return ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)


def weighted_auc(labels: IntArray, probabilities: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """AUC as the weighted share of (positive, negative) pairs in the right order, ties one half.

    Sorting happens once; a resample only changes the weights. Classes without a pair are left out; a
    resample in which no class has a pair counts as 0.5, chance.
    """
    class_count = probabilities.shape[1]
    columns = [1] if class_count == 2 else range(class_count)
    ranked = [Ranked(probabilities[:, column], labels == column) for column in columns]

    def score(weights: FloatArray) -> FloatArray:
        total, defined = np.zeros(len(weights)), np.zeros(len(weights))
        for plan in ranked:
            won, pairs = plan.pairs(weights)
            total += _divide(won, pairs)
            defined += pairs > 0
        return np.where(defined > 0, total / np.maximum(defined, 1), 0.5)

    return score


class Ranked:
    """Scores (N,) of images that do or do not have a label, (N,) bool, sorted once."""

    def __init__(self, scores: FloatArray, positive: BoolArray) -> None:
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] > ordered[:-1]])  # of groups of ties
        self.positive = positive[self.order]

    def groups(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights (B, N) of the images with the label and without it, by group of ties, rising."""
        ordered = weights[:, self.order]
        above = np.add.reduceat(ordered * self.positive, self.starts, axis=1)
        below = np.add.reduceat(ordered * ~self.positive, self.starts, axis=1)
        return above, below

    def pairs(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(Pairs in the right order, all pairs of an image with and one without), (B,) each."""
        above, below = self.groups(weights)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        return won, above.sum(axis=1) * below.sum(axis=1)
