"""``edgecell compare``, and ``edgecell bench --against``: models of several benches side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison import compare
from benchmarks.regression import Limits, check_images, judge, parse_limits
from benchmarks.sources import Source, of_results, read_bench, read_sources
from edgecell.disk import atomic_write_json, sha256_bytes
from edgecell.errors import RegressionError
from edgecell.record import of_our_form
from edgecell.report.comparison import write_comparison_page

FOLDER = Path("artifacts") / "compare"


def compare_paths(
    paths: list[Path], baseline: str | None, output: Path | None
) -> tuple[dict[str, Any], Path]:
    """Compare what lies at ``paths``; the comparison, and the folder of compare.html and compare.json.

    Raises:
        ConfigError: no or unclear baseline, fewer than two models. ArtifactError: nothing that can be
        compared at a path, or the folder cannot be written.
    """
    sources = read_sources(paths)
    labels = list(dict.fromkeys(source.label.replace("/", "-") for source in sources))
    folder = output or FOLDER / "-and-".join(labels[:3])
    with of_our_form(f"a record of {' or '.join(map(str, paths))}"):
        comparison = compare(sources, baseline)
        write_comparison_page(folder / "compare.html", " and ".join(labels), comparison)
    atomic_write_json(folder / "compare.json", comparison)
    return comparison, folder


@dataclass(frozen=True)
class Against:
    """An earlier bench that a new one must not be worse than."""

    path: Path
    source: Source
    limits: Limits

    def check_images(self, images: str) -> None:
        """Refuse, before anything is measured, what would compare other images."""
        check_images(self.source, self.path.name, images)

    def settings(self) -> dict[str, Any]:
        """What a record says of it."""
        limits = {f"max_{name}_regress": value for name, value in vars(self.limits).items()}
        models = json.dumps(self.source.models, sort_keys=True)
        return {"against": sha256_bytes(models.encode()), **limits}

    def judge(self, results: dict[str, Any]) -> dict[str, Any]:
        """The regression part of a bench's results."""
        return judge(of_results("this bench", results), self.source, self.limits)


def against(path: Path, limits: Sequence[str]) -> Against:
    """The bench at ``path`` and the limits as typed.

    Raises:
        ConfigError: a limit that is none. ArtifactError: no bench at ``path``.
    """
    return Against(path, read_bench(path), parse_limits(limits))


def failure(results: dict[str, Any]) -> RegressionError | None:
    """The error that a bench ends with where something regressed."""
    found = results.get("regression", {"findings": []})
    worse = [finding for finding in found["findings"] if finding["verdict"] == "regressed"]
    if not worse:
        return None
    said = "; ".join(f"{f['quantity']} of {f['model']}: {f['said']}" for f in worse)
    return RegressionError(
        f"{len(worse)} of {len(found['findings'])} figures are worse than the baseline's: {said}."
        " Mend it, or make this bench the new baseline"
    )
