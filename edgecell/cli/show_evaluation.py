"""An evaluation as people read it: its figures, then a table of its classes or labels."""

from __future__ import annotations

from typing import Any

from edgecell.cli.show import MOST_CLASSES, measurement
from edgecell.cli.terminal import print_line, print_table
from edgecell.tasks import Task, task_of_record

_FIGURES = ("accuracy", "kappa", "macro_f1", "weighted_f1", "auc", "loss", "ece")
_OF_LABELS = ("auc", "accuracy", "exact_match", "average_precision", "macro_f1", "loss", "ece")
_COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1"}
_LABEL_COLUMNS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
}


def evaluated(evaluation: Any) -> None:
    """Overall figures, then one row per class or label."""
    results = evaluation.results
    task = task_of_record(results)
    print_line(f"{results['model']} on {results['split']}, n={results['n']}")
    _figures(results, task)
    if task.multi_label:
        _labels(results["classes"], results["method"]["threshold"])
    else:
        _classes(results["classes"])
    for note in results["notes"]:
        print_line(f"note: {note}")
    print_line(f"files: {evaluation.folder}")


def lowest(classes: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """What the terminal lists: all, or of very many those of the lowest figure ``by``, lowest first."""
    if len(classes) <= MOST_CLASSES:
        return classes
    return sorted(classes, key=lambda row: row[by].get("value", 2.0))[:MOST_CLASSES]


def _figures(results: dict[str, Any], task: Task) -> None:
    keys = _OF_LABELS if task.multi_label else _FIGURES
    named = {task.names.get(key, key.replace("_", " ")): key for key in keys if key in results}
    width = max(12, *map(len, named))
    for name, key in named.items():
        print_line(f"  {name:{width}} {measurement(results[key])}{_by_chance(results, key)}")


def _by_chance(results: dict[str, Any], key: str) -> str:
    """What a calibrated model would show, beside ECE; records made before it was measured lack it."""
    if f"{key}_if_calibrated" not in results:
        return ""
    return f"; {measurement(results[f'{key}_if_calibrated'])} if every confidence were true"


def _classes(classes: list[dict[str, Any]]) -> None:
    rows = [
        [row["name"], *(measurement(row[key]) for key in _COLUMNS), str(row["support"])]
        for row in lowest(classes, "f1")
    ]
    print_table("per class", ["class", *_COLUMNS.values(), "support"], rows)
    _of_all(rows, classes, "classes")


def _labels(classes: list[dict[str, Any]], threshold: float) -> None:
    rows = [
        [row["name"], str(row["support"]), *(measurement(row[key]) for key in _LABEL_COLUMNS)]
        for row in lowest(classes, "auc")
    ]
    title = f"per label, each said above {threshold:g}"
    print_table(title, ["label", "support", *_LABEL_COLUMNS.values()], rows)
    _of_all(rows, classes, "labels")


def _of_all(rows: list[list[str]], classes: list[dict[str, Any]], kind: str) -> None:
    if len(rows) < len(classes):
        print_line(f"the {len(rows)} lowest of {len(classes):,} {kind}; all are in evaluation.json")
