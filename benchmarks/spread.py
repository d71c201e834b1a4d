"""How a series of timings is summed up: order statistics with their intervals, drift, ratios."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.latency import Timed
from edgecell.record import Measurement

PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


def percentile_ns(times: NDArray[np.int64], q: float) -> int:
    """The smallest time that at least a share `q` of the runs does not exceed (no interpolation)."""
    return int(np.sort(times)[max(ceil(q * len(times)), 1) - 1])


def percentile_interval_ns(
    times: NDArray[np.int64], q: float, level: float = 0.95
) -> tuple[int, int] | None:
    """Order-statistics interval of the `q` quantile; None where the runs are too few for it.

    The ranks come from the binomial distribution of how many of n independent runs lie below the
    quantile. Runs in a row resemble each other: between two benches expect more than this.
    """
    ends = interval_ranks(len(times), q, level)
    if ends is None:
        return None
    ordered = np.sort(times)
    return int(ordered[ends[0] - 1]), int(ordered[ends[1] - 1])


def interval_ranks(n: int, q: float, level: float = 0.95) -> tuple[int, int] | None:
    """Ranks (from 1) of the two order statistics that hold the `q` quantile with `level`."""
    low = int(stats.binom.ppf((1 - level) / 2, n, q))
    high = int(stats.binom.ppf((1 + level) / 2, n, q)) + 1
    return None if low < 1 or high > n else (low, high)


def summarize(timed: Timed) -> dict[str, Any]:
    """p50, p90, p99, mean in ms, drift (last third's median over the first's, minus 1) and n."""
    times = timed.ns
    n = len(times)
    found: dict[str, Any] = {"n": n, "rounds": len(timed.turns)}
    for name, q in PERCENTILES:
        low, high = percentile_interval_ns(times, q) or (None, None)
        found[name] = milliseconds(percentile_ns(times, q), n, low, high)
    found["mean"] = milliseconds(float(times.mean()), n)
    third = n // 3
    found["drift"] = (
        Measurement(
            float(np.median(times[-third:]) / np.median(times[:third]) - 1), "fraction", n=n
        )
        if third and np.median(times[:third]) > 0
        else Measurement.missing("fraction", f"{n} runs are too few")
    ).to_json()
    return found


def summarize_opening(load_ns: Sequence[int], first_ns: Sequence[int]) -> dict[str, Any]:
    """Median load and first-inference time in ms."""
    n = len(load_ns)
    return {
        "load": milliseconds(float(np.median(load_ns)), n),
        "first": milliseconds(float(np.median(first_ns)), n),
    }


def rate(batch: int, ns: NDArray[np.int64]) -> dict[str, Any]:
    """Images/s: the batch over the median time of one, with the interval of that median."""
    quick, slow = percentile_interval_ns(ns, 0.5) or (None, None)
    return Measurement(
        batch / percentile_ns(ns, 0.5) * 1e9,
        "images/s",
        n=len(ns),
        low=None if slow is None else batch / slow * 1e9,
        high=None if quick is None else batch / quick * 1e9,
    ).to_json()


def paired_ratio(mine: Timed, reference: Timed) -> Measurement:
    """How many times the reference's time a model takes, from rounds in which both had a turn.

    Each round gives one ratio of the two medians in it; the value is the median of these, its interval
    that of order statistics over rounds. A machine that is slow for a while is slow for both.

    Raises:
        ValueError: the two were not timed in the same rounds.
    """
    ratios = np.sort(turn_medians(mine) / turn_medians(reference))
    n = len(ratios)
    ends = interval_ranks(n, 0.5)
    low, high = (float(ratios[rank - 1]) for rank in ends) if ends else (None, None)
    return Measurement(float(np.median(ratios)), "1", n=n, low=low, high=high)


def turn_medians(timed: Timed) -> NDArray[np.float64]:
    """The median time of each turn, (rounds,), ns."""
    return np.array([np.median(turn) for turn in np.split(timed.ns, timed.turns[1:])])


def milliseconds(
    ns: float, n: int, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """Nanoseconds as a measurement in ms."""
    return Measurement(
        ns / 1e6,
        "ms",
        n=n,
        low=None if low is None else low / 1e6,
        high=None if high is None else high / 1e6,
    ).to_json()
