"""A sweep as a section of the report: the answer, the front, every cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from edgecell.report.labels import named_scores, weakest_label
from edgecell.tasks import Task, task_of_record

_CAPTIONS = {
    "pareto_size.png": "Quality against file size; filled: nothing beats it at all three",
    "pareto_latency.png": "Quality against latency; filled as in the other figure",
}
_LIMITS = {
    "max_bytes": ("bytes", "at most"),
    "max_latency_ms": ("p50", "at most"),
    "min_f1": ("macro-F1", "at least"),
    "min_accuracy": ("accuracy", "at least"),
    "min_auc": ("mean AUC", "at least"),
}


def sweep_headline(results: Mapping[str, Any]) -> list[Html]:
    """The cards of a sweep: what to ship, how many cells there are, how many are on the front."""
    cells, found, task = results["cells"], results["answer"], task_of_record(results)
    refused = sum(cell["passed"] is False for cell in cells)
    missing = sum(cell["passed"] is None for cell in cells)
    note = f"{refused} refused by verify" + (f", {missing} given up" if missing else "")
    cards = [
        card("Cells", str(len(cells)), note),
        card("On the Pareto front", str(len(results["front"])), "quality, bytes and p50"),
    ]
    if found is None:
        least = "--min-auc" if task.multi_label else "--min-f1"
        return [*cards, card("To ship", "not asked", f"give --max-bytes, {least}, …")]
    if found["cell"] is None:
        return [*cards, card("To ship", "none", found["reason"])]
    title = "To ship" if found["met"] else "Nearest miss"
    chosen = cell_named(results, found["cell"])
    cards.append(card(title, found["cell"], miss_words(found)))
    name, key = task.file_scores[0]
    cards.append(card(f"Its {name} on val", f"{chosen[key]['value']:.3f}", _interval(chosen[key])))
    return cards


def sweep_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """The answer, the figures, every cell."""
    results = record["results"]
    names = [Path(name).name for name in record["outputs"] if name.endswith(".png")]
    drawn = [pictures.figure(folder / name, _CAPTIONS[name]) for name in names]
    return section(
        "Sweep",
        "sweep",
        *warnings_part(results),
        answer_part(results),
        element("div", *drawn, cls="figures"),
        element("h3", f"All cells, on {results['val_images']:,} val images"),
        _cells(results),
        notes_part(results),
        details("What was asked for", facts(record["config"])),
        lead="Every network, width, input size and precision that was asked for. sweep/sweep.html is the same"
        " to sort, and to draw on any two axes.",
    )


def warnings_part(results: Mapping[str, Any]) -> list[Html]:
    """What must be known before trusting the table."""
    return [element("div", f"Warning: {line}", cls="warning") for line in results["warnings"]]


def notes_part(results: Mapping[str, Any]) -> Html:
    """How the figures were made."""
    notes = list(results["notes"])
    if results["reference"] is not None:
        said = f"× reference: the time against that of {results['reference']}"
        notes.append(f"{said}, from rounds in which both had a turn.")
    return element("ul", *(element("li", note) for note in notes), cls="notes")


def answer_part(results: Mapping[str, Any]) -> Html:
    """The cell to ship or the nearest miss, limit by limit, and the chosen cell's figures on test."""
    found = results["answer"]
    if found is None:
        return element(
            "p", "No limits were given, so nothing was chosen and test was not looked at."
        )
    if found["cell"] is None:
        return element("p", f"There is no cell to ship: {found['reason']}.", cls="warning")
    rows = [
        [
            f"{_LIMITS[entry['limit']][0]} {_LIMITS[entry['limit']][1]} {_plain(entry, 'allowed')}",
            measurement(entry["figure"]),
            badge(
                "kept" if entry["kept"] else f"missed by {_plain(entry, 'missed_by')}",
                entry["kept"],
            ),
            "" if entry["kept"] else _over(entry),
        ]
        for entry in found["limits"]
    ]
    words = miss_words(found)
    title = "The cell to ship" if found["met"] else "No cell keeps all limits; the nearest miss"
    parts = [
        element("h3", f"{title}: {found['cell']}"),
        table(["Limit", "Found", "", "By how much"], rows, numeric=(1, 3)),
        element("p", words[0].upper() + words[1:] + "."),
    ]
    smaller = smaller_words(found, task_of_record(results))
    if smaller is not None:
        parts.append(element("p", f"{smaller}."))
    test = found["test"]
    if test is not None:
        shown, worst = _on_test(test, task_of_record(results))
        parts += [
            element("h3", f"On test, n={test['n']:,}, looked at for this cell only"),
            facts(shown | worst),
        ]
    return join(*parts)


