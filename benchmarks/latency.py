"""Single-stream latency on this host, in the sense of MLPerf Inference: one image after another.

The timed region is `predictor.invoke_once(image)`: write the pixels into the input, invoke; the same
code that accuracy is measured with. Decoding and resizing of images are outside. Models take turns
in short blocks until each has its runs and seconds, so that a slow drift of the machine (heat, other
work) hits all of them; their ratio is steadier than their times. As in MLPerf, there is a least
number of queries and a least duration.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

MIN_ROUNDS = 8  # however short the bench: fewer turns would not share a drift
_TURN_NS = 50_000_000  # a model's turn: long enough to be hot, short enough to share drift
_COOLED_TURN_NS = 2_000_000_000  # with a pause before it
_SETTLE_RUNS = 2  # untimed, at the start of each turn: the previous model's weights fill the cache
_SETTLE_NS = 50_000_000  # untimed after a pause: the clock rate must come up again

Clock = Callable[[], int]


class Runnable(Protocol):
    """The part of a predictor that is timed."""

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """One inference of one image uint8 (H, W, 3)."""
        ...


Model = TypeVar("Model", bound=Runnable)


@dataclass(frozen=True)
class Opened(Generic[Model]):
    """A predictor ready to be timed, with what opening it cost (ns, one entry per load)."""

    predictor: Model
    load_ns: tuple[int, ...]
    first_ns: tuple[int, ...]


@dataclass(frozen=True)
class Pace:
    """How long to measure each model.

    `runs` timed inferences and `seconds` of timed work are minima, both to be reached, or with
    `either` the first of them. `cooldown` seconds of rest come before each turn of a model.
    """

    runs: int = 1024
    seconds: float = 20.0
    warmup_runs: int = 20
    either: bool = False
    cooldown: float = 0.0

    def share(self, runs: int, spent_ns: int) -> float:
        """How much of it is done after `runs` inferences in `spent_ns`; 1 is all."""
        by_runs = runs / self.runs
        if self.seconds == 0:
            return by_runs
        by_time = spent_ns / (self.seconds * 1e9)
        return max(by_runs, by_time) if self.either else min(by_runs, by_time)

    @property
    def turn_ns(self) -> int:
        """Length of a model's turn."""
        return _COOLED_TURN_NS if self.cooldown else _TURN_NS

    @property
    def settle_ns(self) -> int:
        """Untimed time at the start of each turn."""
        return _SETTLE_NS if self.cooldown else 0

    @property
    def turn_runs(self) -> float:
        """Most inferences in a turn, so that even a short bench has several rounds."""
        by_time_alone = not self.either and self.seconds * 1e9 >= MIN_ROUNDS * self.turn_ns
        return inf if by_time_alone else ceil(self.runs / MIN_ROUNDS)


@dataclass(frozen=True)
class Timed:
    """`ns` (runs,): each timed inference in time order; `turns` (rounds,): where each turn begins."""

    ns: NDArray[np.int64]
    turns: NDArray[np.int64]


def open_timed(
    opener: Callable[[], Model],
    image: NDArray[np.uint8],
    *,
    loads: int = 3,
    clock: Clock = time.perf_counter_ns,
) -> Opened[Model]:
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
    pace: Pace,
    *,
    clock: Clock = time.perf_counter_ns,
    rest: Callable[[float], None] = time.sleep,
    progress: Callable[[float], None] | None = None,
) -> list[Timed]:
    """The timed inferences of each predictor, all in the same number of rounds.

    `images[i]` (n_i, …) are fed to predictor i in rotation. Every predictor takes part in every round
    until all have reached their `pace`. Garbage collection is off meanwhile. `progress` gets the
    finished share 0..1.
    """
    samples: list[list[int]] = [[] for _ in predictors]
    starts: list[list[int]] = [[] for _ in predictors]
    spent = [0] * len(predictors)

    def share() -> float:
        done = [pace.share(len(t), ns) for t, ns in zip(samples, spent, strict=True)]
        return min(done, default=1.0)

    with _no_garbage_collection():
        for predictor, own in zip(predictors, images, strict=True):
            for run in range(pace.warmup_runs):
                predictor.invoke_once(own[run % len(own)])
        turn = 0
        while (done := share()) < 1.0:
            for position in range(len(predictors)):
                i = (turn + position) % len(predictors)  # nobody always follows the same model
                if pace.cooldown:
                    rest(pace.cooldown)
                _settle(predictors[i], images[i], pace.settle_ns, clock)
                starts[i].append(len(samples[i]))
                spent[i] += _turn(predictors[i], images[i], samples[i], pace, clock)
            turn += 1
            if progress:
                progress(done)
    if progress:
        progress(1.0)
    return [
        Timed(np.array(times, np.int64), np.array(turns, np.int64))
        for times, turns in zip(samples, starts, strict=True)
    ]


def _settle(predictor: Runnable, images: NDArray[np.uint8], least_ns: int, clock: Clock) -> None:
    """Untimed runs: at least a few, at least for a while."""
    start, runs = clock(), 0
    while runs < _SETTLE_RUNS or clock() - start < least_ns:
        predictor.invoke_once(images[runs % len(images)])
        runs += 1


def _turn(
    predictor: Runnable, images: NDArray[np.uint8], samples: list[int], pace: Pace, clock: Clock
) -> int:
    """One turn of a model: append its times to `samples`, return their sum."""
    total, runs, count = 0, 0, len(images)
    most_ns, most_runs = pace.turn_ns, pace.turn_runs
    while total < most_ns and runs < most_runs:
        image = images[len(samples) % count]
        start = clock()
        predictor.invoke_once(image)
        elapsed = clock() - start
        samples.append(elapsed)
        total += max(elapsed, 1)  # a clock too coarse to see the run must still end the turn
        runs += 1
    return total


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
