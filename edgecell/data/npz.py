"""MedMNIST's file layout: ``{train,val,test}_images`` uint8 and ``{train,val,test}_labels`` integers."""

from __future__ import annotations

import lzma
import struct
import sys
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.config import DataConfig
from edgecell.data.catalog import CatalogEntry, official_entry
from edgecell.data.class_names import named
from edgecell.data.label_arrays import (
    TASK_KEY,
    choose_task,
    given_task,
    has_several,
    label_column,
    label_table,
)
from edgecell.data.npz_member import read_member
from edgecell.data.sources import ArraySource
from edgecell.data.splits import complete_splits, require_classes, require_two
from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.disk import sha256_file
from edgecell.errors import DataError
from edgecell.preprocess import MAX_PIXELS, MIN_SIDE

# What zipfile and NumPy raise on a damaged file, by experience (tests/fuzz) and beyond.
DAMAGE = (
    ValueError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    EOFError,
    OSError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)
NAME_KEYS = ("class_names", "label_names")


def load_npz(path: Path, config: DataConfig, entry: CatalogEntry | None = None) -> Dataset:
    """Read a file; arrays beyond ``npz_member.IN_MEMORY`` bytes stay on disk.

    Images uint8 (N, H, W) or (N, H, W, 1|3|4); labels integers (N,) or (N, 1), from 0, or (N, C) of
    0 and 1 where an image can have several labels. A missing val or test is made from train. A text
    ``task`` may name one of :data:`edgecell.tasks.TASKS`, say that the classes are ordered grades.
    Class names come from ``entry`` (the official set the file is),
    from a text array ``class_names`` or ``label_names``, from MedMNIST when the file has an official
    name and number of classes, else they are the label numbers.

    Raises:
        DataError: anything in the file that is not so.
    """
    arrays = _read(path)
    notes: list[str] = []
    if entry is None and not any(key in arrays for key in NAME_KEYS):
        entry = _entry_by_name(path, notes)
    told = given_task(path, arrays) or (entry.task if entry is not None else None)
    several = has_several(path, arrays, told)
    splits = {
        name: _split(path, arrays, name, several) for name in SPLITS if f"{name}_images" in arrays
    }
    class_names = _class_names(path, arrays, splits, entry)
    entry = entry if entry is not None and class_names == entry.class_names else None
    class_names = named(class_names, config.class_names, str(path))
    require_two(str(path), class_names)
    splits = complete_splits(splits, class_names, config, notes)
    require_classes(str(path), splits, class_names, notes)
    task = choose_task(path, arrays, class_names, several, entry)
    if task.ordinal:
        notes.append(
            f"{path.stem} has ordered grades; they are treated as {len(class_names)} separate classes,"
            " and judged by quadratic kappa too"
        )
    return Dataset(
        name=path.stem,
        task=task.name,
        class_names=class_names,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        origin={"kind": "npz", "fingerprint": sha256_file(path)},
        notes=tuple(notes),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            begins = stream.read(6) if path.is_file() else b""
        if begins == b"\x93NUMPY":
            raise DataError(f"{path} holds one bare array; wanted an .npz with {_wanted()}")
        if not begins.startswith(b"PK"):  # NumPy takes all else for pickled objects
            raise DataError(
                f"{path} cannot be read as .npz: it is no zip file; wanted one with {_wanted()}"
            )
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive.files)
            if "train_images" not in found or "train_labels" not in found:
                raise DataError(f"{path} has the keys {_listing(found)}; wanted {_wanted()}")
            keys = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
            for split in SPLITS[1:]:
                pair = [key for key in (f"{split}_images", f"{split}_labels") if key in found]
                if len(pair) == 1:
                    raise DataError(
                        f"{path} has {pair[0]} alone; give both {split}_images and {split}_labels, or neither"
                    )
            wanted = (*keys, *NAME_KEYS, TASK_KEY)
            arrays = {key: read_member(path, archive, key) for key in wanted if key in found}
            for key in (*NAME_KEYS, TASK_KEY):
                if key in arrays:
                    _check_texts(key, arrays[key])
            return arrays
    except FileNotFoundError as error:
        raise DataError(
            f"no file at {path}; see 'edgecell data list' for names that --data takes"
        ) from error
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path} is a damaged .npz file ({error}); copy or download it again"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "pickle" in reason.lower() or "object arrays" in reason.lower():
            reason = "it holds Python objects, which are never loaded; save plain uint8 and integer arrays"
        raise DataError(f"{path} cannot be read as .npz: {reason}") from error


