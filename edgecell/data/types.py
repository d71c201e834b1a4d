"""The nouns of data: an image source, a split, a data set of three disjoint splits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import DataError
from edgecell.preprocess import PreprocessSpec, resize
from edgecell.tasks import several_labels

SPLITS = ("train", "val", "test")


class ImageSource(Protocol):
    """Images by position, decoded when asked for."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> NDArray[np.uint8]:
        """Image ``index`` as RGB uint8 (h, w, 3); DataError when it cannot be decoded."""
        ...

    def name(self, index: int) -> str:
        """A name a person can find the image by."""
        ...


@dataclass(frozen=True)
class Split:
    """One split: images and their labels, int64 (N,), values 0 … classes − 1.

    Where an image can have several labels at once they are int64 (N, C), values 0 and 1. ``groups`` are
    what the images are of, a name for each (a patient, a photograph); None where that is not known.
    """

    name: str
    source: ImageSource
    labels: NDArray[np.int64]
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.source) != len(self.labels):
            raise DataError(
                f"split '{self.name}' has {len(self.source)} images and {len(self.labels)} labels;"
                " each image needs one label"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels at once."""
        return several_labels(self.labels)

    @property
    def group_count(self) -> int | None:
        """How many groups the images are of; None where that is not known."""
        return None if self.groups is None else len(set(self.groups))

    def having(self, label: int) -> NDArray[np.bool_]:
        """Which images are of class ``label``, or have that label, bool (N,)."""
        return np.asarray(self.labels[:, label] == 1 if self.multi_label else self.labels == label)

    def counts(self, class_count: int) -> NDArray[np.int64]:
        """Images of each class, or with each label, int64 (class_count,)."""
        if self.multi_label:
            return np.asarray(self.labels.sum(axis=0), np.int64)
        return np.bincount(self.labels, minlength=class_count).astype(np.int64)


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits with one list of class names.

    ``task`` is a name of :data:`edgecell.tasks.TASKS`: with "multi-label, binary-class" the class names
    are those of labels, any number of which an image can have.

    ``shared``: per pair "train/val", "train/test", "val/test", how many images of the second split are
    also in the first. ``origin`` says where it came from (kind, source as typed, fingerprint) in JSON types; ``notes``
    are lines a user should see (a split that was made, duplicates across splits).
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    origin: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
    shared: dict[str, int] = field(default_factory=dict)

    def split(self, name: str) -> Split:
        """The split called ``name``; DataError when there is none."""
        if name not in SPLITS:
            raise DataError(f"no split '{name}'; allowed: {', '.join(SPLITS)}")
        found: Split = getattr(self, name)
        return found

    @property
    def fingerprint(self) -> str:
        """sha256 of the content, as the loader computed it."""
        return str(self.origin["fingerprint"])


def materialize(
    split: Split,
    spec: PreprocessSpec,
    progress: Callable[[int], None] | None = None,
    indices: NDArray[np.int64] | None = None,
) -> NDArray[np.uint8]:
    """Decode and resize a split, or its images at ``indices``: uint8 (N, spec.height, spec.width, 3).

    Pillow releases the interpreter lock, so threads help. ``progress`` gets the number done so far.

    Raises:
        DataError: an image cannot be decoded.
    """
    wanted = np.arange(len(split)) if indices is None else indices
    out = np.empty((len(wanted), spec.height, spec.width, 3), np.uint8)
    read_into(out, split.source, wanted, spec, progress)
    return out


def read_into(
    out: NDArray[np.uint8],
    source: ImageSource,
    indices: NDArray[np.int64],
    spec: PreprocessSpec,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fill ``out`` (len(indices), spec.height, spec.width, 3) with the images at ``indices``."""
    workers = cpu_count() or 1
    # A few images to a thread: enough threads for a batch, little overhead for a whole split.
    chunk = max(1, min(64, len(indices) // (2 * workers)))

    def fill(start: int) -> int:
        for row in range(start, min(start + chunk, len(indices))):
            out[row] = _model_s(source, int(indices[row]), spec)
        return min(chunk, len(indices) - start)

    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for count in pool.map(fill, range(0, len(indices), chunk)):
            done += count
            if progress is not None:
                progress(done)


def _model_s(source: ImageSource, index: int, spec: PreprocessSpec) -> NDArray[np.uint8]:
    image = source.read(index)
    try:
        return resize(image, spec)
    except DataError as error:
        raise DataError(f"{source.name(index)} cannot be resized: {error}") from error