def _on_test(test: Mapping[str, Any], task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """The chosen cell's scores, and its weakest class or label."""
    worst = test["worst_class"]
    if task.multi_label:
        scores = {key: test[key] for key in ("auc", "accuracy", "macro_f1")}
        return named_scores(scores, task), {"weakest label": weakest_label(worst)}
    shown = {key: test[key] for key in ("accuracy", "macro_f1")}
    return shown, {"worst_class": f"{worst['name']}, F1 {worst['f1']['value']:.3f}"}


def miss_words(found: Mapping[str, Any]) -> str:
    """How many cells keep the limits, or what the nearest miss would take."""
    if found["met"]:
        by = {"f1": "macro-F1", "auc": "mean AUC", "bytes": "bytes", "latency": "p50"}.get(
            found["prefer"], found["prefer"]
        )
        return (
            f"{found['meeting']} of {found['eligible']} cells keep all limits; best {by} of these"
        )
    return (
        f"none of {found['eligible']} cells keeps all limits; this one would if each limit were loosened"
        f" by {found['distance']:.1%}"
    )


def smaller_words(found: Mapping[str, Any], task: Task) -> str | None:
    """What the smallest cell that loses little loses, or why none is named; None for a miss.

    None too for records from when a cell was named without a paired drop.
    """
    drop = found.get("smaller_drop")
    if drop is None or not found["met"]:
        return None
    if found["smaller_alike"] is None:
        return f"No smaller cell is named: {drop['reason']}"
    interval = f"{drop['value']:.4f} [{drop['low']:.4f}, {drop['high']:.4f}]"
    return (
        f"{found['smaller_alike']} keeps them too, is smaller, and loses at most {drop['high']:.4f} of"
        f" {task.file_scores[0][0]} with 95 % confidence (drop {interval}, n={drop['n']:,}; margin"
        f" {found['margin']:g})"
    )


def limit_words(entry: Mapping[str, Any]) -> str:
    """`bytes at most 700,000: 812,344, missed by 112,344 (16.0 % over)`."""
    name, kind = _LIMITS[entry["limit"]]
    held = _plain(entry, "held")
    words = f"{name} {kind} {_plain(entry, 'allowed')}: {held}, "
    if entry["kept"]:
        return words + "kept"
    return words + f"missed by {_plain(entry, 'missed_by')} ({_over(entry)})"


def _over(entry: Mapping[str, Any]) -> str:
    """The excess in words; of a score it is that of what is missing to 1."""
    what = "more errors than allowed" if entry["limit"].startswith("min") else "over"
    if entry["limit"] == "min_auc":
        what = "more pairs ranked wrongly than allowed"
    return f"{entry['excess']:.1%} {what}"


def cell_named(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One row of the table."""
    return next(cell for cell in results["cells"] if cell["name"] == name)


def _cells(results: Mapping[str, Any]) -> Html:
    found = results["answer"]
    chosen = None if found is None else found["cell"]
    said = "to ship" if found is not None and found["met"] else "nearest miss"
    scores = task_of_record(results).file_scores
    rows = []
    for cell in results["cells"]:
        front = "–" if cell["front"] is None else "yes" if cell["front"] else "no"
        share = cell["front_share"]
        rows.append(
            [
                join(
                    element("b", cell["name"]),
                    element("small", said) if cell["name"] == chosen else "",
                ),
                badge(*_verdict(cell)),
                *(_stacked(cell[key]) for _, key in scores),
                measurement(cell["size"], count=False) if "value" in cell["size"] else "–",
                _stacked(cell["p50"]),
                f"{cell['ratio']['value']:.2f}" if "value" in cell["ratio"] else "–",
                join(
                    front, element("small", f"in {share['value']:.0%}" if "value" in share else "")
                ),
            ]
        )
    columns = [
        "Cell",
        "verify",
        *(name[0].upper() + name[1:] for name, _ in scores),
        "Size",
        "p50 ms",
        "× reference",
        "Front",
    ]
    return table(columns, rows, numeric=range(2, len(columns)))


def _verdict(cell: Mapping[str, Any]) -> tuple[str, bool | None]:
    words = {True: "passed", False: "refused", None: cell["state"]}[cell["passed"]]
    return words, cell["passed"]


def _stacked(data: Mapping[str, Any]) -> Html:
    """Value above its interval."""
    if "value" not in data:
        return join("–", element("small", ""))
    interval = f"{data['low']:.3f}–{data['high']:.3f}" if "low" in data else ""
    return join(f"{data['value']:.3f}", element("small", interval))


def _plain(entry: Mapping[str, Any], key: str) -> str:
    if entry["limit"] == "max_bytes":
        return f"{entry[key]:,.0f}"
    return f"{entry[key]:.4g}" + (" ms" if entry["limit"] == "max_latency_ms" else "")


def _interval(data: Mapping[str, Any]) -> str:
    return f"95 % interval {data['low']:.3f}–{data['high']:.3f}" if "low" in data else ""
