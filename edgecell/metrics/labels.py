"""Scores where each image has or lacks each of several labels.

Shapes: N images, C labels, B resamples; `labels` int (N, C) of 0 and 1, `probabilities` float (N, C)
in 0..1, each label's by itself. A label is predicted above 0.5, as MedMNIST's evaluator does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import DataError
from edgecell.metrics.scores import (
    ECE_BINS,
    PROBABILITY_FLOOR,
    BoolArray,
    FloatArray,
    IntArray,
    Ranked,
    Reliability,
    binned_reliability,
    gap,
)

THRESHOLD = 0.5

Scorer = Callable[[FloatArray], tuple[FloatArray, BoolArray]]
"""Weights of images (B, N) → scores (B, C) and where they exist (B, C); elsewhere they are 0."""


def check_label_inputs(labels: NDArray, probabilities: NDArray) -> tuple[IntArray, FloatArray]:
    """Labels as int64 (N, C) and probabilities as float64 (N, C); DataError where they do not fit."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape:
        raise DataError(
            f"labels have shape {labels.shape} and probabilities {probabilities.shape};"
            " expected (images, labels) of both"
        )
    if len(labels) == 0:
        raise DataError("nothing to evaluate: 0 images; name a split that has some")
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise DataError(
            f"{bad} of {len(labels)} predictions hold NaN or infinity; the model is numerically broken"
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError("labels hold other values than 0 and 1, one of them for each label")
    return labels.astype(np.int64), probabilities


def decide(probabilities: NDArray) -> BoolArray:
    """Which labels are predicted (N, C)."""
    return np.asarray(probabilities > THRESHOLD)


def label_accuracy(labels: NDArray, probabilities: NDArray) -> float:
    """Mean over the labels of the share of right decisions: MedMNIST's ACC of the task."""
    labels, probabilities = check_label_inputs(labels, probabilities)
    return float((decide(probabilities) == labels).mean())


def label_log_loss(labels: NDArray, probabilities: NDArray) -> float:
    """Binary cross-entropy in nat, the mean over images and labels; clipped at 1e-7 as Keras does."""
    labels, probabilities = check_label_inputs(labels, probabilities)
    return float(sample_label_loss(labels, probabilities).mean())


def label_aucs(labels: NDArray, probabilities: NDArray) -> list[float | None]:
    """ROC AUC of each label (C,); None where all images or none have it."""
    return _each(auc_scorer, labels, probabilities)


def mean_auc(labels: NDArray, probabilities: NDArray) -> float | None:
    """MedMNIST's AUC of the task: the mean over labels, of those that have one; None without any."""
    found = [area for area in label_aucs(labels, probabilities) if area is not None]
    return float(np.mean(found)) if found else None


def average_precisions(labels: NDArray, probabilities: NDArray) -> list[float | None]:
    """Average precision of each label (C,), scikit-learn's step sum; None where no image has it."""
    return _each(precision_scorer, labels, probabilities)


def label_losses(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """Binary cross-entropy of each image and label (N, C), in nat; clipped at 1e-7."""
    kept = probabilities.clip(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return np.asarray(-np.log(np.where(labels == 1, kept, 1 - kept)))


def sample_label_loss(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """Binary cross-entropy of each image, the mean over labels (N,), in nat."""
    return np.asarray(label_losses(labels, probabilities).mean(axis=1))


def label_reliabilities(
    labels: IntArray, probabilities: FloatArray, bins: int = ECE_BINS
) -> list[Reliability]:
    """Per label its probability ("confidence") against the share of images that have it ("accuracy")."""
    return [
        binned_reliability(p, y == 1, bins) for p, y in zip(probabilities.T, labels.T, strict=True)
    ]


def label_eces(labels: IntArray, probabilities: FloatArray, bins: int = ECE_BINS) -> list[float]:
    """Calibration error of each label's probability (C,): mean |share with it - probability| over bins."""
    return [gap(table) for table in label_reliabilities(labels, probabilities, bins)]


def auc_scorer(labels: IntArray, probabilities: FloatArray) -> Scorer:
    """ROC AUC by label as a function of weights; ties count one half."""

    return _scorer(Ranked.pairs, labels, probabilities)


def precision_scorer(labels: IntArray, probabilities: FloatArray) -> Scorer:
    """Average precision by label as a function of weights: Σ (rise of recall) · precision."""

    def score(ranked: Ranked, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        above, below = ranked.groups(weights)
        # Thresholds from the highest down: what is at or above each group of ties.
        hits = above[:, ::-1].cumsum(axis=1)
        called = hits + below[:, ::-1].cumsum(axis=1)
        precision = np.divide(hits, called, out=np.zeros(hits.shape), where=called > 0)
        return (above[:, ::-1] * precision).sum(axis=1), above.sum(axis=1)

    return _scorer(score, labels, probabilities)


def mean_of_defined(scores: FloatArray, defined: BoolArray) -> FloatArray:
    """Mean over the labels (B,) of scores (B, C) that exist; 0.5, chance, where none does."""
    count = defined.sum(axis=1)
    return np.where(count > 0, (scores * defined).sum(axis=1) / np.maximum(count, 1), 0.5)


def _scorer(
    score: Callable[[Ranked, FloatArray], tuple[FloatArray, FloatArray]],
    labels: IntArray,
    probabilities: FloatArray,
) -> Scorer:
    """``score`` gives (B,) numerators and denominators of a label's ratio."""
    ranked = [Ranked(p, y == 1) for p, y in zip(probabilities.T, labels.T, strict=True)]

    def apply(weights: FloatArray) -> tuple[FloatArray, BoolArray]:
        parts = [score(each, weights) for each in ranked]
        above, below = (np.stack([part[k] for part in parts], axis=1) for k in (0, 1))
        defined = below > 0
        return np.divide(above, below, out=np.zeros(above.shape), where=defined), defined

    return apply


def _each(
    scorer: Callable[[IntArray, FloatArray], Scorer], labels: NDArray, probabilities: NDArray
) -> list[float | None]:
    labels, probabilities = check_label_inputs(labels, probabilities)
    scores, defined = scorer(labels, probabilities)(np.ones((1, len(labels))))
    return [float(s) if d else None for s, d in zip(scores[0], defined[0], strict=True)]
