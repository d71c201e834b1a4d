"""``edgecell verify``: each converted file against its reference, on val or on val and test."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters import audit
from converters.scaling import EDGECELL, InputScaling
from converters.verify import VerifyBudget, VerifyReport, require, verify
from edgecell import plots
from edgecell.config import Config, DataConfig, VerifyConfig
from edgecell.data import Dataset
from edgecell.data.duplicates import refuse_overlap
from edgecell.errors import ArtifactError, ConfigError, ParityError
from edgecell.graph import enlarging_operators
from edgecell.lock import claimed
from edgecell.pipeline.evaluation import split_images
from edgecell.pipeline.last_layer import check_last_layer
from edgecell.pipeline.plausible import doubts
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.retained import write_beside
from edgecell.pipeline.targets import (
    Adjust,
    Target,
    data_hash,
    find_run,
    load_data,
    resolve,
    where_to_write,
)
from edgecell.pipeline.vouching import admit
from edgecell.progress import Progress
from edgecell.record import of_our_form
from edgecell.rundir import RunDir, sha256_file
from edgecell.runtime import KerasPredictor, Predictor, TFLitePredictor
from edgecell.tasks import task_named


def verify_target(
    path: Path,
    reference: Path | None,
    adjust: Adjust,
    data: DataConfig | None,
    output: Path | None,
    progress: Progress,
) -> tuple[dict[str, Any], ParityError | None]:
    """Verify a run's files, or one .tflite file; the record, and the error of the first failure.

    The record is written whatever the verdict: that a file failed is a result too.

    Raises:
        ConfigError: a single file without a reference. DataError, ArtifactError: unusable input.
    """
    pair = find_pair(path, reference, output)
    dataset = load_data(pair.subject, data, progress=True)
    config = adjust(pair.subject.config)
    for split in config.verify.split.split("+"):
        refuse_overlap(dataset, split)
    record, failure = verify_in(pair.run, pair.subject, config, pair.files, dataset, progress)
    if pair.subject.run is not None and output is None:
        write_report(pair.subject.run)
    return record, failure


@dataclass(frozen=True)
class Pair:
    """A reference (``subject.model``), the files made from it, and the run to write to.

    ``files`` are the quantize record's entries, each with its ``path``.
    """

    subject: Target
    files: list[dict[str, Any]]
    run: RunDir


def find_pair(path: Path, reference: Path | None, output: Path | None) -> Pair:
    """What to compare: a run's files with its model, or one .tflite file with its reference.

    Raises:
        ConfigError: a single file without a reference, or nowhere to write.
        ArtifactError: nothing there, nothing quantized yet, or a file that was altered since.
    """
    target = resolve(path)
    if target.model.suffix == ".tflite":
        files = [entry_of_file(target)]
        model = reference or (target.run.stage("train") / "model.keras" if target.run else None)
        if model is None:
            raise ConfigError(f"{path} belongs to no run; name the Keras model with --reference")
    else:
        if target.run is None:
            raise ConfigError(f"{path} is a Keras model; give a run, or a .tflite with --reference")
        files = files_of(target.run)
        model = reference or target.model
    if reference is not None and reference.exists():
        admit(reference, find_run(reference))
    run = where_to_write(target, output)
    return Pair(Target(model, target.run, target.config), files, run)


def files_of(run: RunDir) -> list[dict[str, Any]]:
    """The quantize record's entries, each with its ``path``.

    Raises:
        ArtifactError: nothing quantized yet, or a file that was altered since.
    """
    record = run.check_outputs("quantize")
    with of_our_form(f"{run.path}: the record of quantize"):
        found = [
            entry | {"path": run.stage("quantize") / entry["file"]}
            for entry in record["results"]["models"]
        ]
        unknown = [e["file"] for e in found if f"quantize/{e['file']}" not in record["outputs"]]
        if unknown:
            raise ValueError(f"no hash of {unknown[0]}")
        return found


def verify_in(
    run: RunDir,
    target: Target,
    config: Config,
    files: list[dict[str, Any]],
    dataset: Dataset,
    progress: Progress,
) -> tuple[dict[str, Any], ParityError | None]:
    """Verify ``files`` against ``target.model`` and record every verdict in ``run``.

    Raises:
        BusyError: another process verifies in ``run``. ArtifactError: a file was replaced meanwhile.
    """
    with claimed(run.path, "verify"):
        read = ReadFiles([target.model, *(entry["path"] for entry in files)])
        results, pictures, failure = _judged(run, target, config, files, dataset, progress)
        record = write_beside(
            run,
            "verify",
            read,
            images=data_hash(dataset, config.verify.split),
            pictures=pictures,
            config=asdict(config.verify),
            results=results,
            progress=progress,
        )
    return record, failure


def _judged(
    run: RunDir,
    target: Target,
    config: Config,
    files: list[dict[str, Any]],
    dataset: Dataset,
    progress: Progress,
) -> tuple[dict[str, Any], list[Path], ParityError | None]:
    """The record's results about ``files``, the pictures drawn of them, and the first failure."""
    reference = KerasPredictor(target.model)
    check_last_layer(target, reference, dataset)
    images, labels = verify_images(reference, target, dataset, config.verify.split, progress)
    notes = _doubts(target.run, dataset, config.verify.split, images, progress)
    budget = budget_of(config.verify)
    folder = run.stage("verify")
    results, pictures, failure = [], [], None
    opened = [TFLitePredictor(entry["path"], threads=0) for entry in files]
    shown = [
        shown_to(converted, entry, target, dataset, config.verify.split, progress)
        for converted, entry in zip(opened, files, strict=True)
    ]
    progress.begin("verifying", len(files))
    for count, (entry, converted, own) in enumerate(zip(files, opened, shown, strict=True), 1):
        path = entry["path"]
        structure = audit.audit(
            path.read_bytes(),
            entry["precision"],
            entry["input_type"],
            scaling=InputScaling(**entry["scaling"]),
            source_size=source_size_of(entry),
            name=path.name,
        )
        report = verify(
            reference,
            converted,
            images,
            labels,
            dataset.class_names,
            budget,
            structure,
            shown=own,
            ordinal=task_named(dataset.task).ordinal,
        )
        results.append(_entry(entry, report))
        pictures += _pictures(report, folder / path.stem)
        progress.advance(count, f"{path.name}: {report.verdict}")
        failure = failure or _failure(report)
    found = {"split": config.verify.split, "models": results, "notes": notes}
    return found, pictures, failure


