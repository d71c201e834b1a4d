"""What records hold, as tables of plain cells: the sheets of a workbook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgecell.report.elements import is_measurement, words
from edgecell.tasks import task_of_record

Cell = str | int | float | bool | None
Table = tuple[list[str], list[list[Cell]]]

FIGURE_COLUMNS = ["figure", "value", "low", "high", "n", "unit", "remark"]


def figures(results: Mapping[str, Any]) -> Table:
    """Every measurement and plain value of ``results``; tables and lists of values are left out.

    The remark is why a value is missing, or how people call it where its key does not say.
    """
    names = task_of_record(dict(results)).names
    rows: list[list[Cell]] = []
    for name, value in _leaves(results):
        if is_measurement(value):
            rows.append(
                [
                    name,
                    *(value.get(key) for key in ("value", "low", "high", "n", "unit")),
                    value.get("reason", names.get(name)),
                ]
            )
        else:
            rows.append([name, value, None, None, None, None, None])
    return FIGURE_COLUMNS, rows


def settings(config: Mapping[str, Any]) -> Table:
    """One row per setting, tables dotted."""
    return ["setting", "value"], [[name, value] for name, value in _leaves(config, lists=True)]


def rows_of(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Mappings of one kind below each other; a measurement takes a column for each of its ends."""
    columns = list(dict.fromkeys(name for entry in entries for name in _flat(entry)))
    return columns, [[_flat(entry).get(name) for name in columns] for entry in entries]


def labels(classes: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Table:
    """One row per label with its four counts; ``about``: what all rows have at their end."""
    rest = [{key: row[key] for key in row if key != "counts"} for row in classes]
    return rows_of(
        [
            {"name": row["name"]} | row["counts"] | other | about
            for row, other in zip(classes, rest, strict=True)
        ]
    )


def confusion(evaluation: Mapping[str, Any]) -> Table:
    """Rows are labels, columns predictions, with what each row sums up to."""
    names = evaluation["class_names"]
    body = [
        [name, *counts, sum(counts)]
        for name, counts in zip(names, evaluation["confusion"], strict=True)
    ]
    return ["labelled ↓  predicted →", *names, "all"], body


def predictions(told: Mapping[str, Any]) -> Table:
    """One row per image, from predictions.json."""
    heads = ["index", "image", "label", "predicted", "confidence", "right"]
    rows = [[*(row[key] for key in heads), *row["probabilities"]] for row in told["images"]]
    return [*heads, *(f"p({name})" for name in told["class_names"])], rows


def benchmark(results: Mapping[str, Any]) -> Table:
    """One row per file and number of threads."""
    entries = []
    for model in results["models"]:
        plain = {key: model[key] for key in ("name", "precision", "verify") if key in model}
        quality = {
            key: value for key, value in model["quality"].items() if is_measurement(value)
        } | {"worst class": model["quality"]["worst_class"]["name"]}
        for timing in model["latency"]:
            times = {f"{key} latency": timing[key] for key in ("p50", "p90", "p99")}
            entries.append(
                plain
                | {"size": model["footprint"]["size"], "threads": timing["threads"]}
                | times
                | quality
            )
    return rows_of(entries)


def checks(results: Mapping[str, Any]) -> Table:
    """One row per file and check of verify."""
    return rows_of(
        [
            {"file": model["file"], "verdict": model["verdict"]}
            | {key: check[key] for key in ("name", "passed", "measured", "allowed")}
            for model in results["models"]
            for check in model["checks"]
        ]
    )


def _flat(entry: Mapping[str, Any]) -> dict[str, Cell]:
    out: dict[str, Cell] = {}
    for key, value in entry.items():
        name = words(key)
        if is_measurement(value):
            out[name] = value.get("value", value.get("reason"))
            for end in ("low", "high"):
                if end in value:
                    out[f"{name} {end}"] = value[end]
        elif _plain(value):
            out[name] = value
    return out


def _leaves(
    data: Mapping[str, Any], prefix: str = "", *, lists: bool = False
) -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        name = f"{prefix}{key}"
        if is_measurement(value) or _plain(value):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.", lists=lists)
        elif lists:
            yield name, ", ".join(map(str, value))


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
