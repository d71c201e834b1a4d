"""A bench as one self-contained page to work with: ``bench.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_text
from edgecell.errors import ArtifactError
from edgecell.report import interactive as parts
from edgecell.report.bench import agreement, headline, more, notes, on_host
from edgecell.report.comparison import regression_section
from edgecell.report.contenders import of_bench
from edgecell.report.elements import details, element, facts, section
from edgecell.report.page import page

LINKS = [
    ("figures-table", "Figures"),
    ("regression", "Baseline"),
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
    # Some devices give no outputs, and several labels to an image have no one matrix.
    answered = any(each.confusion for each in contenders)
    where = "the same machine"
    if not on_host(results):
        where = f"{results['device']['kind']}, {results['device']['name']}"
    bodies = [
        section(
            "All figures",
            "figures-table",
            *(element("div", f"Warning: {line}", cls="warning") for line in results["warnings"]),
            parts.figures_table(contenders),
            "" if on_host(results) else agreement(results["models"]),
            notes(results),
            lead=f"All files on the same {results['images']:,} test images and {where}. "
            "A heading sorts by its column.",
        ),
        *([regression_section(results["regression"])] if "regression" in results else []),
        parts.chart_section(contenders),
        parts.heat_section(contenders),
        *([parts.confusion_section(contenders)] if answered else []),
        section(
            "Machine and method",
            "machine",
            facts(results["host"]),
            details("Memory, opening times and spread", more(results["models"])),
            details("Options", facts(results["options"])),
        ),
    ]
    cards = element("div", *headline(dict(results), {}), cls="cards")
    there = {"confusion": answered, "regression": "regression" in results}
    links = [link for link in LINKS if there.get(link[0], True)]
    data = parts.embedded(parts.payload(contenders))
    return page(name, "edgecell benchmark", cards, links, bodies, data=data)
