"""The images that int8 ranges are measured on: a stratified, seeded sample of train, written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.data.types import Split, materialize
from edgecell.errors import DataError
from edgecell.preprocess import PreprocessSpec
from edgecell.rundir import sha256_bytes


@dataclass(frozen=True)
class CalibrationSet:
    """Calibration images with the manifest that lets anybody draw them again.

    ``images`` uint8 (N, H, W, 3), ``indices`` int64 (N,) into the train split, ascending;
    ``manifest`` holds JSON types only.
    """

    images: NDArray[np.uint8]
    indices: NDArray[np.int64]
    manifest: dict[str, Any]


def choose(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Ascending indices of a stratified random sample of ``count`` labels, all where there are fewer.

    Each class gets its share of ``count`` (largest remainder), at least one image, and never more
    than it has.

    Raises:
        DataError: no labels, or ``count`` below the number of classes.
    """
    classes, support = np.unique(labels, return_counts=True)
    if len(classes) == 0:
        raise DataError("the train split is empty; calibration needs images of it")
    if count < len(classes):
        raise DataError(
            f"{count} calibration images for {len(classes)} classes;"
            f" allowed: at least one a class, --calibration-images {len(classes)} or more"
        )
    if count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen = [
        generator.choice(np.flatnonzero(labels == each), size, replace=False)
        for each, size in zip(classes, _shares(support, count), strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def unseen(drawn: NDArray[np.int64], size: int, count: int, seed: int) -> NDArray[np.int64]:
    """Ascending indices of ``count`` of a split's ``size`` images that are not ``drawn``, or of all.

    No class is looked at: how answers change is wanted on images as they come.
    """
    left = np.setdiff1d(np.arange(size, dtype=np.int64), drawn)
    if count >= len(left):
        return left
    return np.sort(np.random.default_rng(seed).choice(left, count, replace=False))


def _shares(support: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """``count`` divided in proportion to ``support``: 1 ≤ share ≤ support, sum exact."""
    exact = support * count / support.sum()
    shares = np.maximum(1, np.floor(exact)).astype(np.int64)
    while shares.sum() != count:
        # Give to the class furthest below its exact share, or take from the one furthest above.
        step = 1 if shares.sum() < count else -1
        free = shares < support if step == 1 else shares > 1
        gap = np.where(free, (exact - shares) * step, -np.inf)
        shares[int(np.argmax(gap))] += step
    return shares


def calibration_set(
    split: Split, spec: PreprocessSpec, *, count: int, seed: int, fingerprint: str
) -> CalibrationSet:
    """Draw, decode and document the calibration images.

    ``fingerprint`` is the data set's own. There is no calibration on anything but train: ranges
    fitted to validation or test images make their figures worthless.

    Raises:
        DataError: another split than train, too few images asked for, an image that cannot be read,
            images without any contrast.
    """
    if split.name != "train":
        raise DataError(f"calibration on the split '{split.name}' is refused; allowed: train")
    indices = choose(split.labels, count, seed)
    images = materialize(split, spec, indices=indices)
    if len(images) and images.min() == images.max():
        raise DataError(
            f"all pixels of the {len(images)} calibration images are {images.min()}: there is no range"
            " to measure; look at train with 'edgecell data show'"
        )
    classes, support = np.unique(split.labels[indices], return_counts=True)
    manifest = {
        "split": split.name,
        "seed": seed,
        "requested": count,
        "count": len(indices),
        "per_class": {str(each): int(n) for each, n in zip(classes, support, strict=True)},
        "indices": [int(i) for i in indices],
        "data_fingerprint": fingerprint,
        "preprocess": spec.to_json(),
        "images_sha256": sha256_bytes(images.tobytes()),
    }
    return CalibrationSet(images, indices, manifest)
