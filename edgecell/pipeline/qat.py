"""Quantization-aware training of a run's model, as part of ``edgecell quantize --qat``."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tf_keras as keras

from converters.calibration import CalibrationSet
from converters.fine_tuning import Lesson
from converters.qat import Tuned, fine_tune
from edgecell import device, plots, rundir
from edgecell.batches import prepare
from edgecell.checkpoint import Checkpoint
from edgecell.config import Config
from edgecell.data import Dataset
from edgecell.pipeline.targets import Target
from edgecell.pipeline.training import save_keras
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.rundir import RunDir

STATE = "qat-state"


@dataclass(frozen=True)
class Qat:
    """A finished training with what it left in the folder, and its figures for the record."""

    tuned: Tuned
    outputs: list[Path]
    facts: dict[str, Any]


def tune(
    run: RunDir,
    target: Target,
    config: Config,
    model: keras.Model,
    dataset: Dataset,
    chosen: CalibrationSet,
    progress: Progress,
) -> Qat:
    """Train ``model``'s fake-quantized twin, or go on with a training that was killed.

    The state stays in ``RUN/quantize/qat-state``: the same command again, say with another input
    type, does not train again. A training with other settings replaces it.

    Raises:
        EdgecellError: see :func:`converters.qat.fine_tune`.
    """
    folder = run.stage("quantize")
    settings = config.qat
    device.configure(settings.seed, config.train.deterministic)
    height, width = model.input_shape[1:3]
    spec = PreprocessSpec(height, width, config.model.fit)
    classes = len(dataset.class_names)
    weigh = config.train.class_weights
    lesson = Lesson(
        prepare(dataset.train, spec, classes, class_weights=weigh, progress=progress),
        prepare(dataset.val, spec, classes, class_weights=False, progress=progress),
        chosen.images,
        config.augment,
        config.train.label_smoothing,
    )
    key = state_key(target, config, dataset, chosen)
    state = folder / STATE / key[:12]
    _remove_others(state)
    tuned = fine_tune(model, lesson, settings, Checkpoint(state), key, progress)
    return _write(folder, target, config, tuned)


def state_key(target: Target, config: Config, dataset: Dataset, chosen: CalibrationSet) -> str:
    """What the outcome depends on, as a hash."""
    parts = {
        "model": rundir.sha256_file(target.model),
        "data": dataset.fingerprint,
        "calibration": chosen.manifest["images_sha256"],
        "augment": asdict(config.augment),
        "class_weights": config.train.class_weights,
        "label_smoothing": config.train.label_smoothing,
        "qat": asdict(config.qat),
    }
    return rundir.sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def _write(folder: Path, target: Target, config: Config, tuned: Tuned) -> Qat:
    history = tuned.progression.history
    model, table, picture = outputs_of(folder, target)
    save_keras(tuned.model, model)
    rundir.atomic_write_json(table, history)
    plots.save(plots.qat_curves(history, best_epoch=tuned.progression.best_epoch), picture)
    return Qat(tuned, [model, table, picture], {"settings": asdict(config.qat)} | tuned.facts)


def outputs_of(folder: Path, target: Target) -> list[Path]:
    """The tuned float model, the history and its picture."""
    return [folder / f"{target.name}-qat.keras", folder / "qat-history.json", folder / "qat.png"]


def _remove_others(state: Path) -> None:
    for other in state.parent.iterdir() if state.parent.is_dir() else ():
        if other.is_dir() and other.name != state.name:
            shutil.rmtree(other)
