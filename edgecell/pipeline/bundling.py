"""``edgecell bundle``: a verified model as a folder and a zip that an app team can ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecell.bundle import golden, manifest, writer
from edgecell.bundle.metadata import metadata
from edgecell.bundle.readme import readme
from edgecell.bundle.targets import chosen
from edgecell.config import DataConfig
from edgecell.data import Dataset
from edgecell.errors import ArtifactError, ConfigError, ConvertError, ParityError
from edgecell.pipeline.lookup import entry_of, trained_labels, verdict_on
from edgecell.pipeline.targets import Target, check_classes, data_hash, load_data, resolve
from edgecell.pipeline.verification import files_of
from edgecell.preprocess import PreprocessSpec, resize
from edgecell.progress import Progress
from edgecell.record import envelope
from edgecell.report import card_text
from edgecell.report.card import card
from edgecell.report.records import read_records
from edgecell.rundir import (
    RunDir,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    environment,
    sha256_bytes,
    sha256_file,
    utc_now,
)
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import task_named
from edgecell.tflite_file import read_bytes
from edgecell.tflite_metadata import attach

STAGES = ("train", "evaluate", "quantize", "verify", "calibrate", "robustness", "bench")


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for.

    ``images`` is "val" for golden images of the data set's val split, "synthetic" for drawn ones.
    """

    target: str = "all"
    images: str = "val"
    unverified: bool = False
    licence: str | None = None
    intended_use: str | None = None


@dataclass(frozen=True)
class Bundled:
    """The folder, the zip and the record of a bundle."""

    folder: Path
    archive: Path
    record: dict[str, Any]


def bundle_model(
    path: Path, wishes: Wishes, data: DataConfig | None, output: Path | None, progress: Progress
) -> Bundled:
    """Write the bundle of one .tflite file, its zip and the record, in this order.

    Raises:
        ConfigError: no .tflite, no labels known, or a folder in the way. DataError: the images cannot be
        used. ParityError: the file failed verify. ArtifactError: it was never verified, or is damaged.
        ConvertError: an input that cannot be stated.
    """
    target = resolve(path)
    if target.model.suffix != ".tflite":
        raise ConfigError(
            f"{target.model} is no .tflite file; bundle takes one converted model,"
            " such as RUN/quantize/X-int8.tflite"
        )
    verdict = verdict_on(target.run, sha256_file(target.model))
    _refuse(target, verdict, wishes.unverified)
    dataset = None
    if wishes.images == "val":
        dataset = _images(target, data, progress)
    subject = _subject(target, verdict, dataset, wishes)
    root = _where(target, output)
    name = f"{subject.name}-{wishes.target}"
    folder, archive = root / name, root / f"{name}.zip"
    progress.begin("bundling", 3)
    with writer.fresh_folder(folder) as scratch:
        model = _write(scratch, subject, dataset, wishes, progress)
    progress.advance(2)
    writer.write_zip(folder, archive)
    progress.advance(3)
    record = _record(root, target, dataset, wishes, subject, (folder, archive), model)
    return Bundled(folder, archive, record)


def _where(target: Target, output: Path | None) -> Path:
    if output is not None:
        return output
    if target.run is None:
        raise ConfigError(f"{target.model} belongs to no run; say where to write with --output DIR")
    return target.run.stage("bundle")


def _refuse(target: Target, verdict: manifest.Verdict, allowed: bool) -> None:
    if verdict == "passed" or allowed:
        return
    rest = "or add --unverified, which the bundle will say in model.json, README and card"
    if verdict == "failed":
        raise ParityError(
            f"{target.model.name} failed verify against its reference; convert it again, {rest}"
        )
    raise ArtifactError(
        f"{target.model.name} (sha256 {sha256_file(target.model)[:12]}…) is in no passing verify record;"
        f" run 'edgecell verify' first, {rest}"
    )


def _images(target: Target, data: DataConfig | None, progress: Progress) -> Dataset | None:
    """The data set to take golden images from; None for a file without one."""
    if target.run is None and data is None:
        progress.say("note: no images are known (--data), so the golden images are drawn")
        return None
    return load_data(target, data, progress=True)


def _subject(
    target: Target, verdict: manifest.Verdict, dataset: Dataset | None, wishes: Wishes
) -> manifest.Subject:
    source = read_bytes(target.model)
    predictor = TFLitePredictor(source, name=target.model.name)
    if dataset is not None:
        check_classes(target, predictor.class_count, dataset)
    records, hashes = _records(target.run)
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
        spec=PreprocessSpec(*predictor.image_size, target.config.model.fit),
        labels=labels,
        task=task_named(task),
        verdict=verdict,
        precision=_precision(target, digest),
        calibration=entry_of(records.get("calibrate"), digest),
        records=records,
        record_hashes=hashes,
        licence=wishes.licence,
        intended_use=wishes.intended_use,
    )


