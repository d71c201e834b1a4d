"""What evaluating costs beyond the pure inferences: python -m benchmarks.overhead --model X --data D.

Both are timed in turn on the same images in one process, so that the ratio means something on a
noisy machine. Pure: the bare invoke, as often as there are images, on whatever the input holds.
Evaluating: pixels into the input, invoke, result out and made probabilities.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecell.config import DataConfig
from edgecell.data import load_dataset, materialize
from edgecell.preprocess import PreprocessSpec
from edgecell.runtime import TFLitePredictor


def ratios(predictor: TFLitePredictor, images: np.ndarray, rounds: int) -> list[float]:
    """Evaluating over pure invoke, one ratio a round; ``images`` uint8 (N, H, W, 3)."""

    def pure() -> None:
        for _ in range(len(images)):
            predictor.invoke_only()

    def evaluating() -> None:
        predictor.predict(images)

    evaluating()  # warm-up
    return [_seconds(evaluating) / _seconds(pure) for _ in range(rounds)]


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the median ratio and its range."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    predictor = TFLitePredictor(arguments.model)
    split = load_dataset(DataConfig(source=arguments.data)).test
    images = materialize(split, PreprocessSpec(*predictor.image_size))
    found = ratios(predictor, images, arguments.rounds)
    sys.stdout.write(
        f"evaluating {len(images)} images takes {np.median(found):.3f} × the pure invoke time"
        f" ({min(found):.3f} to {max(found):.3f} over {len(found)} rounds)\n"
    )


if __name__ == "__main__":
    main()
