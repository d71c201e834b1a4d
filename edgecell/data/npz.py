"""MedMNIST's file layout: ``{train,val,test}_images`` uint8 and ``{train,val,test}_labels`` integers."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.config import DataConfig
from edgecell.data.catalog import CatalogEntry, official_entry
from edgecell.data.class_names import named
from edgecell.data.sources import ArraySource
from edgecell.data.splits import complete_splits, require_classes, require_two
from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.errors import DataError
from edgecell.rundir import sha256_file

NAME_KEYS = ("class_names", "label_names")


def load_npz(path: Path, config: DataConfig, entry: CatalogEntry | None = None) -> Dataset:
    """Read a whole file into memory.

    Images uint8 (N, H, W) or (N, H, W, 1|3|4); labels integers (N,) or (N, 1), from 0. A missing
    val or test is made from train. Class names come from ``entry`` (the official set the file is),
    from a text array ``class_names`` or ``label_names``, from MedMNIST when the file has an official
    name and number of classes, else they are the label numbers.

    Raises:
        DataError: anything in the file that is not so.
    """
    arrays = _read(path)
    notes: list[str] = []
    if entry is None and not any(key in arrays for key in NAME_KEYS):
        entry = _entry_by_name(path, notes)
    if entry is not None and entry.multi_label:
        raise DataError(multi_label_message(entry.name))
    splits = {name: _split(path, arrays, name) for name in SPLITS if f"{name}_images" in arrays}
    class_names = _class_names(path, arrays, splits, entry)
    class_names = named(class_names, config.class_names, str(path))
    entry = entry if entry is not None and class_names == entry.class_names else None
    require_two(str(path), class_names)
    splits = complete_splits(splits, class_names, config, notes)
    require_classes(str(path), splits, class_names, notes)
    if entry is not None and entry.ordinal:
        notes.append(
            f"{entry.name} has ordered grades; they are treated as {len(class_names)} separate classes"
        )
    return Dataset(
        name=path.stem,
        task=task_of(class_names),
        class_names=class_names,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        origin={"kind": "npz", "fingerprint": sha256_file(path)},
        notes=tuple(notes),
    )


def task_of(class_names: tuple[str, ...]) -> str:
    """MedMNIST's word for the task."""
    return "binary-class" if len(class_names) == 2 else "multi-class"


def multi_label_message(name: str) -> str:
    """Why a multi-label set is refused."""
    return (
        f"{name} is multi-label (several labels per image), which edgecell does not train for now;"
        " take a set with one label per image, see 'edgecell data list'"
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds one bare array; wanted an .npz with {_wanted()}")
        with opened as archive:
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
            return {key: archive[key] for key in (*keys, *NAME_KEYS) if key in found}
    except FileNotFoundError as error:
        raise DataError(
            f"no file at {path}; see 'edgecell data list' for names that --data takes"
        ) from error
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path} is a damaged .npz file ({error}); copy or download it again"
        ) from error
    except (
        ValueError,
        zlib.error,
        EOFError,
        OSError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "pickle" in reason.lower() or "object arrays" in reason.lower():
            reason = "it holds Python objects, which are never loaded; save plain uint8 and integer arrays"
        raise DataError(f"{path} cannot be read as .npz: {reason}") from error


def _wanted() -> str:
    return "train_images, train_labels and, if there are such splits, val_… and test_…"


def _listing(keys: list[str]) -> str:
    shown = ", ".join(keys[:12]) or "(none)"
    return f"{shown}, … ({len(keys)} in all)" if len(keys) > 12 else shown


def _split(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> Split:
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
    return Split(name, ArraySource(images, name), _labels(path, labels, name, len(images)))


def _dtype_advice(images: NDArray[Any]) -> str:
    if images.dtype.kind == "f":
        top = float(np.nanmax(images)) if images.size else 0.0
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


def _labels(path: Path, labels: NDArray[Any], name: str, count: int) -> NDArray[np.int64]:
    where = f"{path}: {name}_labels"
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.dtype.kind in "iufb" and bool((labels.sum(axis=1) == 1).all()):
            raise DataError(
                f"{where} has shape {labels.shape} (one-hot); save labels.argmax(axis=1)"
            )
        raise DataError(f"{where} has shape {labels.shape}: {multi_label_message('it')}")
    if labels.ndim not in (1, 2):
        raise DataError(f"{where} has shape {labels.shape}; wanted (N,) or (N, 1)")
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"{where} has dtype {labels.dtype}; wanted whole numbers from 0: save them astype('int64')"
        )
    if len(labels) != count:
        raise DataError(
            f"{path}: {name} has {count} images and {len(labels)} labels; each image needs one label"
        )
    flat: NDArray[np.int64] = labels.reshape(-1).astype(np.int64)
    if flat.min() < 0:
        raise DataError(f"{where} has the label {flat.min()}; wanted whole numbers from 0")
    return flat


def _class_names(
    path: Path,
    arrays: dict[str, NDArray[Any]],
    splits: dict[str, Split],
    entry: CatalogEntry | None,
) -> tuple[str, ...]:
    highest = max(int(split.labels.max()) for split in splits.values())
    key = next((key for key in NAME_KEYS if key in arrays), None)
    if key is not None:
        return _given_names(path, key, arrays[key], highest)
    if entry is not None and highest < len(entry.class_names):
        return entry.class_names
    if highest >= sum(len(split) for split in splits.values()):
        raise DataError(
            f"{path}: the highest label is {highest}, more than there are images; number the classes 0, 1, 2, …"
        )
    return tuple(str(number) for number in range(highest + 1))


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
