"""Intervals of scores: Wilson for proportions, the bootstrap over images for the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csr_array

from edgecell.errors import DataError
from edgecell.metrics.scores import (
    FloatArray,
    IntArray,
    check_inputs,
    confusion_matrix,
    count_scores,
    sample_brier,
    sample_loss,
    weighted_auc,
)


class Interval(NamedTuple):
    """Both ends, in the unit of the value they enclose."""

    low: float
    high: float


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of a proportion (1927); None where n is 0.

    Preferred to the bootstrap for proportions: it keeps a width at 0 and at n successes. SciPy's own comes
    with an exact test that takes milliseconds, seconds where classes are very many.
    """
    if n == 0:
        return None
    z, share = float(stats.norm.isf((1 - level) / 2)), float(successes / n)
    middle, shrunk = share + z**2 / (2 * n), 1 + z**2 / n
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else (middle - reach) / shrunk
    return Interval(low, 1.0 if successes == n else (middle + reach) / shrunk)


def percentile_interval(samples: NDArray, level: float = 0.95) -> Interval:
    """Central `level` share of resampled values (B,)."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def with_width(interval: Interval) -> Interval | None:
    """None for one whose ends are the same: of resamples that do not differ it says nothing."""
    return interval if interval.low < interval.high else None


def resampled_images(total: int, n: int, seed: int) -> Iterator[FloatArray]:
    """How often each of ``total`` images is drawn in each of ``n`` resamples, in parts (B, total)."""
    rng = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // total)  # bounds a part at about 32 MB
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        yield rng.multinomial(total, np.full(total, 1 / total), size=size).astype(np.float64)


def bootstrap_confusion(confusion: NDArray, n: int = 1000, seed: int = 0) -> dict[str, FloatArray]:
    """`n` resamples of accuracy, macro_f1, weighted_f1 (n,) and precision, recall, f1 (n, C).

    Drawing N images with replacement and counting their (label, prediction) cells is one multinomial
    draw over the cells, so no image is touched and 1,000 resamples take milliseconds.
    """
    class_count, total = len(confusion), int(confusion.sum())
    rows, columns = np.nonzero(confusion)
    draws = np.random.default_rng(seed).multinomial(total, confusion[rows, columns] / total, size=n)
    support, predicted = (sum_by_class(draws, each, class_count) for each in (rows, columns))
    hits = sum_by_class(draws, rows, class_count, rows == columns)
    return count_scores(hits, support, predicted)


def sum_by_class(
    counts: IntArray, classes: IntArray, class_count: int, kept: NDArray[np.bool_] | None = None
) -> IntArray:
    """Sums (B, C) of the columns of ``counts`` (B, K) by the class (K,) of each, where it is kept (K,).

    A sparse product: with 1,000 classes a dense one takes a minute.
    """
    values = np.ones(len(classes), np.int64) if kept is None else kept.astype(np.int64)
    places = (np.arange(len(classes)), classes)
    return np.asarray(counts @ csr_array((values, places), shape=(len(classes), class_count)))


def bootstrap_together(
    labels: IntArray, predictions: NDArray, class_count: int, n: int = 1000, seed: int = 0
) -> dict[str, FloatArray]:
    """`n` resamples of accuracy and macro_f1 of K models (n, K), in each the same images for all.

    Args:
        labels: int (N,), 0..C-1.
        predictions: int (K, N), the class that each model said.
    """
    total, eye = len(labels), np.eye(class_count)
    truth, said = eye[labels], eye[predictions]  # (N, C), (K, N, C)
    parts = []
    for weights in resampled_images(total, n, seed):
        support = weights @ truth
        scores = [count_scores(weights @ (truth * one), support, weights @ one) for one in said]
        parts.append(np.array([[s[name] for s in scores] for name in ("accuracy", "macro_f1")]))
    accuracy, macro_f1 = np.concatenate(parts, axis=2)
    return {"accuracy": accuracy.T, "macro_f1": macro_f1.T}


_CONFUSION_METRICS = ("accuracy", "macro_f1", "weighted_f1")
_SAMPLE_METRICS = ("log_loss", "brier", "auc")


_AUC_WORK = 500_000_000
_FEWEST = 100


def auc_resamples(images: int, class_count: int, wanted: int) -> int:
    """How many of ``wanted`` resamples the AUC's interval gets: fewer where classes are very many.

    Each costs a pass over all images for every class: 1,000 resamples of 2,000 images in 1,000 classes
    take minutes. Up to 500,000 images × classes it is all of them, and never below 100.
    """
    return min(wanted, max(_FEWEST, _AUC_WORK // (images * class_count)))


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
    samples = [score(weights) for weights in resampled_images(len(labels), n, seed)]
    return percentile_interval(np.concatenate(samples), level)


def _weighted_score(
    metric: str, labels: IntArray, probabilities: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    """The metric as a function of image weights (B, N) -> (B,)."""
    if metric == "auc":
        return weighted_auc(labels, probabilities)
    sample_score = {"log_loss": sample_loss, "brier": sample_brier}[metric]
    values = sample_score(labels, probabilities)
    return lambda weights: weights @ values / weights.sum(axis=1)
