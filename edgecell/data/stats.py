"""What a data set holds, in numbers: the body of ``edgecell data show``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.data.duplicates import Duplicates, find_duplicates
from edgecell.data.sources import ArraySource, SubsetSource
from edgecell.data.types import SPLITS, Dataset, ImageSource, Split
from edgecell.errors import DataError

SAMPLE = 1000
"""Images per split whose pixels go into the value ranges, unless told otherwise."""

DARK = 64
"""Where the brightest pixel of a split is darker than this, that is said."""

_CHUNK = 64


@dataclass(frozen=True)
class PixelStats:
    """Pixels of ``sampled`` of ``total`` images; mean and sd per channel R, G, B, in 0 … 255."""

    sampled: int
    total: int
    low: int
    high: int
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]


@dataclass(frozen=True)
class SizeRange:
    """Smallest and largest height and width over ``checked`` images, in pixels."""

    checked: int
    heights: tuple[int, int]
    widths: tuple[int, int]


@dataclass(frozen=True)
class Summary:
    """Counts are per split, in the order of ``class_names``.

    ``imbalance``: largest over smallest class of train. ``labels_per_image`` is for sets with several
    labels to an image: how many images have 0, 1, 2, … of them.
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    imbalance: float
    pixels: dict[str, PixelStats]
    sizes: dict[str, SizeRange]
    duplicates: Duplicates
    notes: tuple[str, ...]
    origin: dict[str, Any]
    images: dict[str, int]
    labels_per_image: dict[str, tuple[int, ...]] | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        data = asdict(self)
        if self.labels_per_image is None:
            del data["labels_per_image"]
        data["duplicates"] = self.duplicates.to_json()
        return data


def describe(
    dataset: Dataset,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Count, measure and search for duplicates; every image file is decoded once.

    Value ranges come from a seeded sample of at most ``sample`` images per split. ``progress`` gets
    the number of images done so far.

    Raises:
        DataError: images that cannot be decoded, with their number and the first of them.
    """
    counts = {name: tuple(_counts(dataset, name)) for name in SPLITS}
    done, broken = 0, []
    pixels, sizes = {}, {}
    for name in SPLITS:
        split = dataset.split(name)
        rng = np.random.default_rng([seed, SPLITS.index(name)])
        chosen = rng.permutation(len(split))[:sample]
        tally = _Tally(set(chosen.tolist()))
        for images, errors in _read_all(split.source, _rows_to_read(split, chosen)):
            tally.add(images)
            broken += errors
            done += len(images) + len(errors)
            if progress is not None:
                progress(done)
        if not broken:
            pixels[name], sizes[name] = tally.pixels(len(split)), tally.sizes()
    if broken:
        raise DataError(_broken_message(broken))
    train = counts["train"]
    return Summary(
        name=dataset.name,
        task=dataset.task,
        class_names=dataset.class_names,
        counts=counts,
        imbalance=max(train) / min(train),
        pixels=pixels,
        sizes=sizes,
        duplicates=find_duplicates(dataset),
        notes=(*dataset.notes, *_dark(pixels)),
        origin=dataset.origin,
        images={name: len(dataset.split(name)) for name in SPLITS},
        labels_per_image=_label_counts(dataset),
    )


def _dark(pixels: dict[str, PixelStats]) -> Iterator[str]:
    for name, found in pixels.items():
        if found.high < DARK:
            yield (
                f"{name} is nearly black: its brightest pixel is {found.high} of 255 (12-bit values in"
                " 16-bit files do that: multiply them by 16 and save again)"
            )


def _counts(dataset: Dataset, name: str) -> list[int]:
    counts: list[int] = dataset.split(name).counts(len(dataset.class_names)).tolist()
    return counts


def _label_counts(dataset: Dataset) -> dict[str, tuple[int, ...]] | None:
    """How many images have 0, 1, 2, … labels at once, by split."""
    if not dataset.train.multi_label:
        return None
    return {
        name: tuple(np.bincount(dataset.split(name).labels.sum(axis=1)).tolist()) for name in SPLITS
    }


def _rows_to_read(split: Split, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """All rows of files, which may be corrupt; only the sample of an array, which cannot be."""
    source = split.source
    inner = source.source if isinstance(source, SubsetSource) else source
    return np.sort(chosen) if isinstance(inner, ArraySource) else np.arange(len(split))


Read = tuple[dict[int, NDArray[np.uint8]], list[str]]


def _read_all(source: ImageSource, rows: NDArray[np.int64]) -> Iterator[Read]:
    """Images by row and the messages of those that failed, chunk by chunk, decoded in threads."""

    def read(chunk: NDArray[np.int64]) -> Read:
        images, errors = {}, []
        for row in chunk.tolist():
            try:
                images[row] = source.read(row)
            except DataError as error:
                errors.append(str(error))
        return images, errors

    chunks = [rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
    workers = cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(chunks), 2 * workers):  # a few chunks at a time: bounded memory
            yield from pool.map(read, chunks[start : start + 2 * workers])


def _broken_message(broken: list[str]) -> str:
    if len(broken) == 1:
        return broken[0]
    return f"{len(broken)} images cannot be read; the first: {broken[0]}"


class _Tally:
    """Running sums over images, so that they need not be in memory together."""

    def __init__(self, sampled: set[int]) -> None:
        self.sampled = sampled
        self.seen = 0
        self.count = 0
        self.total = np.zeros(3)
        self.square = np.zeros(3)
        self.low, self.high = 255, 0
        self.heights: set[int] = set()
        self.widths: set[int] = set()

    def add(self, images: dict[int, NDArray[np.uint8]]) -> None:
        for row, image in images.items():
            self.heights.add(image.shape[0])
            self.widths.add(image.shape[1])
            self.seen += 1
            if row in self.sampled:
                flat = image.reshape(-1, 3).astype(np.float64)
                self.count += len(flat)
                self.total += flat.sum(axis=0)
                self.square += (flat * flat).sum(axis=0)
                self.low, self.high = (
                    min(self.low, int(image.min())),
                    max(self.high, int(image.max())),
                )

    def pixels(self, total: int) -> PixelStats:
        mean = self.total / self.count
        sd = np.sqrt(np.maximum(self.square / self.count - mean**2, 0))
        return PixelStats(
            len(self.sampled), total, self.low, self.high, _rounded(mean), _rounded(sd)
        )

    def sizes(self) -> SizeRange:
        return SizeRange(
            self.seen, (min(self.heights), max(self.heights)), (min(self.widths), max(self.widths))
        )


def _rounded(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(v), 2) for v in values)
    return red, green, blue
