"""Bench results as text: table rows for the terminal, Markdown, and points for the plots."""

from __future__ import annotations

from typing import Any

from edgecell.plots import Point

NOTES = (
    "The files take turns in short rounds; × float32 is the median over the rounds of the ratio of the two "
    "medians in it, so that a slow phase of the machine cancels.",
    "Brackets are 95 % intervals. Accuracy: Wilson. F1: bootstrap over images. Times: order statistics. "
    "Worst class: the lowest F1 of a class that has images.",
)


def rows(data: dict[str, Any]) -> list[dict[str, str]]:
    """One row per model, column title → text, from the JSON of a bench result."""
    counts = _thread_counts(data)
    table = []
    for model in data["models"]:
        quality, footprint = model["quality"], model["footprint"]
        worst = quality["worst_class"]
        row = {
            "model": model["name"],
            "precision": model["precision"],
            "accuracy": with_interval(quality["accuracy"]),
            "macro-F1": with_interval(quality["macro_f1"]),
            "worst class F1": f"{number(worst['f1'], 3)} {worst['name']}".strip(),
            "size kB": number(footprint["size"], 1, 1e-3),
        }
        if not _is_host(data):
            row["top-1 as host"] = with_interval(model["agreement"]["top1"])
        for position, timing in enumerate(model["latency"]):
            if position == 0:
                spread = " / ".join(milliseconds(timing[key]) for key in ("p50", "p90", "p99"))
                row[f"p50/p90/p99 ms, {_threads(counts[0])}"] = spread
                row["× float32"] = with_interval(timing["ratio"], 2)
            else:
                row[f"p50 ms, {_threads(counts[position])}"] = milliseconds(timing["p50"])
        if model["latency"]:
            row["first ms"] = milliseconds(model["latency"][0]["first"])
            row["load ms"] = milliseconds(model["latency"][0]["load"])
        title, scale = ("arena kB, estimated", 1e-3) if _is_arena(data) else ("memory MB", 1e-6)
        row[title] = number(footprint["memory"]["over_baseline"], 1, scale)
        table.append(row)
    return table


def details(data: dict[str, Any]) -> list[dict[str, str]]:
    """How each file ran, one row per model: delegate, operators, throughput, drift."""
    table = []
    for model in data["models"]:
        row = {"model": model["name"]}
        for timing in model["latency"]:
            count = _threads(timing["threads"])
            row["delegate"] = timing["delegate"]["label"]
            row[f"drift, {count}"] = (
                f"{timing['drift']['value']:+.0%}" if "value" in timing["drift"] else "–"
            )
        delegate = model["latency"][0]["delegate"]
        row["left to built-in kernels"] = counts(delegate["left"]) if "left" in delegate else "–"
        row["other operators"] = counts(model["operators"]["others"])
        if not _is_host(data):
            largest = model["agreement"]["largest_difference"]
            unit = "" if largest["unit"] == "1" else f" {largest['unit']}"
            row["largest difference to host"] = (
                f"{largest['value']:.2g}{unit}" if "value" in largest else "–"
            )
        row["MMACs"] = number(model["operators"]["macs"], 1, 1e-6)
        for entry in model["throughput"]:
            title = f"images/s, batch {entry['batch']}, {_threads(entry['threads'])}"
            row[title] = number(entry["rate"], 0)
        table.append(row)
    return table


def counts(found: dict[str, int]) -> str:
    """`QUANTIZE 2, SOFTMAX`, or "none"."""
    return ", ".join(f"{name} {n}" if n > 1 else name for name, n in found.items()) or "none"


def markdown(data: dict[str, Any]) -> str:
    """The tables, the machine, warnings and notes."""
    lines = _table(rows(data)) + [""] + _table(details(data))
    lines += ["", f"{machine_line(data)}", ""]
    lines += [f"- **Not measured:** {text}" for text in reasons(data)]
    lines += [f"- **Warning:** {text}" for text in data["warnings"]]
    lines += [f"- {text}" for text in data["notes"]]
    return "\n".join(lines) + "\n"


