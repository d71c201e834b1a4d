"""What a run's records say of one model file: verdict, labels, task, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.disk import sha256_file
from edgecell.record import of_our_form
from edgecell.rundir import TRAINED, RunDir
from edgecell.tasks import MULTI_CLASS, TASKS


def trained_hash(run: RunDir) -> str | None:
    """sha256 of the model that ``run`` trained: as its record names it, else of the file; None of no model."""
    if run.has("train"):
        recorded = run.read_record("train")["outputs"].get(TRAINED)
        if recorded is not None:
            return str(recorded)
    model = run.path / TRAINED
    return sha256_file(model) if model.is_file() else None


def conversion_at(path: Path) -> RunDir | None:
    """The folder ``path`` where it is no run, but holds what ``quantize --output`` wrote; else None."""
    home = RunDir(path)
    return home if home.has("quantize") and not (path / "config.toml").is_file() else None


def judged_in(model: Path, run: RunDir | None) -> RunDir | None:
    """Where verdicts on the file ``model`` are: in its ``run``, else beside what ``quantize --output`` wrote."""
    folder = model.resolve().parent
    if run is None and folder.name == "quantize":
        return conversion_at(folder.parent)
    return run


def verified_against_own(run: RunDir) -> dict[str, Any] | None:
    """The record of verify where its reference is the model that ``run`` trained; None without one.

    In a folder without a training that is the model from elsewhere that was converted. What another
    reference said, or the model of a training before, is no verdict on the run's files.
    """
    if not run.has("verify"):
        return None
    record, trained = run.read_record("verify"), trained_hash(run)
    own = _converted_hashes(run) if trained is None else {trained}
    # By its hash: of a reference from elsewhere, the same bytes, the record holds the bare name.
    return record if not own or own & set(record["inputs"].values()) else None


def _converted_hashes(run: RunDir) -> set[str]:
    """sha256 of what ``quantize`` converted in ``run``; empty where it did nothing."""
    read = run.read_record("quantize")["inputs"] if run.has("quantize") else {}
    return {str(digest) for name, digest in read.items() if not name.startswith("data:")}


def passing_hashes(run: RunDir) -> dict[str, bool]:
    """sha256 of each verified file → whether it passed; empty when nothing was verified."""
    record = verified_against_own(run)
    if record is None:
        return {}
    with of_our_form(f"{run.path}: the record of verify"):
        return {entry["sha256"]: bool(entry["passed"]) for entry in record["results"]["models"]}


def verdict_on(run: RunDir | None, digest: str) -> str:
    """What verify said of the file with this sha256: "passed", "failed" or "not verified"."""
    hashes = passing_hashes(run) if run else {}
    if digest not in hashes:
        return "not verified"
    return "passed" if hashes[digest] else "failed"


def trained_labels(train: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """Class names and the task's name of a train record."""
    with of_our_form("the record of train"):
        results = train["results"]
        names, task = results["class_names"], results["data"].get("task", MULTI_CLASS)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("class_names is no list of texts")
        if task not in TASKS:
            raise ValueError(f"no task {task!r}")
        return tuple(names), task


def entry_of(record: dict[str, Any] | None, digest: str) -> dict[str, Any] | None:
    """What a stage recorded of the file with this sha256; None without a record or an entry."""
    with of_our_form("the record of a stage"):
        models = record["results"]["models"] if record else []
        return next((entry for entry in models if entry["sha256"] == digest), None)
