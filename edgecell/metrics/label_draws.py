"""Scores of several labels when the images are drawn anew: the bootstrap, one draw for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.metrics.intervals import resampled_images
from edgecell.metrics.labels import (
    auc_scorer,
    check_label_inputs,
    decide,
    mean_of_defined,
    precision_scorer,
    sample_label_loss,
)
from edgecell.metrics.scores import FloatArray


@dataclass(frozen=True)
class LabelDraws:
    """B resamples: ``accuracy``, ``macro_f1``, ``mean_auc``, ``mean_precision``, ``loss``, ``brier`` (B,);
    ``f1``, ``auc``, ``precision`` (average precision) by label (B, C), NaN where one has none.
    """

    accuracy: FloatArray
    macro_f1: FloatArray
    mean_auc: FloatArray
    mean_precision: FloatArray
    loss: FloatArray
    brier: FloatArray
    f1: FloatArray
    auc: FloatArray
    precision: FloatArray


def bootstrap_labels(
    labels: NDArray, probabilities: NDArray, n: int = 1000, seed: int = 0
) -> LabelDraws:
    """``n`` resamples over images; labels int (N, C) of 0 and 1, probabilities (N, C).

    An image keeps all its labels, so that what labels have in common stays in the spread of a mean.
    """
    labels, probabilities = check_label_inputs(labels, probabilities)
    said = decide(probabilities)
    truth, called = labels.astype(np.float64), said.astype(np.float64)
    by_image = np.stack(
        [
            (said == labels).mean(axis=1),
            sample_label_loss(labels, probabilities),
            ((probabilities - labels) ** 2).mean(axis=1),
        ],
        axis=1,
    )
    scorers = auc_scorer(labels, probabilities), precision_scorer(labels, probabilities)
    total, parts = len(labels), []
    for weights in resampled_images(total, n, seed):
        support, predicted = weights @ truth, weights @ called
        f1, _ = _ratio(2 * (weights @ (truth * called)), support + predicted)
        some = support > 0  # a label that no image has has no F1, said or not
        (auc, ranked), (precision, found) = (scorer(weights) for scorer in scorers)
        accuracy, loss, brier = (weights @ by_image / total).T
        parts.append(
            (
                accuracy,
                _ratio((f1 * some).sum(1), some.sum(1))[0],
                mean_of_defined(auc, ranked),
                mean_of_defined(precision, found),
                loss,
                brier,
                np.where(some, f1, np.nan),
                np.where(ranked, auc, np.nan),
                np.where(found, precision, np.nan),
            )
        )
    return LabelDraws(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def mean_auc_together(
    labels: NDArray, probabilities: NDArray, n: int = 1000, seed: int = 0
) -> FloatArray:
    """``n`` resamples of the mean AUC of K models (n, K), in each the same images for all.

    Labels int (N, C) of 0 and 1, probabilities (K, N, C). The draws of each model are those of
    :func:`bootstrap_labels`.
    """
    drawn = []
    for each in probabilities:  # one model's ranks in memory at a time
        score = auc_scorer(*check_label_inputs(labels, each))
        weights = resampled_images(len(labels), n, seed)
        drawn.append(np.concatenate([mean_of_defined(*score(part)) for part in weights]))
    return np.stack(drawn, axis=1)


def _ratio(above: FloatArray, below: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    defined = below > 0
    return np.divide(above, below, out=np.zeros(above.shape), where=defined), defined
