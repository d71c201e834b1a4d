"""Mosaics: every field is an image of the split or ground, and the labels are what lies in the fields."""

from __future__ import annotations

import numpy as np

from benchmarks.mosaics import main, mosaics
from edgecell.config import DataConfig
from edgecell.data import load_dataset
from edgecell.tasks import MULTI_LABEL


def flat(labels: np.ndarray, side: int = 4) -> np.ndarray:
    """Images of one grey each, that of their label: 0, 20, 40, …"""
    return np.broadcast_to(
        (labels * 20).astype(np.uint8)[:, None, None, None], (len(labels), side, side, 3)
    ).copy()


def test_labels_are_the_classes_in_the_fields():
    labels = np.arange(60) % 5
    found, told = mosaics(flat(labels), labels, 5, seed=1)
    assert found.shape == (60, 8, 8, 3) and told.shape == (60, 5)
    counts = []
    for i in range(60):
        greys = [int(found[i, y, x, 0]) for y in (0, 4) for x in (0, 4)]
        # The mean of 0, 20, 40, 60, 80 is 40, the grey of class 2 as well.
        seen = {grey // 20 for grey in greys}
        assert set(np.flatnonzero(told[i])) | {2} == seen | {2}
        assert told[i, labels[i]] == 1
        counts.append(int(told[i].sum()))
    assert set(counts) >= {1, 2, 3} and max(counts) <= 4


def test_the_file_is_a_data_set_of_several_labels(tmp_path):
    source, path = tmp_path / "cells.npz", tmp_path / "mosaics.npz"
    content = {}
    for place, split in enumerate(("train", "val", "test")):
        labels = np.arange(30) % 3
        pixels = flat(labels) + np.random.default_rng(place).integers(0, 9, (30, 4, 4, 3))
        content |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": labels}
    np.savez(source, **content, class_names=np.array(["a", "b", "c"]))
    main(["--data", str(source), "--side", "16", "--output", str(path)])
    dataset = load_dataset(DataConfig(source=str(path)))
    assert dataset.task == MULTI_LABEL and dataset.class_names == ("a", "b", "c")
    assert dataset.val.source.read(0).shape == (32, 32, 3)
    assert dataset.val.labels.shape == (30, 3)
