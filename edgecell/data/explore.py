"""All of a data set's images in one pass: what they are like, class by class and split by split.

Every image is decoded once and dropped again: what is kept of it are a dozen numbers and its hashes (256
bytes), beside sums per class and split. So memory does not grow with the size of the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell.data.perceptual import Hashes, hashes, thumbnail
from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.errors import DataError

MEAN_SIDE = 48
"""Side of the mean image of a class, pixels."""

BLANK_SD = 1.0
"""An image whose grey levels spread less than this shows nothing; it is compared with no other."""

_CHUNK = 32


@dataclass
class Sums:
    """Sums over the images of one class in one split.

    ``histogram`` int64 (3, 256): pixels by channel R, G, B and value; ``mean_image`` and
    ``square_image`` float64 (48, 48, 3): sums of the images, stretched to one size, and of their squares.
    """

    images: int = 0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    mean_image: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros((MEAN_SIDE, MEAN_SIDE, 3))
    )
    square_image: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros((MEAN_SIDE, MEAN_SIDE, 3))
    )

    def add(self, other: Sums) -> None:
        """Add the sums of other images."""
        self.images += other.images
        self.histogram += other.histogram
        self.mean_image += other.mean_image
        self.square_image += other.square_image


@dataclass(frozen=True)
class Looks:
    """What the images of a split look like; arrays (N,) in the order of the split.

    ``brightness`` and ``contrast`` are mean and standard deviation of the grey levels, 0…255.
    ``classes``: label → sums, of an image with several labels in each of them; ``whole``: of all images.
    """

    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    hashes: Hashes
    classes: dict[int, Sums]
    whole: Sums

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """(width, height) → images."""
        return Counter(zip(self.widths.tolist(), self.heights.tolist(), strict=True))

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which images show nothing (N,)."""
        return self.contrast < BLANK_SD


def look_at(dataset: Dataset, progress: Callable[[int], None] | None = None) -> dict[str, Looks]:
    """The :class:`Looks` of each split; ``progress`` gets the number of images done so far.

    Raises:
        DataError: images that cannot be decoded, with their number and the first of them.
    """
    done, broken, found = 0, [], {}
    for name in SPLITS:
        parts = []
        for part in _in_threads(dataset.split(name), len(dataset.class_names)):
            parts.append(part)
            broken += part.errors
            done += part.rows
            if progress is not None:
                progress(done)
        if not broken:
            found[name] = _joined(parts)
    if broken:
        first = broken[0] if len(broken) == 1 else f"the first: {broken[0]}"
        some = "" if len(broken) == 1 else f"{len(broken)} images cannot be read; "
        raise DataError(f"{some}{first}")
    return found


def mean_and_sd(
    histogram: NDArray[np.int64],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, from pixels by value (3, 256)."""
    values = np.arange(256.0)
    count = np.maximum(histogram.sum(axis=1), 1)
    mean = (histogram * values).sum(axis=1) / count
    square = (histogram * values**2).sum(axis=1) / count
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return tuple(mean.round(3).tolist()), tuple(spread.round(3).tolist())


def mean_image(sums: Sums) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Mean image uint8 (48, 48, 3) and standard deviation of its pixels over the images, float64."""
    count = max(sums.images, 1)
    mean = sums.mean_image / count
    spread = np.sqrt(np.maximum(sums.square_image / count - mean**2, 0))
    return mean.round().astype(np.uint8), spread


@dataclass
class _Part:
    """The looks of a few images in a row."""

    rows: int
    facts: NDArray[np.float32]
    hashes: Hashes
    classes: dict[int, Sums]
    whole: Sums
    errors: list[str]


def _in_threads(split: Split, class_count: int) -> Iterator[_Part]:
    """Parts in order. A few at a time are under way, each with one decoded image in memory."""
    starts = range(0, len(split), _CHUNK)
    workers = cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(starts), 4 * workers):
            some = starts[first : first + 4 * workers]
            yield from pool.map(lambda start: _part(split, start, class_count), some)


def _part(split: Split, start: int, class_count: int) -> _Part:
    rows = range(start, min(start + _CHUNK, len(split)))
    facts = np.zeros((len(rows), 4), np.float32)
    thumbnails = np.zeros((len(rows), 32, 32), np.float32)
    classes: dict[int, Sums] = {}
    whole = Sums()
    errors = []
    for place, row in enumerate(rows):
        try:
            image = Image.fromarray(split.source.read(row))
        except DataError as error:
            errors.append(str(error))
            continue
        grey = image.convert("L")
        facts[place] = (image.height, image.width, *_level_and_spread(grey))
        thumbnails[place] = thumbnail(grey)
        mine = _sums(image)
        whole.add(mine)
        for label in _labels(split, row):
            classes.setdefault(label, Sums()).add(mine)
    return _Part(len(rows), facts, hashes(thumbnails), classes, whole, errors)


def _labels(split: Split, row: int) -> list[int]:
    label = split.labels[row]
    found: list[int] = np.flatnonzero(label).tolist() if split.multi_label else [int(label)]
    return found


def _sums(image: Image.Image) -> Sums:
    small = image.resize((MEAN_SIDE, MEAN_SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, np.float64)
    histogram = np.array(image.histogram(), np.int64).reshape(3, 256)
    return Sums(1, histogram, pixels, pixels**2)


def _level_and_spread(grey: Image.Image) -> tuple[float, float]:
    histogram = np.array(grey.histogram(), np.float64)
    values = np.arange(256.0)
    mean = (histogram * values).sum() / histogram.sum()
    return float(mean), float(np.sqrt((histogram * (values - mean) ** 2).sum() / histogram.sum()))


def _joined(parts: list[_Part]) -> Looks:
    facts = np.concatenate([part.facts for part in parts])
    classes: dict[int, Sums] = {}
    whole = Sums()
    for part in parts:
        whole.add(part.whole)
        for label, sums in part.classes.items():
            classes.setdefault(label, Sums()).add(sums)
    return Looks(
        facts[:, 0].astype(np.int32),
        facts[:, 1].astype(np.int32),
        facts[:, 2],
        facts[:, 3],
        np.concatenate([part.hashes for part in parts]),
        classes,
        whole,
    )
