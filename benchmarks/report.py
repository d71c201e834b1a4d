"""Bench results as text: table rows for the terminal, Markdown, and points for the plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.agreement import same_answers
from edgecell.plots import Point
from edgecell.tasks import Task, task_of_record

_TURNS = (
    "The files take turns in short rounds; × float32 is the median over the rounds of the ratio of the two "
    "medians in it, so that a slow phase of the machine cancels."
)
_BRACKETS_OF_LABELS = (
    "Brackets are 95 % intervals. A label's AUC: Newcombe's, its F1: Wilson's of the Jaccard index; means over "
    "labels: bootstrap over images, of F1 joined with the labels' own. Times: order statistics. "
    "Several labels can hold for an image: mean AUC is the mean over labels, label accuracy the mean share of "
    "right decisions, a label being said above 0.5. Worst label: the lowest AUC."
)
_KAPPA = "Kappa: agreement of grades with quadratic weights, interval by bootstrap over images with two added."
_BRACKETS = (
    "Brackets are 95 % intervals. Accuracy: Wilson's; a class's F1: Wilson's of the Jaccard index; macro F1: bootstrap "
    "over images joined with the classes' own. Times: order statistics. "
    "Worst class: the lowest F1 of a class that has images."
)


def rows(data: dict[str, Any]) -> list[dict[str, str]]:
    """One row per model, column title → text, from the JSON of a bench result."""
    counts = _thread_counts(data)
    table = []
    for model in data["models"]:
        footprint = model["footprint"]
        row = {
            "model": model["name"],
            "precision": model["precision"],
            **quality_cells(model["quality"]),
            "size kB": number(footprint["size"], 1, 1e-3),
        }
        if not _is_host(data):
            title = "top-1 as host" if "top1" in model["agreement"] else "decisions as host"
            row[title] = with_interval(same_answers(model["agreement"]))
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


def quality_cells(quality: dict[str, Any]) -> dict[str, str]:
    """The figures of a quality that a table shows, column title → text; the primary one first."""
    worst = quality["worst_class"]
    if task_of_record(quality).multi_label:
        return {
            "mean AUC": with_interval(quality["auc"]),
            "label accuracy": with_interval(quality["accuracy"]),
            "macro-F1": with_interval(quality["macro_f1"]),
            "worst label AUC": f"{number(worst['auc'], 3)} {worst['name']}".strip(),
        }
    kappa = {"kappa": with_interval(quality["kappa"])} if "kappa" in quality else {}
    return {
        "accuracy": with_interval(quality["accuracy"]),
        **kappa,
        "macro-F1": with_interval(quality["macro_f1"]),
        "worst class F1": f"{number(worst['f1'], 3)} {worst['name']}".strip(),
    }


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
        for position, entry in enumerate(model["throughput"]):
            if not _any_rate(data, position):
                continue  # the reason stands below the table
            title = f"images/s, batch {entry['batch']}, {_threads(entry['threads'])}"
            row[title] = number(entry["rate"], 0)
        table.append(row)
    return table


def counts(found: dict[str, int]) -> str:
    """`QUANTIZE 2, SOFTMAX`, or "none"."""
    return ", ".join(f"{name} {n}" if n > 1 else name for name, n in found.items()) or "none"


def markdown(data: dict[str, Any]) -> str:
    """The tables, the machine, warnings and notes."""
    texts = ("model", "precision", "delegate", "left to built-in kernels", "other operators")
    lines = markdown_table(rows(data), texts) + [""] + markdown_table(details(data), texts)
    lines += ["", f"{machine_line(data)}", ""]
    lines += [f"- **Not measured:** {text}" for text in data["not_measured"]]
    lines += [f"- **Warning:** {text}" for text in data["warnings"]]
    lines += [f"- {text}" for text in data["notes"]]
    return "\n".join(lines) + "\n"


def markdown_table(table: list[dict[str, str]], texts: Sequence[str]) -> list[str]:
    """The lines of a Markdown table; columns named in ``texts`` are left-aligned, the others right."""
    columns = list(table[0])
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


def notes(data: dict[str, Any]) -> list[str]:
    """How the figures in the tables came about."""
    ratios = [timing["ratio"] for model in data["models"] for timing in model["latency"]]
    turns = [_TURNS] if any("value" in ratio for ratio in ratios) else []
    kappa = [_KAPPA] if any("kappa" in model["quality"] for model in data["models"]) else []
    return [*turns, _BRACKETS_OF_LABELS if task_of(data).multi_label else _BRACKETS, *kappa]


def task_of(data: dict[str, Any]) -> Task:
    """What the models of a bench are asked; all are given the same labels."""
    return task_of_record(data["models"][0]["quality"])


def reasons(data: dict[str, Any]) -> list[str]:
    """Why a dash stands in the tables: each reason once, with the figures and models it concerns."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for model in data["models"]:
        for name, figure in _figures(data, model):
            if "reason" in figure:
                names, models = found.setdefault(figure["reason"], ([], []))
                names += [name] if name not in names else []
                models += [model["name"]] if model["name"] not in models else []
    lines = []
    for reason, (names, models) in found.items():
        of = "" if len(models) == len(data["models"]) else f" of {', '.join(models)}"
        lines.append(f"{', '.join(names)}{of}: {reason}")
    return lines


def _figures(data: dict[str, Any], model: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the tables show of a model, by its name there."""
    task = task_of_record(model["quality"])
    yield task.metric_name, model["quality"][task.metric]
    if not _is_host(data):
        yield "agreement", same_answers(model["agreement"])
    for timing in model["latency"]:
        for key in ("p50", "p90", "p99", "first", "load"):
            yield key, timing[key]
        yield "delegate", timing["delegate"]
    yield "memory", model["footprint"]["memory"]["over_baseline"]
    for position, entry in enumerate(model["throughput"]):
        if not _any_rate(data, position):
            yield "images/s", entry["rate"]


def _any_rate(data: dict[str, Any], position: int) -> bool:
    """Whether any model has a value for this batch size and number of threads."""
    return any("value" in model["throughput"][position]["rate"] for model in data["models"])


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
    """File size in kB against the primary figure."""
    return [
        _point(model, model["footprint"]["size"]["value"] / 1000, None) for model in _known(data)
    ]


def latency_points(data: dict[str, Any]) -> list[Point]:
    """p50 in ms of the first thread count against the primary figure."""
    found = []
    for model in _known(data):
        p50 = model["latency"][0]["p50"]
        if "value" in p50:
            found.append(_point(model, p50["value"], _interval(p50)))
    return found


def _known(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The models whose primary figure is known."""
    return [model for model in data["models"] if "value" in _primary(model)]


def _primary(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["quality"][task_of_record(model["quality"]).metric]
    return found


def _point(model: dict[str, Any], x: float, x_interval: tuple[float, float] | None) -> Point:
    quality = _primary(model)
    return Point(
        model["name"], x, quality["value"], model["precision"], x_interval, _interval(quality)
    )


def _interval(measurement: dict[str, Any]) -> tuple[float, float] | None:
    return (measurement["low"], measurement["high"]) if "low" in measurement else None


def _thread_counts(data: dict[str, Any]) -> list[int]:
    return [timing["threads"] for timing in data["models"][0]["latency"]]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
