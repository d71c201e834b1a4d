"""Comparisons as people read them: tables and lines on stdout."""

from __future__ import annotations

from typing import Any

from edgecell.cli.show import measurement
from edgecell.cli.terminal import print_line, print_table
from edgecell.naming import drop_words
from edgecell.tasks import task_of_record


def compared(comparison: dict[str, Any]) -> None:
    """All models, each against the baseline, and what their times rest on."""
    several = [m for m in comparison["models"] if task_of_record(m["quality"]).multi_label]
    others = [m for m in comparison["models"] if m not in several]
    for models in filter(None, (others, several)):  # their figures do not share columns
        _models(models, several=models is several)
    by_labels = all("auc_drop" in pair for pair in comparison["pairs"])  # they share the baseline
    rows = [
        [
            pair["model"],
            pair["verdict"],
            *([_drop(pair["auc_drop"])] if by_labels else _drops(pair)),
            f"{pair['p_holm']:.3g}" if "p_holm" in pair else "–",
            _times(pair["size_ratio"]),
            _times(pair["latency_ratio"]),
        ]
        for pair in comparison["pairs"]
    ]
    drops = ["mean AUC drop"] if by_labels else ["accuracy drop", "macro-F1 drop", "lost / gained"]
    columns = ["model", "verdict", *drops, "p (Holm)"]
    title = f"against {comparison['baseline']}"
    print_table(title, [*columns, "× size", "× time"], rows, numeric_from=2)
    for said, names in _remarks(comparison["pairs"]).items():
        print_line(f"{said}: {', '.join(names)}")
    for line in (*(f"warning: {w}" for w in comparison["warnings"]), *comparison["notes"]):
        print_line(line)


def _models(models: list[dict[str, Any]], *, several: bool) -> None:
    rows = []
    for model in models:
        quality = model["quality"]
        worst = quality["worst_class"]
        weakest = worst["auc"] if several else worst["f1"]
        p50 = model["latency"][0]["p50"] if model.get("latency") else {}
        size = model.get("footprint", {}).get("size", {})
        rows.append(
            [
                model["label"],
                model["precision"],
                *([measurement(quality["auc"])] if several else []),
                measurement(quality["accuracy"]),
                measurement(quality["macro_f1"]),
                f"{weakest.get('value', float('nan')):.3f} {worst['name']}",
                f"{size['value'] / 1e3:,.1f}" if "value" in size else "–",
                f"{p50['value']:.3f}" if "value" in p50 else "–",
            ]
        )
    columns = (
        ["mean AUC", "label accuracy", "macro-F1", "worst label AUC"]
        if several
        else ["accuracy", "macro-F1", "worst class F1"]
    )
    columns = ["model", "precision", *columns, "size kB", "p50 ms"]
    print_table("all models", columns, rows, numeric_from=2)


def _drops(pair: dict[str, Any]) -> list[str]:
    lost = f"{pair['lost']} / {pair['gained']}" if "lost" in pair else "–"
    return [_drop(pair["accuracy_drop"]), _drop(pair["macro_f1_drop"]), lost]


def _remarks(pairs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What figures rest on, or why there are none: each once, with the models it concerns."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        tested = "auc_drop" if "auc_drop" in pair else "accuracy_drop"
        for title, key in (("accuracy", tested), ("× time", "latency_ratio")):
            if "reason" in pair[key]:
                reason = pair[key]["reason"]
                figure = "mean AUC drop" if key == "auc_drop" else title
                said = reason if reason.startswith("no ") else f"no {figure}, {reason}"
                found.setdefault(said, []).append(pair["model"])
        if pair["latency_how"]:
            found.setdefault(f"× time {pair['latency_how']}", []).append(pair["model"])
    return found


def regressed(found: dict[str, Any]) -> None:
    """What ``bench --against`` found, a row per model and figure."""
    rows = [
        [finding["model"], finding["quantity"], finding["verdict"], finding["said"]]
        for finding in found["findings"]
    ]
    print_table("against the baseline", ["model", "figure", "", "change"], rows, numeric_from=9)
    for line in found["machines"]:
        print_line(f"the machines differ: {line}")
    for line in found["notes"]:
        print_line(line)


def _drop(data: dict[str, Any]) -> str:
    return drop_words(data) if "value" in data else "–"


def _times(data: dict[str, Any]) -> str:
    if "value" not in data:
        return "–"
    ends = f" [{data['low']:.2f}, {data['high']:.2f}]" if "low" in data else ""
    return f"{data['value']:.2f}{ends}"
