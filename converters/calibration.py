"""The images that int8 ranges are measured on: a stratified, seeded sample of train, written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.data.strata import spread
from edgecell.data.types import Split, materialize
from edgecell.disk import sha256_bytes
from edgecell.errors import DataError
from edgecell.preprocess import PreprocessSpec
from edgecell.tasks import several_labels


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
    than it has. Of labels (N, C) of 0 and 1 each gets its share and each that
    occurs is in the sample; images without any are the rest.

    Raises:
        DataError: no labels, or ``count`` below the number of classes, or labels, that occur.
    """
    if several_labels(labels):
        return _choose_labelled(labels, count, seed)
    classes, support = np.unique(labels, return_counts=True)
    _check_count(len(labels), count, len(classes), "class", "classes")
    if count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen = [
        generator.choice(np.flatnonzero(labels == each), size, replace=False)
        for each, size in zip(classes, _shares(support, count), strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _choose_labelled(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    present = np.flatnonzero(labels.any(axis=0))
    _check_count(len(labels), count, len(present), "label", "labels")
    if count >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen = spread(labels, (count, len(labels) - count), generator) == 0
    # The sample is one of two parts for it; a label of a single image may have gone to the other.
    for label in present:
        having = np.flatnonzero(labels[:, label])
        if chosen[having].any():
            continue
        alone = labels[chosen].sum(axis=0) == 1
        free = np.flatnonzero(chosen & ~((labels == 1) & alone).any(axis=1))
        chosen[generator.choice(free)] = False
        chosen[generator.choice(having)] = True
    return np.flatnonzero(chosen)


def _check_count(images: int, count: int, present: int, one: str, many: str) -> None:
    if images == 0:
        raise DataError("the train split is empty; calibration needs images of it")
    if count < present:
        raise DataError(
            f"{count} calibration images for {present} {many};"
            f" allowed: at least one a {one}, --calibration-images {present} or more"
        )


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

    ``fingerprint`` is the data set's own. The manifest's "per_class" counts images by class; of several
    labels those that have each, and as "none" those without any. There is no calibration on anything but
    train: ranges fitted to validation or test images make their figures worthless.

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
    manifest = {
        "split": split.name,
        "seed": seed,
        "requested": count,
        "count": len(indices),
        "per_class": _counts(split.labels[indices]),
        "indices": [int(i) for i in indices],
        "data_fingerprint": fingerprint,
        "preprocess": spec.to_json(),
        "images_sha256": sha256_bytes(images.tobytes()),
    }
    return CalibrationSet(images, indices, manifest)


def _counts(labels: NDArray[np.int64]) -> dict[str, int]:
    if several_labels(labels):
        having = {str(each): int(n) for each, n in enumerate(labels.sum(axis=0))}
        return having | {"none": int((labels.sum(axis=1) == 0).sum())}
    classes, support = np.unique(labels, return_counts=True)
    return {str(each): int(n) for each, n in zip(classes, support, strict=True)}
