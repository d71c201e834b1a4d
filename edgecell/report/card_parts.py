"""What a model card is made of: sections, tables, and the words for a record's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgecell.tasks import Task

Record = Mapping[str, Any]

_WORDS = {
    "auc": "AUC",
    "auc_drop": "mean AUC drop",
    "brier": "Brier score",
    "converted_auc": "converted mean AUC",
    "ece": "ECE",
    "ece_if_calibrated": "ECE if every confidence were true",
    "f1": "F1",
    "kappa": "quadratic kappa",
    "loss": "log loss",
    "macro_auc": "macro-AUC",
    "macro_f1": "macro-F1",
    "macro_f1_drop": "macro-F1 drop",
    "reference_auc": "reference mean AUC",
    "weighted_f1": "weighted F1",
}


@dataclass(frozen=True)
class Grid:
    """A table; columns from ``numeric_from`` on are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric_from: int = 1


@dataclass(frozen=True)
class Part:
    """A section: paragraphs, then tables. ``missing`` marks one that only says what there is not."""

    title: str
    text: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    missing: bool = False


def entry_of(records: Mapping[str, Record], stage: str, digest: str) -> Record | None:
    """What a stage recorded of the file with this sha256."""
    models = records[stage]["results"]["models"] if stage in records else []
    return next((entry for entry in models if entry["sha256"] == digest), None)


def words(key: str, task: Task | None = None) -> str:
    """A key as people write it, in an evaluation of ``task``."""
    names = _WORDS if task is None else _WORDS | task.names
    return names.get(key, key.replace("_", " "))
