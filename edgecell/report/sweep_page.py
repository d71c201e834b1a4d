"""A sweep as one self-contained page to work with: ``sweep.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_text
from edgecell.errors import ArtifactError
from edgecell.report import interactive as parts
from edgecell.report.contenders import (
    ACCURACY,
    LABEL_ACCURACY,
    MACRO_F1,
    MEAN_AUC,
    SIZE,
    Axis,
    Contender,
    of_quality,
    weakest,
)
from edgecell.report.elements import element, facts, section
from edgecell.report.page import page
from edgecell.report.sweep import answer_part, notes_part, sweep_headline, warnings_part
from edgecell.tasks import Task, task_of_record

_LINKS = [
    ("answer", "Answer"),
    ("figures-table", "Cells"),
    ("tradeoff", "Trade-off"),
    ("classes", "Classes"),
    ("confusion", "Confusion"),
    ("machine", "Machine"),
]
P50 = Axis("p50_1", "p50, 1 thread", 10, "low", "ms", shown=True)
P90 = Axis("p90_1", "p90, 1 thread", 20, "low", "ms")
RATIO = Axis("ratio", "× reference", 40, "low", "× the reference", digits=2, shown=True)
SIDE = Axis("image_size", "Input side", 60, "", "pixels", digits=0)
ALPHA = Axis("alpha", "Alpha", 61, "", digits=2)
_SCORES = {"auc": MEAN_AUC, "macro_f1": MACRO_F1, "accuracy": ACCURACY}
SHARE = Axis("front_share", "On the front in", 62, "high", "%", 100.0, 0, shown=True)


def write_sweep_page(path: Path, name: str, results: Mapping[str, Any]) -> Path:
    """Write the page of a sweep's results; returns ``path``.

    Raises:
        ArtifactError: the results lack a part, or the file cannot be written.
    """
    atomic_write_text(path, render_sweep(name, results))
    return path


def render_sweep(name: str, results: Mapping[str, Any]) -> str:
    """The page as one HTML document; ``results`` as in sweep.json.

    Raises:
        ArtifactError: the results lack a part.
    """
    try:
        return _render(name, results)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ArtifactError(
            f"the results of this sweep cannot be shown ({type(error).__name__}: {error});"
            " run 'edgecell sweep' again"
        ) from error


def _render(name: str, results: Mapping[str, Any]) -> str:
    task = task_of_record(results)
    contenders = [_contender(cell, task) for cell in results["cells"]]
    there = [each for each in contenders if each.classes]
    bodies = [
        section("Answer", "answer", *warnings_part(results), answer_part(results)),
        section(
            "All cells",
            "figures-table",
            parts.figures_table(contenders, name="Cell"),
            notes_part(results),
            lead=f"On the same {results['val_images']:,} val images. A heading sorts by its column.",
        ),
    ]
    links = _LINKS[:2]
    if there:
        bodies += [
            parts.chart_section(contenders),
            parts.heat_section(there),
            *([] if task.multi_label else [parts.confusion_section(there)]),
            section("Machine", "machine", facts(results["host"])),
        ]
        links = [link for link in _LINKS if link[0] != "confusion" or not task.multi_label]
    cards = element("div", *sweep_headline(results), cls="cards")
    data = None
    if there:
        data = parts.embedded(parts.payload(contenders, x=SIZE, y=_SCORES[results["by"]]))
    return page(name, "edgecell sweep", cards, links, bodies, data=data)


def _contender(cell: Mapping[str, Any], task: Task) -> Contender:
    quality = cell["quality"]
    figures: dict[Axis, Mapping[str, Any]] = {}
    if quality is not None:
        figures |= of_quality(quality)
    elif task.multi_label:
        figures |= {MEAN_AUC: cell["auc"], LABEL_ACCURACY: cell["accuracy"]}
    else:
        figures |= {ACCURACY: cell["accuracy"], MACRO_F1: cell["macro_f1"]}
    figures |= {SIZE: cell["size"], P50: cell["p50"], P90: cell["p90"], RATIO: cell["ratio"]}
    figures[SHARE] = cell["front_share"]
    figures[SIDE] = {"value": cell["image_size"], "unit": "count"}
    if cell["alpha"] is not None:
        figures[ALPHA] = {"value": cell["alpha"], "unit": "1"}
    return Contender(
        cell["name"],
        cell["precision"],
        figures,
        [] if quality is None else quality["classes"],
        [] if quality is None or task.multi_label else quality["confusion"],
        "val",
        cell["passed"],
        weakest(quality) if quality is not None and task.multi_label else {},
    )
