"""Intervals of F1: of a class, and of the mean over classes.

Resampling images says nothing of a class without a mistake: each resample is faultless too, and the
interval has no width. So has one of a class that is never hit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecell.metrics.intervals import Interval, percentile_interval, wilson_interval
from edgecell.metrics.scores import FloatArray


def f1_interval(hits: int, support: int, predicted: int, level: float = 0.95) -> Interval | None:
    """Wilson's interval of a class's Jaccard index, as F1; None where the class is nowhere.

    Of the k = support + predicted - hits images that have the class or are called it, ``hits`` are
    both: given k that is a binomial draw with the Jaccard index J. F1 = 2 J / (1 + J) rises with J, so
    the ends carry over (Lam, Gopal and Qian 2023, arXiv:2309.14621).
    """
    found = wilson_interval(hits, support + predicted - hits, level)
    return None if found is None else Interval(*(2 * end / (1 + end) for end in found))


def mean_f1_interval(
    hits: NDArray,
    support: NDArray,
    predicted: NDArray,
    f1_draws: FloatArray,
    mean_draws: FloatArray,
    shares: FloatArray | None = None,
    level: float = 0.95,
) -> Interval:
    """The mean F1 of the classes that images have: what resampling and the classes' own intervals say.

    The second part recovers the variance of the mean from the ends of :func:`f1_interval` and the
    correlation of the resampled scores (Zou and Donner 2008, Statistics in Medicine 27:1693). It keeps
    a width where classes are faultless; the interval holds both.

    Args:
        hits, support, predicted: int (C,) counts of each class.
        f1_draws: resampled F1 (B, C); where not finite the class is not in that resample.
        mean_draws: resampled means (B,).
        shares: weights of the classes (C,), alike where not given; those of absent classes do not count.
    """
    present = np.flatnonzero(support > 0)
    weights = np.ones(len(support)) if shares is None else np.asarray(shares, np.float64)
    weights = weights[present] / weights[present].sum()
    f1 = 2 * hits[present] / (support + predicted)[present]
    ends = np.array(
        [f1_interval(int(hits[c]), int(support[c]), int(predicted[c]), level) for c in present]
    )
    together = _correlation(f1_draws[:, present])
    mean = float(weights @ f1)
    below, above = ((weights * abs(f1 - end)) for end in ends.T)
    reach = [float(np.sqrt(max(part @ together @ part, 0.0))) for part in (below, above)]
    drawn = percentile_interval(mean_draws[np.isfinite(mean_draws)], level)
    return Interval(
        max(0.0, min(drawn.low, mean - reach[0])), min(1.0, max(drawn.high, mean + reach[1]))
    )


def _correlation(draws: FloatArray) -> FloatArray:
    """(C, C) of draws (B, C), those that are not finite at their mean; 0 where one does not vary."""
    known = np.isfinite(draws)
    mean = np.where(known, draws, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    away = np.where(known, draws - mean, 0.0)
    size = np.sqrt((away**2).sum(axis=0))
    away = np.divide(away, size, out=np.zeros(away.shape), where=size > 0)
    found = away.T @ away
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)
