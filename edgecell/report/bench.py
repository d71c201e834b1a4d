"""The benchmark's part of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.report.bench_quality import per_class, quality_cells, short, stacked
from edgecell.report.elements import (
    Html,
    Pictures,
    badge,
    card,
    details,
    element,
    facts,
    join,
    measurement,
    section,
    table,
)
from edgecell.tasks import task_of_record

_TITLES = {
    "size_accuracy.png": "File size against accuracy",
    "latency_accuracy.png": "Latency against accuracy",
    "size_auc.png": "File size against mean AUC",
    "latency_auc.png": "Latency against mean AUC",
}


def on_host(results: Mapping[str, Any]) -> bool:
    """Whether the machine that edgecell ran on was measured, and not another device."""
    device = results.get("device", {"kind": "host"})  # older benches knew the host only
    return bool(device["kind"] == "host")


def headline(results: dict[str, Any], verdicts: dict[str, bool]) -> list[Html]:
    """Cards for what one would ship: a small and fast verified file, else an unverified one, and said so.

    `verdicts`: sha256 of a verified file → whether it passed.
    """
    models = results["models"]
    task = task_of_record(models[0]["quality"])
    answered = [model for model in models if "value" in model["quality"][task.metric]]
    passing = [model for model in answered or models if _passed(model, verdicts)]
    chosen = _to_ship(passing or answered or models)
    largest = max(models, key=lambda model: model["footprint"]["size"]["value"])
    quality, p50 = chosen["quality"][task.metric], chosen["latency"][0]["p50"]
    worst = chosen["quality"]["worst_class"]
    ratio = largest["footprint"]["size"]["value"] / chosen["footprint"]["size"]["value"]
    same = largest["precision"] == chosen["precision"]
    other = "the largest benched" if same else largest["precision"]
    against = f"{ratio:.1f} × smaller than {other}"
    if chosen is largest:
        against = "largest benched"
    elif ratio < 1.05:  # no 1.0 ×
        against = f"about as large as {other}"
    kind = chosen["precision"] + ("" if passing else " (not verified)")
    where = "this host" if on_host(results) else results["device"]["kind"]
    return [
        _card(f"Test {task.metric_name}, {kind}", quality, _interval(quality, results["images"])),
        _card(f"Weakest label, {kind}", worst["auc"], f"AUC of {worst['name']}")
        if task.multi_label
        else _card(f"Weakest class, {kind}", worst["f1"], f"F1 of {worst['name']}"),
        card(f"File size, {kind}", measurement(chosen["footprint"]["size"]), against),
        card(
            f"Latency p50, {kind}",
            measurement(p50, count=False).split(" [")[0] if "value" in p50 else "–",
            f"1 thread, {where}" if "value" in p50 else p50["reason"],
        ),
    ]


def _to_ship(models: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest of the small ones; of files as fast, the one listed last, which most work went into.

    Some bytes do not decide: `dynamic` is an eighth smaller than int8 and twice as slow. Nor does
    accuracy on test, which chooses nothing.
    """

    def size(model: dict[str, Any]) -> float:
        return float(model["footprint"]["size"]["value"])

    def p50(model: dict[str, Any]) -> float:
        return float(model["latency"][0]["p50"].get("value", math.inf))

    smallest = min(map(size, models))
    small = [model for model in models if size(model) <= 1.25 * smallest]
    fastest = min(map(p50, small))
    return [model for model in small if p50(model) <= 1.1 * fastest][-1]


def _card(title: str, data: dict[str, Any], note: str) -> Html:
    """A figure with its note, or a dash with the reason."""
    if "value" not in data:
        return card(title, "–", data["reason"])
    return card(title, f"{data['value']:.3f}", note)


def bench_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, verdicts: dict[str, bool]
) -> Html:
    """Comparison table, plots, per-class figures by model, machine."""
    results = record["results"]
    models = results["models"]
    figures = [
        pictures.figure(folder / Path(name).name, _TITLES.get(Path(name).name, Path(name).stem))
        for name in record["outputs"]
        if name.endswith(".png")
    ]
    device = "" if on_host(results) else f"{results['device']['kind']}, {results['device']['name']}"
    return section(
        f"Benchmark: {device}" if device else "Benchmark",
        "bench" if folder.name == "bench" else f"bench-{folder.name}",
        *(element("div", f"Warning: {line}", cls="warning") for line in results["warnings"]),
        _comparison(models, verdicts),
        "" if on_host(results) else agreement(models),
        element("div", *figures, cls="figures") if figures else "",
        per_class(models),
        notes(results),
        details("Memory, opening times and spread", more(models)),
        details("Machine and options", facts(results["host"]), facts(results["options"])),
        lead=f"All files on the same {results['images']} test images and the same machine.",
    )


