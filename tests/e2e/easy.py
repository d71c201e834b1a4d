"""Names, flags and images of the small run that the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CLASSES = ("red", "green", "blue")
COUNTS = {"train": 240, "val": 36, "test": 36}
SMALL = [
    *("--image-size", "32", "--weights", "none", "--head-epochs", "0", "--epochs", "14"),
    *(
        "--batch-size",
        "12",
        "--learning-rate",
        "2e-3",
        "--batchnorm-momentum",
        "0.7",
        "--calibration-images",
        "32",
    ),
]
LENIENT = ["--max-accuracy-drop", "0.2", "--max-f1-drop", "0.3"]
QUICK = ["--runs", "10", "--seconds", "0"]


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def easy_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 20, 20, 3) noisy discs in the class's colour, labels (count, 1)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = rng.integers(60, 140, (count, 20, 20, 3))
    rows, columns = np.mgrid[:20, :20]
    for image, label in zip(images, labels, strict=True):
        centre = rng.integers(7, 13, 2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 36
        image[disc, label] += 110
    return np.clip(images, 0, 255).astype(np.uint8), labels[:, None].astype(np.uint8)
