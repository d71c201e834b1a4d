"""An evaluation, or a whole run, as an Excel workbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edgecell.disk import read_json
from edgecell.documents import DocumentError
from edgecell.errors import ArtifactError
from edgecell.report import tables
from edgecell.report.records import read_records
from edgecell.rundir import VERBS, RunDir
from edgecell.tasks import task_of_record
from edgecell.toml_document import toml_of, toml_text
from edgecell.workbook import Workbook

_TABLES = (
    *("classes", "confusion", "answers", "reliability", "confidence_histogram"),
    *("examples", "images", "method"),
)


def write_evaluation(
    path: Path, evaluation: Mapping[str, Any], run: RunDir | None, settings: Mapping[str, Any]
) -> Path:
    """The evaluation whose predictions.json lies beside ``path``; its run adds history and settings.

    Raises:
        ArtifactError: a file that should be there is damaged, or the folder cannot be written.
    """
    book = Workbook()
    book.add("Summary", *tables.figures(_without(evaluation, _TABLES)))
    _evaluation(book, evaluation, "")
    if run is not None:
        _history(book, run)
        settings = _config(run)
    book.add("Settings", *tables.settings(settings))
    _predictions(book, path.parent, "")
    return book.save(path)


def write_run(run: RunDir) -> Path:
    """All finished stages of ``run`` as its report.xlsx: what report.html shows, for a spreadsheet.

    Raises:
        ArtifactError: a record is damaged, or the file cannot be written.
    """
    records = read_records(run, VERBS)
    book = Workbook()
    rows = []
    for found in records.values():
        for name, record in found:
            _, figures = tables.figures(_without(record["results"], _TABLES))
            rows += [[name, record["created"], *row] for row in figures]
    book.add("Summary", ["stage", "finished", *tables.FIGURE_COLUMNS], rows)
    evaluations = [record["results"] for _, record in records.get("evaluate", [])]
    for number, evaluation in enumerate(evaluations, start=1):
        _evaluation(book, evaluation, f" {number}" if len(evaluations) > 1 else "")
    for verb, title, make in (
        ("bench", "Benchmark", tables.benchmark),
        ("verify", "Verification", tables.checks),
    ):
        for _, record in records.get(verb, []):
            book.add(title, *make(record["results"]))
    for _, record in records.get("quantize", []):
        book.add("Conversion", *tables.rows_of(record["results"]["models"]))
    _history(book, run)
    book.add("Settings", *tables.settings(_config(run)))
    for number, (name, _) in enumerate(records.get("evaluate", []), start=1):
        _predictions(book, run.stage(name), f" {number}" if len(evaluations) > 1 else "")
    newest = max((r["created"] for found in records.values() for _, r in found), default=None)
    return book.save(
        run.path / "report.xlsx",
        None if newest is None else datetime.strptime(newest, "%Y-%m-%dT%H:%M:%SZ"),
    )


def _evaluation(book: Workbook, evaluation: Mapping[str, Any], number: str) -> None:
    about = {key: evaluation[key] for key in ("model", "split") if key in evaluation}
    if task_of_record(dict(evaluation)).multi_label:
        book.add(f"Labels{number}", *tables.labels(evaluation["classes"], about))
        return
    book.add(f"Classes{number}", *tables.rows_of([row | about for row in evaluation["classes"]]))
    if "confusion" in evaluation:
        book.add(f"Confusion{number}", *tables.confusion(evaluation))


def _predictions(book: Workbook, folder: Path, number: str) -> None:
    path = folder / "predictions.json"
    if path.is_file():
        book.add(f"Predictions{number}", *tables.predictions(read_json(path)))


def _history(book: Workbook, run: RunDir) -> None:
    path = run.stage("train") / "history.json"
    if path.is_file():
        history: Sequence[Mapping[str, Any]] = read_json(path)
        book.add("History", *tables.rows_of(history))


def _config(run: RunDir) -> dict[str, Any]:
    path = run.path / "config.toml"
    try:
        return toml_of(toml_text(path))
    except (OSError, DocumentError) as error:
        raise ArtifactError(f"{path} cannot be read as TOML: {error}") from error


def _without(results: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in results.items() if key not in keys}
