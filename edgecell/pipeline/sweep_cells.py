"""One network of a sweep: train, quantize, verify, and measure each file's quality on val."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.footprint import file_sizes
from edgecell import disk
from edgecell.config import Config
from edgecell.data import Dataset
from edgecell.errors import ArtifactError
from edgecell.evaluate import evaluate
from edgecell.pipeline.evaluation import split_images
from edgecell.pipeline.pairing import files_of
from edgecell.pipeline.running import is_verified, quantize_anew
from edgecell.pipeline.targets import Target, data_hash
from edgecell.pipeline.training import train_run
from edgecell.pipeline.verification import verify_in
from edgecell.progress import Progress
from edgecell.rundir import RunDir
from edgecell.runtime import TFLitePredictor

STAGE = "cells"
ANSWERS = "answers.npz"
_QUALITY = ("accuracy", "macro_f1", "auc", "ece", "worst_class", "classes", "confusion")
_OF_LABELS = (
    *("task", "auc", "accuracy", "exact_match", "macro_f1", "average_precision", "ece"),
    *("worst_class", "classes"),
)


def make_cells(config: Config, run: RunDir, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """Bring a network's stages up to date, each as far as it is not; the record of its cells.

    Its results hold a cell for each file, with ``quality`` on val by LiteRT, on the code path that is
    timed. A file that verify refuses is a cell too, marked as refused.

    Raises:
        EdgecellError: whatever a stage refuses.
    """
    train_run(config, run, progress, dataset)
    target = Target(run.stage("train") / "model.keras", run, config)
    quantize_anew(run, target, config, dataset, progress)
    files = files_of(run)
    if not is_verified(run, target, config, files, dataset):
        verify_in(run, target, config, files, dataset, progress)
    wanted = (*config.quantize.precisions, "mixed")
    files = [entry for entry in files if entry["precision"] in wanted]
    paths = [entry["path"] for entry in files]
    settings = {"split": "val", "files": [path.name for path in paths]}
    hashes = data_hash(dataset, "val")
    if run.is_current(STAGE, inputs=paths, config=settings, input_hashes=hashes):
        progress.say("quality on val: unchanged, skipped")
        return run.read_record(STAGE)
    verdicts = {entry["file"]: entry for entry in run.read_record("verify")["results"]["models"]}
    cells: list[dict[str, Any]] = []
    answers: dict[str, Any] = {}
    for entry in files:
        path = entry["path"]
        figures, answers[path.stem] = _measure(path, target, dataset, progress)
        cells.append(
            {
                "name": path.stem,
                "file": path.name,
                "sha256": disk.sha256_file(path),
                "network": config.name,
                "model": config.model.name,
                "alpha": config.model.alpha,
                "image_size": config.model.image_size,
                "precision": entry["precision"],
                "method": entry.get("method"),
                "passed": verdicts[path.name]["passed"],
                "verdict": verdicts[path.name]["verdict"],
                "size": file_sizes(path)["size"],
                "quality": figures,
            }
        )
    folder = run.stage(STAGE)
    stored = io.BytesIO()
    np.savez_compressed(stored, labels=dataset.val.labels, **answers)
    disk.atomic_write_bytes(folder / ANSWERS, stored.getvalue())
    return run.write_record(
        STAGE,
        inputs=paths,
        input_hashes=hashes,
        outputs=[folder / ANSWERS],
        config=settings,
        results=({"task": dataset.task} if dataset.val.multi_label else {})
        | {
            "val_images": len(dataset.val),
            "class_names": list(dataset.class_names),
            "cells": cells,
        },
    )


def read_cells(run: RunDir, precisions: Sequence[str]) -> dict[str, Any] | None:
    """The record of a network's cells where those of ``precisions`` are there and unaltered, else None."""
    if not run.has(STAGE):
        return None
    try:
        run.check_outputs("quantize")
        run.check_outputs("verify")
        record = run.check_outputs(STAGE)
    except ArtifactError:
        return None  # a file is gone or was changed: the cells are to be made again
    cells = record["results"]["cells"]
    if not set(precisions) <= {cell["precision"] for cell in cells}:
        return None
    files = {cell["file"]: cell["sha256"] for cell in cells}
    there = {name: run.stage("quantize") / name for name in files}
    if any(not path.is_file() or disk.sha256_file(path) != files[n] for n, path in there.items()):
        return None
    return record


def answers_of(run: RunDir, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Labels of val (N,) and the class that a cell said for each image, int64 (N,).

    Of several labels to an image: labels (N, C), and the cell's probabilities, float32 (N, C).
    """
    with np.load(run.stage(STAGE) / ANSWERS) as stored:
        return stored["labels"], stored[name]


def _measure(
    path: Path, target: Target, dataset: Dataset, progress: Progress
) -> tuple[dict[str, Any], NDArray[Any]]:
    """Quality of one file on val, and its answers as :func:`answers_of` gives them."""
    predictor = TFLitePredictor(path, threads=0)
    images = split_images(predictor, target, dataset, "val", progress)
    probabilities = predictor.predict(images)
    found = evaluate(probabilities, dataset.val.labels, dataset.class_names)
    if dataset.val.multi_label:  # rankings are compared: what is said at 0.5 would not do
        return {key: found[key] for key in _OF_LABELS}, probabilities
    return {key: found[key] for key in _QUALITY}, probabilities.argmax(axis=1)