def _comparison(models: list[dict[str, Any]], verdicts: dict[str, bool]) -> Html:
    counts = [timing["threads"] for timing in models[0]["latency"]]
    columns = ["Model", *quality_cells(models[0]["quality"]), "Size"]
    columns += [f"p50, {count} thread{'s' if count > 1 else ''}" for count in counts]
    columns += ["× float32", "Memory"]
    rows = []
    for model in models:
        rows.append(
            [
                join(
                    element("b", model["precision"]),
                    element("small", model["name"]),
                    _verdict(_passed(model, verdicts)),
                ),
                *quality_cells(model["quality"]).values(),
                measurement(model["footprint"]["size"]),
                *(
                    stacked(timing["p50"])
                    if "reason" in timing["p50"]
                    else join(
                        measurement(timing["p50"], count=False).split(" [")[0],
                        element("small", f"p90 {_ms(timing['p90'])}, p99 {_ms(timing['p99'])}"),
                    )
                    for timing in model["latency"]
                ),
                short(model["latency"][0]["ratio"], 2),
                short(model["footprint"]["memory"]["over_baseline"]),
            ]
        )
    return table(columns, rows, numeric=range(1, len(columns)))


def agreement(models: list[dict[str, Any]]) -> Html:
    """Do the device's answers match this host's, for the same files and images?"""
    several = "decisions" in models[0]["agreement"]
    first = "decisions" if several else "top1"
    keys = {
        first: "All decisions as on the host" if several else "Same first class as on the host",
        "equal_outputs": "Outputs that are the same",
        "largest_difference": "Largest difference",
    }
    rows = [
        [
            model["name"],
            *(short(model["agreement"][key]) for key in (first, "equal_outputs")),
            _difference(model["agreement"]["largest_difference"]),
        ]
        for model in models
    ]
    return join(
        element("h3", "Answers against the host's"),
        table(["Model", *keys.values()], rows, numeric=range(1, 4)),
    )


def _difference(data: dict[str, Any]) -> str:
    """`1 quanta`, `2.8e-06`."""
    if "value" not in data:
        return "–"
    return f"{data['value']:.2g}" + ("" if data["unit"] == "1" else f" {data['unit']}")


def notes(results: Mapping[str, Any]) -> Html:
    """Why a dash stands where it stands, and how the figures came about."""
    missing = [f"Not measured: {line}" for line in results.get("not_measured", [])]
    lines = [*missing, *results["notes"]]
    return element("ul", *(element("li", line) for line in lines), cls="notes")


def _passed(model: dict[str, Any], verdicts: dict[str, bool]) -> bool | None:
    """This run's verify record decides; for files of other runs, what bench found in theirs."""
    recorded = {"passed": True, "failed": False}.get(model.get("verify", ""))
    return verdicts.get(model["sha256"], recorded)


def _verdict(passed: bool | None) -> Html:
    return badge({True: "verified", False: "refused", None: "not verified"}[passed], passed)


def more(models: list[dict[str, Any]]) -> Html:
    """Opening times, spread and memory of each model, as two tables."""
    rows = []
    for model in models:
        for timing in model["latency"]:
            spread = [_ms(timing[key]) for key in ("p50", "p90", "p99", "mean", "first", "load")]
            rows.append(
                [
                    model["name"],
                    timing["threads"],
                    *spread,
                    short(timing["drift"], 3),
                    f"{timing['n']:,}",
                ]
            )
    columns = ["Model", "Threads", "p50", "p90", "p99", "Mean", "First", "Load", "Drift", "Runs"]
    opening = table(columns, rows, numeric=range(1, len(columns)))
    memory = [
        [
            model["name"],
            short(model["footprint"]["deflated"]),
            *(short(model["footprint"]["memory"][key]) for key in ("baseline", "one", "ten")),
        ]
        for model in models
    ]
    titles = [
        "Model",
        "Deflated",
        "Process without model",
        "Peak after 1 run",
        "Peak after 10 runs",
    ]
    return join(opening, table(titles, memory, numeric=range(1, len(titles))))


def _ms(data: dict[str, Any]) -> str:
    if "value" not in data:
        return "–"
    return measurement({"value": data["value"], "unit": "ms"}).removesuffix(" ms")


def _interval(data: dict[str, Any], images: int) -> str:
    if "low" not in data:
        return f"{images} images"
    return f"95 % interval {data['low']:.3f}–{data['high']:.3f}, {images} images"