def _check_texts(key: str, texts: Any) -> None:
    """ValueError where Python could not make a text of what NumPy took from the file as it was."""
    if texts.dtype.kind == "U" and texts.dtype.itemsize and texts.size:
        codes = np.ascontiguousarray(texts).reshape(-1).view(texts.dtype.byteorder + "u4")
        if codes.max() > sys.maxunicode or bool(((codes >= 0xD800) & (codes < 0xE000)).any()):
            raise ValueError(f"{key} holds numbers that are no characters")


def _wanted() -> str:
    return "train_images, train_labels and, if there are such splits, val_… and test_…"


def _listing(keys: list[str]) -> str:
    shown = ", ".join(keys[:12]) or "(none)"
    return f"{shown}, … ({len(keys)} in all)" if len(keys) > 12 else shown


def _split(path: Path, arrays: dict[str, NDArray[Any]], name: str, several: bool) -> Split:
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    where = f"{path}: {name}_images"
    if images.dtype != np.uint8:
        raise DataError(
            f"{where} has dtype {images.dtype}; wanted uint8, pixels 0 to 255: {_dtype_advice(images)}"
        )
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        raise DataError(
            f"{where} has shape {images.shape}; wanted (N, H, W) or (N, H, W, 1|3|4){_shape_advice(images)}"
        )
    if 0 in images.shape:
        raise DataError(f"{where} has shape {images.shape}: no images in it")
    height, width = images.shape[1:3]
    if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
        raise DataError(
            f"{where} has images of {width}×{height} pixels; allowed: {MIN_SIDE}×{MIN_SIDE} to"
            f" {MAX_PIXELS:,} pixels; save images that show something"
        )
    read = label_table if several else label_column
    return Split(name, ArraySource(images, name), read(path, labels, name, len(images)))


def _dtype_advice(images: NDArray[Any]) -> str:
    if images.dtype.kind == "f":
        top = float(np.nanmax(images[:1000])) if images.size else 0.0
        return (
            "save (images * 255).round().astype('uint8')"
            if top <= 1.0
            else "save images.round().astype('uint8')"
        )
    return "scale them to 0 to 255 and save astype('uint8')"


def _shape_advice(images: NDArray[Any]) -> str:
    if images.ndim == 4 and images.shape[1] in (1, 3, 4):
        return "; channels come last: save images.transpose(0, 2, 3, 1)"
    if images.ndim >= 4:
        return "; volumes (3D) are not supported"
    return ""


def _class_names(
    path: Path,
    arrays: dict[str, NDArray[Any]],
    splits: dict[str, Split],
    entry: CatalogEntry | None,
) -> tuple[str, ...]:
    highest = max(_highest(split) for split in splits.values())
    key = next((key for key in NAME_KEYS if key in arrays), None)
    if key is not None:
        names = _given_names(path, key, arrays[key], highest)
        if splits["train"].multi_label and len(names) != highest + 1:
            raise DataError(f"{path}: {key} has {len(names)} names for {highest + 1} labels")
        return names
    if splits["train"].multi_label:
        fits = entry is not None and len(entry.class_names) == highest + 1
        return entry.class_names if entry and fits else tuple(map(str, range(highest + 1)))
    if entry is not None and highest < len(entry.class_names):
        return entry.class_names
    if highest >= sum(len(split) for split in splits.values()):
        raise DataError(
            f"{path}: the highest label is {highest}, more than there are images; number the classes 0, 1, 2, …"
        )
    return tuple(str(number) for number in range(highest + 1))


def _highest(split: Split) -> int:
    """The highest class number, or that of the last label."""
    return split.labels.shape[1] - 1 if split.multi_label else int(split.labels.max())


def _given_names(path: Path, key: str, names: NDArray[Any], highest: int) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DataError(
            f"{path}: {key} has shape {names.shape} and dtype {names.dtype}; wanted one text per class"
        )
    given = tuple(
        n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names.tolist()
    )
    if highest >= len(given):
        raise DataError(
            f"{path}: {key} has {len(given)} names and the highest label is {highest}; wanted {highest + 1} names"
        )
    if len(set(given)) < len(given) or not all(name.strip() for name in given):
        raise DataError(f"{path}: {key} has empty or repeated names: {_listing(list(given))}")
    return given


def _entry_by_name(path: Path, notes: list[str]) -> CatalogEntry | None:
    try:
        return official_entry(path.stem)
    except DataError as error:
        notes.append(f"class names are unknown: {error}")
        return None
