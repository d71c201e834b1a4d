"""The label arrays of an .npz: one class number to an image, or a column of 0 and 1 for each label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.data.catalog import CatalogEntry
from edgecell.errors import DataError
from edgecell.tasks import BINARY, MULTI_LABEL, TASKS, Task, one_label, several_labels, task_named

TASK_KEY = "task"

Arrays = dict[str, NDArray[Any]]


def given_task(path: Path, arrays: Arrays) -> str | None:
    """The task that the file names, if any; DataError for a name that is none."""
    if TASK_KEY not in arrays:
        return None
    value = arrays[TASK_KEY]
    named = str(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind == "U" else None
    if named not in TASKS:
        shown = repr(named) if named is not None else f"an array of {value.dtype} {value.shape}"
        raise DataError(f"{path}: {TASK_KEY} is {shown}; allowed, as text: {', '.join(TASKS)}")
    return named


def has_several(path: Path, arrays: Arrays, told: str | None) -> bool:
    """Whether an image can have several labels: train_labels (N, C) of 0 and 1 with C above 1.

    ``told`` is the task that the file or its official name tells. Rows with exactly one 1 throughout
    are a one-hot coding unless it is a multi-label one.

    Raises:
        DataError: one-hot labels, or a task that does not go with the labels' shape.
    """
    tables = {key: arrays[key] for key in arrays if key.endswith("_labels")}
    columns = tables["train_labels"].shape[1:]
    several = several_labels(tables["train_labels"])
    if told == MULTI_LABEL and not several:
        shape = arrays["train_labels"].shape
        raise DataError(
            f"{path}: train_labels has shape {shape}; a multi-label set wants (N, labels), each 0 or 1"
        )
    alike = [table for table in tables.values() if table.shape[1:] == columns]
    if several and told != MULTI_LABEL and all(_is_one_hot(table) for table in alike):
        raise DataError(
            f"{path}: train_labels has shape {arrays['train_labels'].shape} (one-hot);"
            f" save labels.argmax(axis=1), or {TASK_KEY}='{MULTI_LABEL}' with it if an image can"
            " have several labels"
        )
    other = next((key for key in tables if tables[key].shape[1:] != columns), None)
    if several and other is not None:
        raise DataError(
            f"{path}: {other} has shape {tables[other].shape} and train_labels"
            f" {tables['train_labels'].shape}; wanted a column for each label in every split"
        )
    return several


def label_column(path: Path, labels: NDArray[Any], name: str, count: int) -> NDArray[np.int64]:
    """Class numbers int64 (N,) of ``count`` images from an array (N,) or (N, 1); DataError else."""
    where = f"{path}: {name}_labels"
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] != 1):
        raise DataError(f"{where} has shape {labels.shape}; wanted (N,) or (N, 1)")
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"{where} has dtype {labels.dtype}; wanted whole numbers from 0: save them astype('int64')"
        )
    _require_count(path, labels, name, count)
    flat: NDArray[np.int64] = labels.reshape(-1).astype(np.int64)
    if flat.min() < 0:
        raise DataError(f"{where} has the label {flat.min()}; wanted whole numbers from 0")
    return flat


def label_table(path: Path, labels: NDArray[Any], name: str, count: int) -> NDArray[np.int64]:
    """0 and 1, int64 (N, C), of ``count`` images and C labels; DataError for anything else."""
    where = f"{path}: {name}_labels"
    _require_count(path, labels, name, count)
    wanted = "wanted 0 (has not) and 1 (has) in a column for each label"
    if labels.dtype.kind not in "iufb":
        raise DataError(f"{where} has dtype {labels.dtype}; {wanted}")
    strange = labels[~np.isin(labels, (0, 1))]
    if strange.size:
        raise DataError(f"{where} holds {strange[0]}; {wanted}")
    return labels.astype(np.int64)


def choose_task(
    path: Path,
    arrays: Arrays,
    class_names: tuple[str, ...],
    several: bool,
    entry: CatalogEntry | None,
) -> Task:
    """What the file says itself, else what it is officially, else what its labels look like.

    Raises:
        DataError: a named task that the labels do not fit.
    """
    told = given_task(path, arrays)
    if told is None:
        told = MULTI_LABEL if several else entry.task if entry else one_label(class_names)
    if several != (told == MULTI_LABEL) or (told == BINARY and len(class_names) != 2):
        raise DataError(
            f"{path}: {TASK_KEY} is '{told}', and train_labels {arrays['train_labels'].shape} has"
            f" {len(class_names)} {'labels to an image' if several else 'classes'}"
        )
    return task_named(told)


def _is_one_hot(labels: NDArray[Any]) -> bool:
    return (
        labels.ndim == 2 and labels.dtype.kind in "iufb" and bool((labels.sum(axis=1) == 1).all())
    )


def _require_count(path: Path, labels: NDArray[Any], name: str, count: int) -> None:
    if len(labels) != count:
        raise DataError(
            f"{path}: {name} has {count} images and {len(labels)} labels; each image needs one label"
        )