def _table(table: list[dict[str, str]]) -> list[str]:
    columns = list(table[0])
    texts = ("model", "precision", "delegate", "left to built-in kernels", "other operators")
    return [
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("---" if c in texts else "---:" for c in columns) + " |",
        *("| " + " | ".join(_cell(row[c]) for c in columns) + " |" for row in table),
    ]


def machine_line(data: dict[str, Any]) -> str:
    """Where and on how many images, in one line."""
    machine = data["host"]
    device = "" if _is_host(data) else f"{data['device']['kind']}: "
    board = f"{machine['board']}, " if machine.get("board") else ""
    governor = f", governor {machine['governor']}" if machine["governor"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{data['images']} test images; {device}{board}{machine['cpu']}, {machine['cores']} cores"
        f"{governor}, {machine['system']}; {versions}."
    )


def reasons(data: dict[str, Any]) -> list[str]:
    """Why a dash stands in the tables: each reason once, with what it concerns."""
    found: dict[str, list[str]] = {}
    for model in data["models"]:
        figures = {"accuracy": model["quality"]["accuracy"]}
        if not _is_host(data):
            figures["agreement"] = model["agreement"]["top1"]
        for timing in model["latency"]:
            figures |= {key: timing[key] for key in ("p50", "p90", "p99", "first", "load")}
            if "reason" in timing["delegate"]:
                figures["delegate"] = timing["delegate"]
        figures["memory"] = model["footprint"]["memory"]["over_baseline"]
        for name, figure in figures.items():
            if "reason" in figure and name not in found.setdefault(figure["reason"], []):
                found[figure["reason"]].append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in found.items() if names]


def _is_arena(data: dict[str, Any]) -> bool:
    """Whether memory is a microcontroller's, kilobytes and estimated."""
    return any(
        model["footprint"]["memory"]["over_baseline"].get("kind") == "estimated"
        for model in data["models"]
    )


def _is_host(data: dict[str, Any]) -> bool:
    return data["device"]["kind"] == "host"


def number(measurement: dict[str, Any], digits: int, scale: float = 1.0) -> str:
    """A measurement's value, or a dash where it has a reason instead."""
    return f"{measurement['value'] * scale:.{digits}f}" if "value" in measurement else "–"


def milliseconds(measurement: dict[str, Any]) -> str:
    """Three significant digits, never fewer than whole milliseconds."""
    if "value" not in measurement:
        return "–"
    value = measurement["value"]
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def with_interval(measurement: dict[str, Any], digits: int = 3) -> str:
    """`0.978 [0.970, 0.984]`."""
    text = number(measurement, digits)
    if "low" in measurement:
        text += f" [{measurement['low']:.{digits}f}, {measurement['high']:.{digits}f}]"
    return text


def size_points(data: dict[str, Any]) -> list[Point]:
    """File size in kB against accuracy."""
    return [
        _point(model, model["footprint"]["size"]["value"] / 1000, None) for model in _known(data)
    ]


def latency_points(data: dict[str, Any]) -> list[Point]:
    """p50 in ms of the first thread count against accuracy."""
    found = []
    for model in _known(data):
        p50 = model["latency"][0]["p50"]
        if "value" in p50:
            found.append(_point(model, p50["value"], _interval(p50)))
    return found


def _known(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The models whose accuracy is known."""
    return [model for model in data["models"] if "value" in model["quality"]["accuracy"]]


def _point(model: dict[str, Any], x: float, x_interval: tuple[float, float] | None) -> Point:
    accuracy = model["quality"]["accuracy"]
    return Point(
        model["name"], x, accuracy["value"], model["precision"], x_interval, _interval(accuracy)
    )


def _interval(measurement: dict[str, Any]) -> tuple[float, float] | None:
    return (measurement["low"], measurement["high"]) if "low" in measurement else None


def _thread_counts(data: dict[str, Any]) -> list[int]:
    return [timing["threads"] for timing in data["models"][0]["latency"]]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
