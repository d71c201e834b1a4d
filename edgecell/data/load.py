"""``--data``: from what the user typed to three splits."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecell.config import DataConfig
from edgecell.data.catalog import catalog, names_3d
from edgecell.data.class_names import ordered
from edgecell.data.duplicates import find_duplicates
from edgecell.data.folder import load_folder
from edgecell.data.medmnist_files import fetch
from edgecell.data.npz import load_npz
from edgecell.data.sources import subset
from edgecell.data.splits import groups_at, limit_indices, limit_note
from edgecell.data.synthetic import load_synthetic
from edgecell.data.table import SUFFIXES as TABLE_SUFFIXES
from edgecell.data.table import load_table
from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.errors import ConfigError, DataError, NoDataError

TAKES = (
    "'synthetic', a MedMNIST 2D name, or the path of an .npz file, an image folder, or a CSV of paths"
    " and labels"
)


def load_dataset(config: DataConfig, *, progress: bool = False) -> Dataset:
    """The data set that ``config.source`` names, checked for duplicates across its splits.

    ``origin`` gets: kind ("synthetic", "npz", "folder", "csv", "medmnist"), fingerprint, the splits that
    were made, and the config's own fields as typed, so that ``DataConfig`` can be built from it
    again. ``progress`` shows bars for downloads on stderr.

    Raises:
        ConfigError: a size, fraction or limit that does not go with the data.
        NoDataError: no such data. DataError: damaged or unsuitable data, no download, shared images
            under ``strict_splits``.
    """
    dataset = ordered(_load(config, progress), config.class_names)
    if config.columns and dataset.origin["kind"] != "csv":
        raise ConfigError(f"--columns is for a CSV; {config.source} is none: leave it away")
    if config.limit > 0:
        dataset = _limited(dataset, config)
    duplicates = find_duplicates(dataset)
    if duplicates.leaks and config.strict_splits:
        raise DataError(
            f"{duplicates.across_line()}; remove them, or go on without --strict-splits"
        )
    lines = [line for line in (duplicates.across_line(), duplicates.conflict_line()) if line]
    return replace(
        dataset,
        origin=_origin(dataset, config),
        notes=(*dataset.notes, *lines),
        shared=duplicates.across,
    )


def _load(config: DataConfig, progress: bool) -> Dataset:
    typed = config.source
    if typed == "synthetic":
        return load_synthetic(config.size, config.seed, config.limit)
    path = Path(typed).expanduser()
    if not _is_path(typed):
        if path.exists() and not _is_catalog_name(typed):
            return _load_path(path, config)
        return _load_medmnist(typed, config, progress)
    if not path.exists():
        raise NoDataError(f"no file or folder at {typed}; --data takes {TAKES}")
    return _load_path(path, config)


def _is_path(typed: str) -> bool:
    return (
        any(c in typed for c in "/\\")
        or typed.startswith((".", "~"))
        or typed.lower().endswith((".npz", *TABLE_SUFFIXES))
    )


def _is_catalog_name(typed: str) -> bool:
    return typed.lower().endswith("mnist") and typed.lower() in catalog()


def _load_path(path: Path, config: DataConfig) -> Dataset:
    try:
        if path.is_dir():
            return load_folder(path, config)
    except PermissionError as error:
        raise DataError(
            f"cannot read {error.filename}: {error.strerror}; allow reading it"
        ) from error
    if path.suffix.lower() in TABLE_SUFFIXES:
        return load_table(path, config)
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path} is neither an .npz file, a folder nor a CSV; --data takes {TAKES}")
    return load_npz(path, config)


def _load_medmnist(typed: str, config: DataConfig, progress: bool) -> Dataset:
    name = typed.lower()
    if name in names_3d():
        raise DataError(
            f"{name} holds volumes (3D), which edgecell does not train; see 'edgecell data list'"
        )
    if name not in catalog():
        known = ["synthetic", *catalog()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
        hint = f"did you mean {' or '.join(near)}?" if near else f"names: {', '.join(known)}"
        raise NoDataError(f"no data set or path '{typed}'; {hint}; --data takes {TAKES}")
    entry = catalog()[name]
    path = fetch(name, config.size, config.root, progress)
    dataset = load_npz(path, config, entry)
    return replace(dataset, name=name, origin={**dataset.origin, "kind": "medmnist"})


def _limited(dataset: Dataset, config: DataConfig) -> Dataset:
    parts = []
    for name in SPLITS:
        split = dataset.split(name)
        rows = limit_indices(split.labels, config.limit, config.seed, name)
        groups = groups_at(split.groups, rows)
        parts.append(Split(name, subset(split.source, rows), split.labels[rows], groups))
    train, val, test = parts
    if all(len(part) == len(dataset.split(part.name)) for part in parts):
        return dataset
    sizes = {part.name: (len(part), len(dataset.split(part.name))) for part in parts}
    notes = (*dataset.notes, limit_note(config.limit, sizes))
    return replace(dataset, train=train, val=val, test=test, notes=notes)


def _origin(dataset: Dataset, config: DataConfig) -> dict[str, Any]:
    return {
        **dataset.origin,
        "source": config.source,
        "size": config.size,
        "seed": config.seed,
        "root": config.root,
        "val_fraction": config.val_fraction,
        "test_fraction": config.test_fraction,
        "limit": config.limit,
        "class_names": config.class_names,
        "columns": config.columns,
    }
