"""How many images a second go through when several are run at once: MLPerf's offline scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency import Pace, time_interleaved
from edgecell.errors import ArtifactError
from edgecell.runtime import TFLitePredictor

_ROUNDING = 1e-4  # of a probability: kernels sum in another order for another batch
_QUANTA = 1.01  # or one step of a quantized output

Times = NDArray[np.int64] | str
"""Nanoseconds of each timed run (runs,), or the reason why there are none."""


@dataclass(frozen=True)
class _Batches:
    """A predictor of a batch as something that can be timed, a whole batch being one "image"."""

    predictor: TFLitePredictor

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        self.predictor.invoke_batch(image)


def throughput(
    models: Sequence[Path],
    images: Sequence[NDArray[np.uint8]],
    batch: int,
    threads: int,
    pace: Pace,
    *,
    xnnpack: bool = True,
    progress: Callable[[float], None] | None = None,
) -> list[Times]:
    """The times of each file with `batch` (at least 2) images at once, or the reason why not.

    `images[i]` uint8 (n_i, H, W, 3) are those of file i. The same code writes the pixels as for one
    image; the answers must be those given one by one, else nothing is measured.
    """
    answers: list[Times] = []
    opened: dict[int, TFLitePredictor] = {}
    for i, (path, own) in enumerate(zip(models, images, strict=True)):
        try:
            several = TFLitePredictor.open(path, threads=threads, xnnpack=xnnpack, batch=batch)
        except ArtifactError as error:
            answers.append(str(error))
            continue
        single = TFLitePredictor.open(path, threads=threads, xnnpack=xnnpack)
        reason = _difference(single, several, own)
        answers.append(reason)
        if not reason:
            opened[i] = several
    stacks = [_stack(images[i], batch) for i in opened]
    times = time_interleaved(
        [_Batches(each) for each in opened.values()], stacks, pace, progress=progress
    )
    for i, timed in zip(opened, times, strict=True):
        answers[i] = timed.ns
    return answers


def _difference(single: TFLitePredictor, several: TFLitePredictor, own: NDArray[np.uint8]) -> str:
    """Why the answers in a batch are not those given one by one; empty where they are."""
    one, many = single.predict(own), several.predict(own)
    allowed = max(_ROUNDING, _QUANTA * (single.output_scale or 0.0))
    largest = float(np.abs(one - many).max())
    if largest <= allowed:
        return ""
    return (
        f"answers in a batch of {several.batch} differ by {largest:.3g} from those one by one"
        f" (allowed {allowed:.3g})"
    )


def _stack(images: NDArray[np.uint8], batch: int) -> NDArray[np.uint8]:
    """(k, batch, H, W, 3) of the images in rotation."""
    count = max(len(images) // batch, 1)
    order = np.arange(count * batch) % len(images)
    return images[order].reshape(count, batch, *images.shape[1:])
