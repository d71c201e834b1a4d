"""``RUN/report.html``: everything a run knows, in one file."""

from __future__ import annotations

from pathlib import Path

from edgecell.lock import claimed
from edgecell.record import of_our_form
from edgecell.report import write
from edgecell.report.excel import write_run
from edgecell.rundir import RunDir

_PATIENCE = 60.0  # seconds; a report takes about one


def write_report(run: RunDir) -> Path:
    """Render the records and pictures of ``run`` into its ``report.html``.

    Of verbs that end together one waits for the other, so that the last report has what all of them found.

    Raises:
        ArtifactError: a record or picture is damaged, or the file cannot be written. BusyError: another
        process has been at the report for a minute.
    """
    with claimed(run.path, "report", _PATIENCE), of_our_form(f"a record of {run.path}"):
        return write(run)


def write_workbook(run: RunDir) -> Path:
    """The same for a spreadsheet: ``report.xlsx``."""
    with of_our_form(f"a record of {run.path}"):
        return write_run(run)


def open_run(path: Path) -> RunDir:
    """An existing run folder; ArtifactError when there is none."""
    return RunDir.open(path)
