"""The embedded data set: procedural blood-smear cells in BloodMNIST's eight classes.

A stand-in for real images where there are none: same classes, label order and imbalance, but its
figures say nothing about blood. Every picture has a random stream of its own, seeded by (seed, split,
position), so that a part of a split holds the same pictures as the whole. On one machine a seed gives
the same bytes; another NumPy build may round a few pixels differently by one.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from edgecell.data.smear import KINDS, Canvas, draw
from edgecell.data.sources import ArraySource
from edgecell.data.splits import limit_indices, limit_note
from edgecell.data.types import SPLITS, Dataset, Split

VERSION = 1
"""Raised whenever a picture changes."""

COUNTS = {"train": 1600, "val": 320, "test": 320}
CLASS_NAMES = tuple(KINDS)
_SHARES = np.array([852, 2181, 1085, 2026, 849, 993, 2330, 1643])  # BloodMNIST's train counts


def load_synthetic(size: int, seed: int, limit: int = 0) -> Dataset:
    """Draw all splits at ``size`` × ``size``; with ``limit``, only a stratified part of each.

    Raises:
        ConfigError: ``limit`` is smaller than the number of classes.
    """
    canvas = Canvas.of(size)
    splits = {name: _draw_split(name, canvas, seed, limit) for name in SPLITS}
    notes = ["synthetic cells: figures on them say nothing about real blood"]
    if any(len(split) < COUNTS[name] for name, split in splits.items()):
        notes.append(
            limit_note(limit, {name: (len(splits[name]), COUNTS[name]) for name in SPLITS})
        )
    parameters = {"version": VERSION, "size": size, "seed": seed, "counts": COUNTS}
    fingerprint = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    return Dataset(
        name="synthetic",
        task="multi-class",
        class_names=CLASS_NAMES,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        origin={"kind": "synthetic", "fingerprint": fingerprint},
        notes=tuple(notes),
    )


def _draw_split(name: str, canvas: Canvas, seed: int, limit: int) -> Split:
    labels = split_labels(name, seed)
    rows = limit_indices(labels, limit, seed, name) if limit else np.arange(len(labels))
    images = np.empty((len(rows), canvas.size, canvas.size, 3), np.uint8)
    kinds = list(KINDS.values())
    stream = SPLITS.index(name)
    for at, row in enumerate(rows):
        images[at] = draw(
            kinds[labels[row]], canvas, np.random.default_rng([seed, stream, int(row)])
        )
    return Split(name, ArraySource(images, name), labels[rows])


def split_labels(name: str, seed: int) -> NDArray[np.int64]:
    """The labels of a split, shuffled; counts in BloodMNIST's proportions."""
    edges = np.round(np.cumsum(_SHARES) / _SHARES.sum() * COUNTS[name]).astype(int)
    labels = np.repeat(np.arange(len(_SHARES), dtype=np.int64), np.diff(edges, prepend=0))
    shuffler = np.random.default_rng([seed, SPLITS.index(name), len(labels), 1])
    return shuffler.permutation(labels)
