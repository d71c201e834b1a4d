"""What a bench's page shows of quality: cells of its table, and the figures of each class or label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgecell.naming import short_names
from edgecell.report.elements import Html, element, is_measurement, join, long_table, measurement
from edgecell.tasks import task_of_record


def quality_cells(quality: Mapping[str, Any]) -> dict[str, Html]:
    """What a table shows of a quality, title → cell; the primary figure first."""
    worst = quality["worst_class"]
    if task_of_record(dict(quality)).multi_label:
        return {
            "Mean AUC": stacked(quality["auc"]),
            "Label accuracy": stacked(quality["accuracy"]),
            "Macro F1": stacked(quality["macro_f1"]),
            "Weakest label, AUC": join(short(worst["auc"], 3), element("small", worst["name"])),
        }
    kappa = {"Kappa": stacked(quality["kappa"])} if "kappa" in quality else {}
    return {
        "Accuracy": stacked(quality["accuracy"]),
        **kappa,
        "Macro F1": stacked(quality["macro_f1"]),
        "Weakest class": join(short(worst["f1"], 3), element("small", worst["name"])),
    }


def per_class(models: list[dict[str, Any]]) -> Html:
    """F1 of each class by model; where several labels can hold for an image, their AUC before it."""
    if not task_of_record(models[0]["quality"]).multi_label:
        return join(element("h3", "F1 per class"), _by_class(models, "f1", "Class"))
    return join(
        element("h3", "AUC per label"),
        _by_class(models, "auc", "Label"),
        element("h3", "F1 per label, said above 0.5"),
        _by_class(models, "f1", "Label"),
    )


def _by_class(models: list[dict[str, Any]], key: str, kind: str) -> Html:
    lowest = [
        min((_score(row, key) for row in m["quality"]["classes"]), default=1.0) for m in models
    ]
    rows = []
    for i, entry in enumerate(models[0]["quality"]["classes"]):
        cells: list[object] = [entry["name"], entry["support"]]
        for model, low in zip(models, lowest, strict=True):
            row = model["quality"]["classes"][i]
            shown = stacked(row[key])
            weakest = _score(row, key) == low < 2
            cells.append(element("span", shown, cls="low") if weakest else shown)
        rows.append(cells)
    columns = [kind, "Images", *_names(models)]
    each = zip(*(model["quality"]["classes"] for model in models), strict=True)
    urgency = [min(_score(row, key) for row in entries) for entries in each]
    return long_table(columns, rows, urgency, numeric=range(1, len(columns)))


def _names(models: Sequence[Mapping[str, Any]]) -> list[str]:
    return short_names([m["precision"] for m in models], [m["name"] for m in models])


def _score(row: dict[str, Any], key: str) -> float:
    """A class without images, or a device without answers, is nobody's lowest."""
    return row[key]["value"] if row["support"] and "value" in row[key] else 2.0


def stacked(data: dict[str, Any]) -> Html:
    """Value above its interval, so that columns stay narrow."""
    if "value" not in data:
        return join("–", element("small", data["reason"]))
    interval = f"{data['low']:.3f}–{data['high']:.3f}" if "low" in data else ""
    return join(f"{data['value']:.3f}", element("small", interval))


def short(data: dict[str, Any], digits: int | None = None) -> str:
    """A value without its interval, or a dash; ValueError for what is no measurement."""
    if not is_measurement(data):
        raise ValueError(f"{data!r} is not a measurement")
    if "value" not in data:
        return "–"
    return measurement(data, count=False) if digits is None else f"{data['value']:.{digits}f}"
