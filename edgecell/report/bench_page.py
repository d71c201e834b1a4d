"""A bench as one self-contained page to work with: ``bench.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.errors import ArtifactError
from edgecell.report import interactive as parts
from edgecell.report.bench import headline, more
from edgecell.report.contenders import of_bench
from edgecell.report.elements import details, element, facts, section
from edgecell.report.page import page
from edgecell.rundir import atomic_write_text

LINKS = [
    ("figures-table", "Figures"),
    ("tradeoff", "Trade-off"),
    ("classes", "Classes"),
    ("confusion", "Confusion"),
    ("machine", "Machine"),
]


def write_bench_page(path: Path, name: str, results: Mapping[str, Any]) -> Path:
    """Write the page of a bench's results; returns ``path``.

    Raises:
        ArtifactError: the results lack a part, or the file cannot be written.
    """
    atomic_write_text(path, render_bench(name, results))
    return path


def render_bench(name: str, results: Mapping[str, Any]) -> str:
    """The page as one HTML document; ``results`` as in bench.json.

    Raises:
        ArtifactError: the results lack a part.
    """
    try:
        return _render(name, results)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ArtifactError(
            f"the results of this bench cannot be shown ({type(error).__name__}: {error});"
            " run 'edgecell bench' again"
        ) from error


def _render(name: str, results: Mapping[str, Any]) -> str:
    contenders = [of_bench(model, images="the same") for model in results["models"]]
    bodies = [
        section(
            "All figures",
            "figures-table",
            *(element("div", f"Warning: {line}", cls="warning") for line in results["warnings"]),
            parts.figures_table(contenders),
            element("ul", *(element("li", note) for note in results["notes"]), cls="notes"),
            lead=f"All files on the same {results['images']:,} test images and the same machine. "
            "A heading sorts by its column.",
        ),
        parts.chart_section(contenders),
        parts.heat_section(contenders),
        parts.confusion_section(contenders),
        section(
            "Machine and method",
            "machine",
            facts(results["host"]),
            details("Memory, opening times and spread", more(results["models"])),
            details("Options", facts(results["options"])),
        ),
    ]
    cards = element("div", *headline(dict(results), {}), cls="cards")
    data = parts.embedded(parts.payload(contenders))
    return page(name, "edgecell benchmark", cards, LINKS, bodies, data=data)
