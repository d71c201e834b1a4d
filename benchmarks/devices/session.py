"""Outputs and timings of several models on the machine that this runs on.

The part of the bench that also runs elsewhere: on a board it comes out of one archive, with nothing
but NumPy and LiteRT beside it. It imports what `archive.py` packs, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import latency
from benchmarks.footprint import no_memory, peak_memory
from benchmarks.host import Others, host
from benchmarks.options import BenchOptions
from benchmarks.throughput import Times, throughput
from edgecell.runtime import TFLitePredictor, available_cores

TIMED_IMAGES = 64
_TIMING = 0.4  # share of the work done when the timing starts
_CHUNK = 64  # images between two signs of life

Say = Callable[[str, float], None]
"""Gets a line of text and the finished share 0..1."""


@dataclass(frozen=True)
class Job:
    """A model file and the images it is to answer, uint8 (N, H, W, 3); jobs may share one array."""

    name: str
    path: Path
    images: NDArray[np.uint8]


@dataclass(frozen=True)
class Timing:
    """One model with one number of threads: what took its operators, opening it, each run."""

    threads: int
    delegate: dict[str, Any]
    load_ns: tuple[int, ...]
    first_ns: tuple[int, ...]
    timed: latency.Timed


@dataclass(frozen=True)
class BatchTiming:
    """One model with one number of threads on several images at once."""

    threads: int
    batch: int
    times: Times


@dataclass
class Samples:
    """What one model gave: `raw` (N, C), the output tensor's own values, by whose kernels, memory, times."""

    raw: NDArray[Any]
    delegate: dict[str, Any]
    memory: dict[str, Any]
    timings: list[Timing] = field(default_factory=list)
    batches: list[BatchTiming] = field(default_factory=list)


@dataclass
class Session:
    """What all jobs gave, the machine's facts before they began, and its other work meanwhile."""

    facts: dict[str, Any]
    models: list[Samples]
    background: list[dict[str, Any]] = field(default_factory=list)


def sample(jobs: Sequence[Job], options: BenchOptions, say: Say) -> Session:
    """Outputs and memory of one job after the other, then the times of all of them in turn.

    Raises:
        ArtifactError: not a classifier's .tflite. DataError: images that do not fit it.
    """
    session = Session(host(), [])  # the facts before any work of our own
    share = _TIMING if options.threads else 1.0
    for i, job in enumerate(jobs):

        def part(done: float, i: int = i, job: Job = job) -> None:
            say(f"quality and footprint of {job.name}", share * (i + done) / len(jobs))

        part(0.0)
        predictor = TFLitePredictor.open(job.path, threads=1, xnnpack=options.xnnpack)
        raw = _outputs(predictor, job.images, part)
        memory = (
            peak_memory(job.path, xnnpack=options.xnnpack)
            if options.memory
            else no_memory("not asked for")
        )
        session.models.append(Samples(raw, predictor.delegation().to_json(), memory))
    images = [job.images[:TIMED_IMAGES].copy() for job in jobs]
    settings = thread_settings(options.threads)
    for step, threads in enumerate(settings):

        def timing(share: float, threads: int = threads, step: int = step) -> None:
            done = (step + share) / len(settings)
            say(f"latency, {threads_text(threads)}", _TIMING + (1 - _TIMING) * done)

        others = Others()
        _time_all([job.path for job in jobs], images, session.models, threads, options, timing)
        session.background.append({"threads": threads, "others": others.share().to_json()})
    return session


def thread_settings(wanted: Sequence[int]) -> list[int]:
    """Thread counts to measure, 0 resolved to all cores, each once."""
    return list(dict.fromkeys(available_cores() if count == 0 else count for count in wanted))


def threads_text(count: int) -> str:
    """`1 thread`, `4 threads`."""
    return "1 thread" if count == 1 else f"{count} threads"


def _outputs(
    predictor: TFLitePredictor, images: NDArray[np.uint8], progress: Callable[[float], None]
) -> NDArray[Any]:
    parts = []
    for start in range(0, len(images), _CHUNK):
        parts.append(predictor.raw(images[start : start + _CHUNK]))
        progress(start / len(images))
    return np.concatenate(parts) if parts else predictor.raw(images)


def _time_all(
    paths: Sequence[Path],
    images: Sequence[NDArray[np.uint8]],
    models: Sequence[Samples],
    threads: int,
    options: BenchOptions,
    progress: Callable[[float], None],
) -> None:
    """Times of all models with one number of threads, singly and in batches, into ``models``."""
    openers = [
        partial(TFLitePredictor.open, path, threads=threads, xnnpack=options.xnnpack)
        for path in paths
    ]
    opened = [
        latency.open_timed(opener, own[0], loads=options.loads)
        for opener, own in zip(openers, images, strict=True)
    ]
    predictors = [each.predictor for each in opened]
    times = latency.time_interleaved(
        predictors, images, options.pace, progress=lambda share: progress(0.9 * share)
    )
    for model, each, timed in zip(models, opened, times, strict=True):
        delegate = each.predictor.delegation().to_json()
        model.timings.append(Timing(threads, delegate, each.load_ns, each.first_ns, timed))
    for batch in options.batches:
        rates = throughput(
            paths, images, batch, threads, _short(options.pace), xnnpack=options.xnnpack
        )
        for model, found in zip(models, rates, strict=True):
            model.batches.append(BatchTiming(threads, batch, found))
    progress(1.0)


def _short(pace: latency.Pace) -> latency.Pace:
    """The pace for batches: a twentieth of it."""
    runs = max(latency.MIN_ROUNDS, pace.runs // 20)
    return replace(pace, runs=runs, seconds=pace.seconds / 20, warmup_runs=2)
