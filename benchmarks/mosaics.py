"""Images with several labels, laid together from images with one: python -m benchmarks.mosaics --data D.

Where there is no set such as ChestMNIST at hand: each image is a square of four fields, of which one to
four hold an image of the source and the others its mean colour. The labels are the classes that occur.
Splits stay apart: a mosaic of val holds images of val alone. A rare class of the source stays rare.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.config import DataConfig
from edgecell.data import Dataset, Split, load_dataset, materialize
from edgecell.disk import atomic_write_bytes
from edgecell.preprocess import PreprocessSpec
from edgecell.tasks import MULTI_LABEL

FIELDS = 4


def mosaics(
    images: NDArray[np.uint8], labels: NDArray[np.int64], class_count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """As many mosaics as images: uint8 (N, 2 H, 2 W, 3) and labels (N, class_count) of 0 and 1.

    ``images`` uint8 (N, H, W, 3), ``labels`` int (N,). Each image of the source occurs in one field at
    least.
    """
    random = np.random.default_rng(seed)
    n, height, width, _ = images.shape
    ground = images.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    found = np.empty((n, 2 * height, 2 * width, 3), np.uint8)
    found[:] = ground
    told = np.zeros((n, class_count), np.int64)
    counts = np.asarray(random.integers(1, FIELDS + 1, n), np.int64)
    for i, some in enumerate(counts.tolist()):
        chosen = [i, *random.integers(0, n, some - 1)]
        for image, field in zip(chosen, random.permutation(FIELDS), strict=False):
            top, left = height * (field // 2), width * (field % 2)
            found[i, top : top + height, left : left + width] = images[image]
            told[i, labels[image]] = 1
    return found, told


def arrays(dataset: Dataset, side: int, seed: int) -> dict[str, Any]:
    """The content of an .npz file that edgecell reads, fields of ``side`` pixels."""
    content: dict[str, Any] = {
        "class_names": np.array(dataset.class_names),
        "task": np.array(MULTI_LABEL),
    }
    splits: Sequence[Split] = (dataset.train, dataset.val, dataset.test)
    for place, split in enumerate(splits):
        images = materialize(split, PreprocessSpec(side, side, "stretch"))
        pixels, labels = mosaics(images, split.labels, len(dataset.class_names), seed + place)
        content |= {f"{split.name}_images": pixels, f"{split.name}_labels": labels.astype(np.uint8)}
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the data set, write its mosaics."""
    parser = argparse.ArgumentParser(prog="benchmarks.mosaics", description=__doc__)
    parser.add_argument("--data", required=True, help="as edgecell train takes it")
    parser.add_argument("--side", type=int, default=28, help="of a field, pixels [28]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("mosaics.npz"))
    told = parser.parse_args(arguments)
    dataset = load_dataset(DataConfig(source=told.data))
    path: Path = told.output
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays(dataset, told.side, told.seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, packed.getvalue())
    print(f"{path}: {len(dataset.train):,} + {len(dataset.val):,} + {len(dataset.test):,} mosaics")


if __name__ == "__main__":
    main()
