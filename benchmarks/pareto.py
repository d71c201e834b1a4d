"""Which of several models nobody beats at everything, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell.record import Measurement

_WIDTH = 2 * 1.959964  # standard deviations between the ends of a normal 95 % interval


def pareto_front(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of ``costs`` (K, M), lower is better, no other row dominates: bool (K,).

    A row dominates another that it equals or beats in every column and beats in at least one. Rows
    that are equal do not dominate one another.
    """
    below = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    return np.logical_not((below & better).any(axis=0))


def front_shares(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """In which share of ``draws`` (B, K, M) each of K models is on the front, (K,) 0..1."""
    return np.mean([pareto_front(costs) for costs in draws], axis=0)


def draw_costs(
    quality: NDArray[np.float64],
    sizes: Sequence[float],
    latencies: Sequence[Measurement],
    seed: int = 0,
) -> NDArray[np.float64]:
    """Costs as they might have come out, (B, K, 3): loss of quality, bytes, ms.

    ``quality`` (B, K), 0..1, are bootstrap draws on the same images for all models, so that what is
    hard for all of them cancels. Bytes are exact. A latency is drawn from the normal distribution
    whose 95 % interval is the measured one, independently of the others; without an interval it stays.
    """
    count = len(quality)
    spread = [0.0 if m.low is None or m.high is None else m.high - m.low for m in latencies]
    values = np.array([m.value for m in latencies], np.float64)
    noise = np.random.default_rng(seed).standard_normal((count, len(values)))
    times = values + noise * np.array(spread) / _WIDTH
    exact = np.broadcast_to(np.asarray(sizes, np.float64), (count, len(values)))
    return np.stack([1 - quality, exact, times], axis=2)