def _records(run: RunDir | None) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Stage name → record, and → sha256 of its file."""
    if run is None:
        return {}, {}
    found = read_records(run, STAGES)
    records = {name: record for stages in found.values() for name, record in stages}
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


def _precision(target: Target, digest: str) -> str | None:
    if target.run is None or not target.run.has("quantize"):
        return None
    for entry in files_of(target.run):
        if sha256_file(entry["path"]) == digest:
            return str(entry["precision"])
    return None


def _write(
    scratch: Path,
    subject: manifest.Subject,
    dataset: Dataset | None,
    wishes: Wishes,
    progress: Progress,
) -> dict[str, Any]:
    """All files of the bundle, model.json last; its content."""
    model = manifest.model_json(subject, golden.COUNT)
    data = attach(subject.source, metadata(subject, model))
    manifest.shipped(model, data)
    atomic_write_bytes(scratch / manifest.MODEL_FILE, data)
    atomic_write_text(scratch / manifest.LABELS_FILE, "\n".join(subject.labels) + "\n")
    predictor = TFLitePredictor(data, name=manifest.MODEL_FILE)
    images = golden.gather(
        predictor,
        subject.spec,
        dataset.val if dataset else None,
        model["decision"]["abstention"]["threshold"],
    )
    _same_answers(subject, predictor, images)
    source = f"{dataset.name}, val" if dataset else "drawn"
    golden.write(
        (scratch / manifest.GOLDEN_FILE).parent,
        images,
        predictor,
        subject.spec,
        subject.labels,
        {
            "model_sha256": model["model"]["sha256"],
            "images": source,
            "made_with": _made_with(predictor),
        },
    )
    progress.advance(1)
    targets = chosen(wishes.target)
    atomic_write_text(scratch / "README.md", readme(model, targets, source))
    known = card(model, subject.records)
    atomic_write_text(scratch / "MODEL_CARD.md", card_text.markdown(known))
    atomic_write_text(scratch / "MODEL_CARD.html", card_text.html(known))
    writer.add_samples(scratch, targets, model)
    model["files"] = writer.file_hashes(scratch)
    atomic_write_json(scratch / "model.json", model)
    return model


def _same_answers(
    subject: manifest.Subject, predictor: TFLitePredictor, images: list[golden.Golden]
) -> None:
    """ConvertError unless the file with metadata gives the verified file's outputs, bit for bit."""
    pixels = np.stack([resize(image.pixels, subject.spec) for image in images])
    expected, found = subject.predictor.raw(pixels), predictor.raw(pixels)
    if not np.array_equal(expected, found):
        raise ConvertError(
            f"{subject.name} answers otherwise with metadata than without on"
            f" {np.any(expected != found, axis=1).sum()} of {len(images)} images; nothing was written"
        )


def _made_with(predictor: TFLitePredictor) -> dict[str, Any]:
    facts = environment()
    return {
        "ai-edge-litert": facts["packages"]["ai-edge-litert"],
        "machine": facts["machine"],
        "delegate": predictor.delegation().label,
        "threads": predictor.threads,
    }


def _record(
    root: Path,
    target: Target,
    dataset: Dataset | None,
    wishes: Wishes,
    subject: manifest.Subject,
    written: tuple[Path, Path],
    model: dict[str, Any],
) -> dict[str, Any]:
    home = RunDir(target.run.path if target.run and root == target.run.stage("bundle") else root)
    folder, archive = written
    inputs = {home.relative(target.model): sha256_bytes(subject.source)}
    record = envelope(
        "bundle",
        created=utc_now(),
        inputs=inputs | (data_hash(dataset, "val") if dataset else {}),
        outputs={home.relative(p): sha256_file(p) for p in written},
        environment=environment(),
        config={
            "target": wishes.target,
            "golden": wishes.images,
            "unverified": wishes.unverified,
            "licence": wishes.licence,
            "intended_use": wishes.intended_use,
        },
        results={
            "name": folder.name,
            "archive": archive.name,
            "targets": chosen(wishes.target),
            "verified": model["verified"]["status"],
            "model_sha256": model["model"]["sha256"],
            "verified_sha256": model["model"]["verified_sha256"],
            "archive_bytes": archive.stat().st_size,
            "files": len(model["files"]) + 1,
        },
    )
    atomic_write_json(root / "record.json", record)
    return record
