"""The interval of one ROC curve's area, also where it is 1 or few images have the label."""

from __future__ import annotations

import math

from scipy import optimize, stats

from edgecell.metrics.intervals import Interval


def auc_interval(
    value: float, positives: int, negatives: int, level: float = 0.95
) -> Interval | None:
    """Newcombe's method 5 (2006, Statistics in Medicine 25:559); None without a pair of images.

    The ends are the areas that lie ``z`` of their own standard errors away, with Hanley and McNeil's
    variance for exponential scores and the mean of both counts in the place of each. Resampled
    intervals of 10 to 60 positives with areas above 0.95 hold the true one in 60 to 85 of 100 cases.

    Args:
        value: the area, 0 to 1.
        positives, negatives: images with and without the label.
    """
    if positives < 1 or negatives < 1:
        return None
    z = float(stats.norm.isf((1 - level) / 2))
    n = (positives + negatives) / 2 - 1

    def reach(area: float) -> float:
        spread = 1 + n * (1 - area) / (2 - area) + n * area / (1 + area)
        return z * math.sqrt(area * (1 - area) * spread / (positives * negatives))

    def end(limit: float) -> float:
        if value == limit:
            return limit
        near = value + (limit - value) * 1e-9  # at 0 and 1 themselves the error is 0
        low, high = sorted((near, limit))
        return float(optimize.brentq(lambda area: abs(area - value) - reach(area), low, high))

    return Interval(end(0.0), end(1.0))
