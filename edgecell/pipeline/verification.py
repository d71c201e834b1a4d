"""``edgecell verify``: each converted file against its reference, on val, on test, or on both."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters import audit
from converters.scaling import InputScaling
from converters.verify import VerifyBudget, VerifyReport, require, verify
from edgecell import plots
from edgecell.config import Config, DataConfig, VerifyConfig
from edgecell.data import Dataset
from edgecell.data.duplicates import refuse_overlap
from edgecell.disk import sha256_file
from edgecell.errors import ParityError
from edgecell.lock import claimed
from edgecell.pipeline.evaluation import split_images
from edgecell.pipeline.last_layer import check_last_layer
from edgecell.pipeline.pairing import chosen_on_val, find_pair, source_size_of
from edgecell.pipeline.plausible import doubts
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.retained import write_beside
from edgecell.pipeline.targets import Adjust, Target, data_hash, load_data
from edgecell.progress import Progress
from edgecell.rundir import RunDir
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
        ConfigError: as in :func:`pairing.find_pair`. DataError, ArtifactError: unusable input.
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
        results.append(_entry(entry, report, config.verify.split))
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
        class_margin=settings.class_margin or None,
    )


def verify_images(
    reference: Predictor, target: Target, dataset: Dataset, split: str, progress: Progress
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, H, W, 3) and labels (N,) or (N, C) of one split, or of several joined by '+'."""
    names = split.split("+")
    images = [split_images(reference, target, dataset, name, progress) for name in names]
    labels = [dataset.split(name).labels for name in names]
    return np.concatenate(images), np.concatenate(labels)


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


def _entry(entry: dict[str, Any], report: VerifyReport, split: str) -> dict[str, Any]:
    facts = {
        "file": entry["file"],
        "precision": entry["precision"],
        "sha256": sha256_file(entry["path"]),
    }
    note = _optimistic(entry, split)
    return facts | report.to_json() | ({"notes": [note]} if note else {})


def _optimistic(entry: dict[str, Any], split: str) -> str:
    """What is to be said of a verdict on the images that chose the file, "" where they did not."""
    if not chosen_on_val(entry) or "val" not in split.split("+"):
        return ""
    return f"chosen on val: a verdict on {split} is optimistic; --split test is not"


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
