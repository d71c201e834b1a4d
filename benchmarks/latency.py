"""Single-stream latency on this host, in the sense of MLPerf Inference: one image after another.

The timed region is `predictor.invoke_once(image)`: write the pixels into the input, invoke; the same
code that accuracy is measured with. Decoding and resizing of images are outside. Models take turns
in short blocks until each has its runs and seconds, so that a slow drift of the machine (heat, other
work) hits all of them; their ratio is steadier than their times.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgecell.record import Measurement

BLOCK_NS = 50_000_000  # a model's turn: long enough to be hot, short enough to share drift
_SETTLE_RUNS = 2  # untimed, at the start of each turn: the previous model's weights fill the cache

Clock = Callable[[], int]


class Runnable(Protocol):
    """The part of a predictor that is timed."""

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """One inference of one image uint8 (H, W, 3)."""
        ...


@dataclass(frozen=True)
class Opened:
    """A predictor ready to be timed, with what opening it cost (ns, one entry per load)."""

    predictor: Runnable
    load_ns: tuple[int, ...]
    first_ns: tuple[int, ...]


def open_timed(
    opener: Callable[[], Runnable],
    image: NDArray[np.uint8],
    *,
    loads: int = 3,
    clock: Clock = time.perf_counter_ns,
) -> Opened:
    """Open a model `loads` times and run each once; the last one is kept.

    The file is in the system's cache by then: a load from cold storage takes longer.
    """
    load_ns, first_ns = [], []
    for _ in range(loads):
        start = clock()
        predictor = opener()
        loaded = clock()
        predictor.invoke_once(image)
        first_ns.append(clock() - loaded)
        load_ns.append(loaded - start)
    return Opened(predictor, tuple(load_ns), tuple(first_ns))


def time_interleaved(
    predictors: Sequence[Runnable],
    images: Sequence[NDArray[np.uint8]],
    *,
    min_runs: int = 200,
    min_seconds: float = 2.0,
    warmup_runs: int = 20,
    clock: Clock = time.perf_counter_ns,
    progress: Callable[[float], None] | None = None,
) -> list[NDArray[np.int64]]:
    """Nanoseconds of each timed inference, one array (runs,) per predictor, in time order.

    `images[i]` (n_i, H, W, 3) are fed to predictor i in rotation. Every predictor takes part in every
    round until all have at least `min_runs` runs and `min_seconds` of timed work. Garbage collection
    is off meanwhile. `progress` gets the finished share 0..1.
    """
    samples: list[list[int]] = [[] for _ in predictors]
    spent = [0] * len(predictors)
    with _no_garbage_collection():
        for predictor, own in zip(predictors, images, strict=True):
            for run in range(warmup_runs):
                predictor.invoke_once(own[run % len(own)])
        turn = 0
        while (share := _share(samples, spent, min_runs, min_seconds)) < 1.0:
            for position in range(len(predictors)):
                i = (turn + position) % len(predictors)  # nobody always follows the same model
                spent[i] += _block(predictors[i], images[i], samples[i], clock)
            turn += 1
            if progress:
                progress(share)
    if progress:
        progress(1.0)
    return [np.array(times, np.int64) for times in samples]


def _block(predictor: Runnable, images: NDArray[np.uint8], samples: list[int], clock: Clock) -> int:
    """One turn of a model: append its times to `samples`, return their sum."""
    total, count = 0, len(images)
    for run in range(_SETTLE_RUNS):
        predictor.invoke_once(images[run % count])
    while total < BLOCK_NS:
        image = images[len(samples) % count]
        start = clock()
        predictor.invoke_once(image)
        elapsed = clock() - start
        samples.append(elapsed)
        total += max(elapsed, 1)  # a clock too coarse to see the run must still end the block
    return total


def _share(samples: list[list[int]], spent: list[int], min_runs: int, min_seconds: float) -> float:
    wanted_ns = min_seconds * 1e9
    shares = [
        min(len(times) / min_runs, spent_ns / wanted_ns if wanted_ns else 1.0)
        for times, spent_ns in zip(samples, spent, strict=True)
    ]
    return min(shares, default=1.0)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# ------------------------------------------------------------------------------------ statistics


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
    n = len(times)
    low = int(stats.binom.ppf((1 - level) / 2, n, q))
    high = int(stats.binom.ppf((1 + level) / 2, n, q)) + 1
    if low < 1 or high > n:
        return None
    ordered = np.sort(times)
    return int(ordered[low - 1]), int(ordered[high - 1])


def summarize(times: NDArray[np.int64]) -> dict[str, Any]:
    """p50, p90, p99, mean in ms, drift (last third's median over the first's, minus 1) and n."""
    n = len(times)
    found: dict[str, Any] = {"n": n}
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        low, high = percentile_interval_ns(times, q) or (None, None)
        found[name] = _milliseconds(percentile_ns(times, q), n, low, high)
    found["mean"] = _milliseconds(float(times.mean()), n)
    third = n // 3
    found["drift"] = (
        Measurement(
            float(np.median(times[-third:]) / np.median(times[:third]) - 1), "fraction", n=n
        )
        if third and np.median(times[:third]) > 0
        else Measurement.missing("fraction", f"{n} runs are too few")
    ).to_json()
    return found


def summarize_opening(opened: Opened) -> dict[str, Any]:
    """Median load and first-inference time in ms."""
    n = len(opened.load_ns)
    return {
        "load": _milliseconds(float(np.median(opened.load_ns)), n),
        "first": _milliseconds(float(np.median(opened.first_ns)), n),
    }


def _milliseconds(
    ns: float, n: int, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return Measurement(
        ns / 1e6,
        "ms",
        n=n,
        low=None if low is None else low / 1e6,
        high=None if high is None else high / 1e6,
    ).to_json()
