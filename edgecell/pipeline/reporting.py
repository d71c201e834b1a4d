"""``RUN/report.html``: everything a run knows, in one file."""

from __future__ import annotations

from pathlib import Path

from edgecell.report import write
from edgecell.rundir import RunDir


def write_report(run: RunDir) -> Path:
    """Render the records and pictures of ``run`` into its ``report.html``."""
    return write(run)


def open_run(path: Path) -> RunDir:
    """An existing run folder; ArtifactError when there is none."""
    return RunDir.open(path)
