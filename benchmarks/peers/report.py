"""The comparison with peers as table rows and Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.report import markdown_table, milliseconds, number, with_interval
from edgecell.tasks import task_of_record


def rows(data: dict[str, Any]) -> list[dict[str, str]]:
    """One row per candidate, column title → text, the fastest first."""
    anchors = list(data["models"][0]["ratios"])
    table = []
    for model in sorted(data["models"], key=lambda m: m["latency"]["p50"]["value"]):
        timing = model["latency"]
        several = task_of_record(model["quality"]).multi_label
        row = {
            "model": model["name"],
            "runtime": model["runtime"],
            "runs in": model["detail"],
            **_quality(model["quality"]),
            f"{'decisions' if several else 'top-1'} as trained": number(model["agreement"], 4),
            "kB": number(model["size"], 1, 1e-3),
            "p50 ms": milliseconds(timing["p50"]),
            "p90 ms": milliseconds(timing["p90"]),
        }
        row |= {f"× {name}": with_interval(model["ratios"][name], 2) for name in anchors}
        table.append(row)
    return table


def _quality(quality: dict[str, Any]) -> dict[str, str]:
    """The primary figure, and what belongs beside it."""
    task = task_of_record(quality)
    kappa = {"kappa": with_interval(quality["kappa"])} if "kappa" in quality else {}
    return {task.metric_name: with_interval(quality[task.metric]), **kappa}


def markdown(data: dict[str, Any]) -> str:
    """The table, the machine, what is missing, warnings and notes."""
    machine = data["host"]
    threads = "1 thread" if data["threads"] == 1 else f"{data['threads']} threads"
    lines = markdown_table(rows(data), ("model", "runtime", "runs in"))
    lines += [
        "",
        f"{data['images']} test images; {machine['cpu']}, {machine['system']}; {threads}.",
        "",
    ]
    lines += [f"- **Not measured:** {each['name']}: {each['reason']}" for each in data["absent"]]
    lines += [f"- **Warning:** {text}" for text in data["warnings"]]
    lines += [f"- {text}" for text in data["notes"]]
    return "\n".join(lines) + "\n"