def _doubts(
    run: RunDir | None, dataset: Dataset, split: str, images: NDArray[np.uint8], progress: Progress
) -> list[str]:
    """What to say of the images of one split, or of several joined by '+', as they stand in a row."""
    lines, start = [], 0
    for name in split.split("+"):
        count = len(dataset.split(name))
        lines += doubts(run, dataset, name, images[start : start + count], progress)
        start += count
    return lines


def budget_of(settings: VerifyConfig) -> VerifyBudget:
    """The settings as the converter knows them."""
    return VerifyBudget(
        settings.max_accuracy_drop,
        settings.max_f1_drop,
        margin=settings.margin,
        alpha=settings.alpha,
        require_equivalence=settings.require_equivalence,
        max_auc_drop=settings.max_auc_drop,
        max_label_auc_drop=settings.max_label_auc_drop,
    )


def verify_images(
    reference: Predictor, target: Target, dataset: Dataset, split: str, progress: Progress
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, H, W, 3) and labels (N,) or (N, C) of one split, or of several joined by '+'."""
    names = split.split("+")
    images = [split_images(reference, target, dataset, name, progress) for name in names]
    labels = [dataset.split(name).labels for name in names]
    return np.concatenate(images), np.concatenate(labels)


def source_size_of(entry: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of the images that a file enlarges by itself; None of one that does not."""
    found = entry.get("source_size")
    return None if found is None else (int(found[0]), int(found[1]))


def shown_to(
    converted: Predictor,
    entry: dict[str, Any],
    target: Target,
    dataset: Dataset,
    split: str,
    progress: Progress,
) -> NDArray[np.uint8] | None:
    """The images of :func:`verify_images` for a file that resizes by itself; None for any other."""
    if source_size_of(entry) is None:
        return None
    return verify_images(converted, target, dataset, split, progress)[0]


def _entry(entry: dict[str, Any], report: VerifyReport) -> dict[str, Any]:
    facts = {
        "file": entry["file"],
        "precision": entry["precision"],
        "sha256": sha256_file(entry["path"]),
    }
    return facts | report.to_json()


def _failure(report: VerifyReport) -> ParityError | None:
    try:
        require(report)
    except ParityError as error:
        return error
    return None


def _pictures(report: VerifyReport, stem: Path) -> list[Path]:
    if report.gate is None:
        return []
    intervals = plots.gate_intervals(report.gate.to_json())
    return [
        _drops(report, stem),
        plots.save(intervals, stem.with_name(f"{stem.name}-gate.png")),
    ]


def _drops(report: VerifyReport, stem: Path) -> Path:
    """What each class lost of its F1, or each label of its AUC, as a picture."""
    score, allowed = "F1", report.budget.max_f1_drop
    if any(row.auc_drop is not None for row in report.classes):
        score, allowed = "AUC", report.budget.max_label_auc_drop
    key = score.lower()
    rows = [
        {
            "name": row.name,
            "reference": getattr(row, f"reference_{key}"),
            "converted": getattr(row, f"converted_{key}"),
            "drop": getattr(row, f"{key}_drop"),
            "passed": row.passed is not False,
        }
        for row in report.classes
        if getattr(row, f"{key}_drop") is not None
    ]
    figure = plots.score_drops(rows, score=score, allowed=allowed)
    return plots.save(figure, stem.with_name(f"{stem.name}-{key}-drop.png"))


def entry_of_file(target: Target) -> dict[str, Any]:
    """The quantize entry of one file: from its run's record, else from what its name says."""
    path = target.model
    if target.run is not None and target.run.has("quantize"):
        for entry in files_of(target.run):
            if entry["path"].resolve() == path.resolve():
                return entry
    named = [p for p in ("float32", "float16", "dynamic", "int16x8", "int8") if p in path.stem]
    if not named:
        raise ArtifactError(
            f"{path.name} is in no quantize record and its name holds no precision; name it like"
            " 'x-int8.tflite'"
        )
    predictor = TFLitePredictor(path)
    entry = {
        "file": path.name,
        "path": path,
        "precision": named[0],
        "input_type": predictor.input_dtype.name,
        "scaling": EDGECELL.to_json(),
    }
    if enlarging_operators(predictor.file):
        entry["source_size"] = list(predictor.image_size)
    return entry
