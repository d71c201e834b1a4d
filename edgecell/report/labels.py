"""An evaluation's scores by the names that its task has for them; several labels to an image, as tables."""

from __future__ import annotations

from typing import Any

from edgecell.report.bench_quality import stacked
from edgecell.report.elements import Html, details, join, long_table, measurement, table
from edgecell.tasks import Task

_FIGURES = (
    ("AUC", "auc"),
    ("Average precision", "average_precision"),
    ("Recall", "recall"),
    ("Specificity", "specificity"),
    ("Precision", "precision"),
    ("F1", "f1"),
)
_COUNTS = (
    ("Found", "hits"),
    ("Missed", "missed"),
    ("False alarms", "false_alarms"),
    ("Rightly not said", "rejected"),
)


def named_scores(scores: dict[str, Any], task: Task) -> dict[str, Any]:
    """``scores`` in their order, under the names that ``task`` has for them."""
    return {task.names.get(key, key): entry for key, entry in scores.items()}


def weakest_label(worst: dict[str, Any]) -> str:
    """The label that is ranked worst and how it is ranked."""
    return f"{worst['name']}, AUC {measurement(worst['auc'])}"


def label_lead(results: dict[str, Any]) -> str:
    """What a reader has to know before the tables."""
    threshold = results["method"]["threshold"]
    return (
        "An image can have several labels, and each is decided by itself: it is said above"
        f" {threshold:g}. AUC and average precision do not depend on that threshold."
    )


def label_tables(classes: list[dict[str, Any]]) -> Html:
    """Figures of each label, and folded away its four counts."""
    columns = ["Label", "Images", *(title for title, _ in _FIGURES)]
    rows = [
        [row["name"], row["support"], *(stacked(row[key]) for _, key in _FIGURES)]
        for row in classes
    ]
    counts = [[row["name"], *(f"{row['counts'][key]:,}" for _, key in _COUNTS)] for row in classes]
    heads = ["Label", *(title for title, _ in _COUNTS)]
    return join(
        long_table(
            columns,
            rows,
            [row["auc"].get("value", 2.0) for row in classes],
            numeric=range(1, len(columns)),
        ),
        details(
            "Images of each label: found, missed, false alarms",
            table(heads, counts, numeric=range(1, len(heads))),
        ),
    )
