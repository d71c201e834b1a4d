"""What is known of a .tflite file that is bundled: its run's records, labels, precision, thresholds."""

from __future__ import annotations

from typing import Any

from edgecell.bundle import manifest
from edgecell.data import Dataset
from edgecell.disk import sha256_bytes, sha256_file
from edgecell.errors import ArtifactError, ConfigError
from edgecell.pipeline.lookup import entry_of, trained_labels, verified_against_own
from edgecell.pipeline.pairing import files_of
from edgecell.pipeline.targets import Target, check_classes
from edgecell.preprocess import PreprocessSpec
from edgecell.report.records import read_records
from edgecell.rundir import RunDir
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import task_named

STAGES = ("train", "evaluate", "quantize", "verify", "calibrate", "robustness", "bench")


def subject_of(
    target: Target,
    source: bytes,
    verdict: manifest.Verdict,
    dataset: Dataset | None,
    *,
    licence: str | None,
    intended_use: str | None,
) -> manifest.Subject:
    """The file with the records of its run; labels are the training's, else those of ``dataset``.

    ``source`` is its content, which ``verdict`` is about.

    Raises:
        ConfigError: no labels known. DataError: a data set of other classes. ArtifactError: a damaged
        file, or one with another number of outputs than there are labels.
    """
    predictor = TFLitePredictor(source, name=target.model.name)
    if dataset is not None:
        check_classes(target, predictor.class_count, dataset)
    records, hashes = _records(target.judged)
    labels, task = _labels(target, records, dataset)
    if len(labels) != predictor.class_count:
        raise ArtifactError(
            f"{target.model.name} has {predictor.class_count} outputs and its run {len(labels)} class"
            " names; name the data set it was trained on with --data"
        )
    digest = sha256_bytes(source)
    return manifest.Subject(
        name=target.model.stem,
        source=source,
        predictor=predictor,
        spec=PreprocessSpec.of(target.config.model, *predictor.image_size),
        labels=labels,
        task=task_named(task),
        verdict=verdict,
        precision=_precision(target.judged, digest),
        calibration=entry_of(records.get("calibrate"), digest),
        records=records,
        record_hashes=hashes,
        licence=licence,
        intended_use=intended_use,
    )


def _records(run: RunDir | None) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Stage name → record, and → sha256 of its file."""
    if run is None:
        return {}, {}
    stages = [s for s in STAGES if s != "verify" or verified_against_own(run) is not None]
    found = read_records(run, stages)
    records = {name: record for each in found.values() for name, record in each}
    return records, {name: sha256_file(run.stage(name) / "record.json") for name in records}


def _labels(
    target: Target, records: dict[str, dict[str, Any]], dataset: Dataset | None
) -> tuple[tuple[str, ...], str]:
    """Class names and the task's name: the training's, else the data set's."""
    if "train" in records:
        return trained_labels(records["train"])
    if dataset is not None:
        return dataset.class_names, dataset.task
    raise ConfigError(
        f"the classes of {target.model.name} are not known: it belongs to no run;"
        " name the images it was trained on with --data"
    )


def _precision(run: RunDir | None, digest: str) -> str | None:
    if run is None or not run.has("quantize"):
        return None
    for entry in files_of(run):
        if sha256_file(entry["path"]) == digest:
            return str(entry["precision"])
    return None
