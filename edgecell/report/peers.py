"""The comparison with other runtimes: a page of its own, and a section of the run's report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_text
from edgecell.errors import ArtifactError
from edgecell.report import interactive as parts
from edgecell.report.contenders import FIRST, LOAD, SIZE, Axis, Contender, of_quality, weakest
from edgecell.report.elements import (
    Html,
    Pictures,
    card,
    details,
    element,
    facts,
    join,
    measurement,
    section,
    table,
)
from edgecell.report.page import page
from edgecell.tasks import task_of_record

_LINKS = [("figures-table", "Figures"), ("tradeoff", "Trade-off"), ("classes", "Classes")]
_P50 = Axis("p50", "p50", 10, "low", "ms", shown=True)
_P90 = Axis("p90", "p90", 11, "low", "ms")
_P99 = Axis("p99", "p99", 12, "low", "ms")
_AGREEMENT = Axis("agreement", "Top-1 as trained", 2.5, "high", digits=4, shown=True)
_DECISIONS = Axis("decisions", "Decisions as trained", 2.5, "high", digits=4, shown=True)


def write_peers_page(path: Path, name: str, results: Mapping[str, Any]) -> Path:
    """Write the page of a comparison with peers; returns ``path``.

    Raises:
        ArtifactError: the results lack a part, or the file cannot be written.
    """
    atomic_write_text(path, render_peers(name, results))
    return path


def render_peers(name: str, results: Mapping[str, Any]) -> str:
    """The page as one HTML document; ``results`` as in peers.json.

    Raises:
        ArtifactError: the results lack a part.
    """
    try:
        return _render(name, results)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ArtifactError(
            f"this comparison cannot be shown ({type(error).__name__}: {error});"
            " run 'edgecell peers' again"
        ) from error


def peers_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """A table for the run's report, the fastest first."""
    results = record["results"]
    anchors = list(results["models"][0]["ratios"])
    task = task_of_record(results["models"][0]["quality"])
    rows = [
        [
            element("b", model["name"]),
            join(model["runtime"], element("small", model["detail"])),
            measurement(model["quality"][task.metric], count=False),
            measurement(model["size"]),
            measurement(model["latency"]["p50"], count=False).split(" [")[0],
            *(f"{model['ratios'][name]['value']:.2f}" for name in anchors),
        ]
        for model in _by_time(results)
    ]
    # "Mean AUC", "Accuracy"
    figure = task.metric_name[0].upper() + task.metric_name[1:]
    columns = ["Model", "Runtime", figure, "Size", "p50", *(f"× {name}" for name in anchors)]
    return section(
        "The same network in other runtimes",
        "peers",
        table(columns, rows, numeric=range(3, len(columns))),
        _absent(results),
        lead=f"Timed in turn, {_threads(results)}; more in peers/peers.html.",
    )


def _render(name: str, results: Mapping[str, Any]) -> str:
    contenders = [_contender(model) for model in _by_time(results)]
    confused = any(each.confusion for each in contenders)
    bodies = [
        section(
            "All figures",
            "figures-table",
            *(element("div", f"Warning: {line}", cls="warning") for line in results["warnings"]),
            parts.figures_table(contenders),
            _absent(results),
            element("ul", *(element("li", note) for note in results["notes"]), cls="notes"),
            lead=f"One network in several runtimes, on the same {results['images']:,} test images, timed in"
            f" turn with {_threads(results)}. A heading sorts by its column.",
        ),
        parts.chart_section(contenders),
        parts.heat_section(contenders),
        *([parts.confusion_section(contenders)] if confused else []),
        section(
            "Machine and method",
            "machine",
            facts(results["host"]),
            details("What each runs in", facts(_details(results))),
            details("Pace", facts(results["pace"])),
        ),
    ]
    links = [*_LINKS, *([("confusion", "Confusion")] if confused else []), ("machine", "Machine")]
    data = parts.embedded(parts.payload(contenders, x=_P50))
    return page(name, "edgecell and its peers", _cards(results), links, bodies, data=data)


def _contender(model: Mapping[str, Any]) -> Contender:
    timing = model["latency"]
    figures = dict(of_quality(model["quality"]))
    several = task_of_record(model["quality"]).multi_label
    figures |= {_DECISIONS if several else _AGREEMENT: model["agreement"], SIZE: model["size"]}
    figures |= {_P50: timing["p50"], _P90: timing["p90"], _P99: timing["p99"]}
    figures |= {FIRST: timing["first"], LOAD: timing["load"]}
    for i, (name, ratio) in enumerate(model["ratios"].items()):
        axis = Axis(f"ratio_{i}", f"× {name}", 30 + i, "low", "×", digits=2, shown=True)
        figures[axis] = ratio
    return Contender(
        model["name"],
        f"{model['runtime']}, {model['precision']}",
        figures,
        model["quality"]["classes"],
        model["quality"].get("confusion", ()),
        "the same",
        notes=weakest(model["quality"]),
    )


def _by_time(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(results["models"], key=lambda model: model["latency"]["p50"]["value"])


def _cards(results: Mapping[str, Any]) -> Html:
    fastest = _by_time(results)[0]
    smallest = min(results["models"], key=lambda model: model["size"]["value"])
    return element(
        "div",
        card("Compared", str(len(results["models"])), f"{len(results['absent'])} not measured"),
        card(
            "Fastest",
            measurement(fastest["latency"]["p50"], count=False).split(" [")[0],
            fastest["name"],
        ),
        card("Smallest", measurement(smallest["size"]), smallest["name"]),
        cls="cards",
    )


def _details(results: Mapping[str, Any]) -> dict[str, str]:
    return {model["name"]: f"{model['runtime']}: {model['detail']}" for model in results["models"]}


def _absent(results: Mapping[str, Any]) -> Html:
    lines = [
        element("li", f"Not measured: {each['name']}: {each['reason']}")
        for each in results["absent"]
    ]
    return element("ul", *lines, cls="notes") if lines else Html("")


def _threads(results: Mapping[str, Any]) -> str:
    return "1 thread" if results["threads"] == 1 else f"{results['threads']} threads"
