"""Two-stage training, told from top to bottom: frozen backbone, then fine-tuning, best epoch kept."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from edgecell import device
from edgecell.batches import TrainingImages, prepare, steps_per_epoch
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import Config
from edgecell.data.channels import Channels, drift_line, flat, flat_line, measure, sample_rows
from edgecell.data.duplicates import overlap_line
from edgecell.data.types import Dataset
from edgecell.disk import sha256_bytes
from edgecell.distribution import ONE, Devices
from edgecell.errors import ConfigError, DataError
from edgecell.metrics import confusion_matrix, find_moved, moved_line
from edgecell.models.registry import build_model, describe_model
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.stage import AfterEpoch, Session, Stage, predict, run_stage
from edgecell.tasks import Task, task_named
from edgecell.teacher import ask, weights_sha256


@dataclass(frozen=True)
class Trained:
    """A finished training: the model with the weights of its best epoch, and how it went."""

    model: keras.Model
    progression: Progression
    facts: dict[str, Any]


def train(
    config: Config,
    dataset: Dataset,
    state: Path,
    progress: Progress,
    after_epoch: AfterEpoch | None = None,
    teachers: Sequence[keras.Model] = (),
    devices: Devices = ONE,
) -> Trained:
    """Train the configured model on ``dataset.train``, choosing the epoch on ``dataset.val``.

    After every epoch the state goes to the folder ``state``; called again with the same
    configuration, the training goes on from there. ``after_epoch`` is called when an epoch is saved;
    ``teachers`` are those of ``config.teacher``. Of several workers, ``devices`` has to be the chief's.

    Raises:
        ConfigError: settings that do not go together.
        DivergedError: a loss that is no longer finite.
        DataError, ArtifactError: from the data and the weights.
        WorkerError: another worker is gone.
    """
    facts = device.configure(config.train.seed, config.train.deterministic)
    with devices.watched():
        session = _open(config, dataset, state, progress, after_epoch, teachers, devices)
        channels, warnings = _looks(session.images)
        started = time.monotonic()
        progression = _all_stages(session)
    session.checkpoint.load_best(progression, session.judged)
    facts["warnings"] = [
        *warnings,
        *_doubts(session.judged, dataset, channels, session.validation),
    ]
    for line in facts["warnings"]:
        progress.say(f"warning: {line}")
    facts |= describe_model(session.judged) | {
        "strategy": config.train.strategy,
        "workers": devices.place.workers,
        "devices": devices.count,
        "steps_per_epoch": steps_per_epoch(session.images, config.train.batch_size),
        "process_seconds": round(time.monotonic() - started, 1),
        "preprocess": session.images.spec.to_json(),
        "channels": channels.to_json(),
    }
    model = in_float32(session.judged, config, len(dataset.class_names), session.task)
    return Trained(model, progression, facts)


def assist(
    config: Config,
    dataset: Dataset,
    state: Path,
    progress: Progress,
    teachers: Sequence[keras.Model],
    devices: Devices,
) -> Progression:
    """:func:`train` of a worker that is not the chief: it computes, and writes nothing."""
    device.configure(config.train.seed, config.train.deterministic)
    with devices.watched():
        session = _open(config, dataset, state, progress, None, teachers, devices)
        _looks(session.images)  # what the chief ends with, this ends with too
        return _all_stages(session)


def _open(
    config: Config,
    dataset: Dataset,
    state: Path,
    progress: Progress,
    after_epoch: AfterEpoch | None,
    teachers: Sequence[keras.Model],
    devices: Devices,
) -> Session:
    settings = config.train
    size = config.model.image_size
    spec = PreprocessSpec.of(config.model, size, size)
    classes = len(dataset.class_names)
    task = task_named(dataset.task)
    _check_classes(dataset)
    _check_shares(min(settings.batch_size, len(dataset.train)), devices)

    model = judged = build_model(
        config.model, classes, settings.batchnorm_momentum, task.activation
    )
    if devices.strategy is not None:
        with devices.scope():
            model = _without_weights(config, classes, task)
            model.set_weights(judged.get_weights())
    images = prepare(
        dataset.train, spec, classes, class_weights=settings.class_weights, progress=progress
    )
    validation = prepare(dataset.val, spec, classes, class_weights=False, progress=progress)
    return Session(
        config=config,
        task=task,
        devices=devices,
        model=model,
        judged=judged,
        images=images,
        validation=validation,
        checkpoint=Checkpoint(state),
        key=state_key(config, dataset, teachers),
        progress=progress,
        after_epoch=after_epoch,
        teach=ask(teachers, tta=config.teacher.tta) if teachers else None,
    )


def _all_stages(session: Session) -> Progression:
    progression = session.checkpoint.load(session.key) or Progression()
    counts = [len(session.images.split), len(session.validation.split)]  # with --limit
    session.devices.agree(
        {
            "data and settings": f"{session.key} {counts}",
            "saved state": json.dumps(asdict(progression)),
        }
    )
    if progression.epochs_done:
        session.progress.say(f"going on after epoch {progression.epochs_done}")
    for position, stage in enumerate(stages(session.config)):
        if position > progression.stage:
            progression.next_stage()
        if position == progression.stage:
            run_stage(stage, session, progression)
    return progression


def stages(config: Config) -> list[Stage]:
    """The stages of a configuration; without pretrained weights there is nothing to freeze."""
    settings = config.train
    head = settings.head_epochs if config.model.weights != "none" else 0
    rest = settings.epochs + (settings.head_epochs - head)
    planned = [
        Stage("head", head, settings.head_learning_rate, -1, "constant"),
        Stage(
            "fine-tune",
            rest,
            settings.learning_rate,
            settings.fine_tune_layers,
            settings.schedule,
        ),
    ]
    return [stage for stage in planned if stage.epochs]


def sample(images: TrainingImages) -> NDArray[np.uint8]:
    """Images of a prepared split, uint8 (n, H, W, 3): all, or a seeded sample of them."""
    return images.gather(sample_rows(len(images.split)))


def _looks(images: TrainingImages) -> tuple[Channels, list[str]]:
    """The colours of train, and lines on images that show nothing; DataError where all are equal."""
    pixels = sample(images)
    if (pixels == pixels[:1]).all():
        raise DataError(
            f"all {len(pixels)} train images that were looked at are equal: there is nothing to tell"
            " classes apart by; look with 'edgecell data show'"
        )
    line = flat_line(int(flat(pixels).sum()), len(pixels), "train (a sample)")
    labels = images.split.labels[sample_rows(len(images.split))]
    return measure(pixels, labels), [line] if line else []


def _doubts(
    model: keras.Model, dataset: Dataset, train: Channels, validation: TrainingImages
) -> list[str]:
    """What makes the figures on val, by which the epoch was chosen, less than they seem."""
    lines = [overlap_line(dataset, "val"), drift_line(train, measure(sample(validation)), "val")]
    if not dataset.val.multi_label:
        names = dataset.class_names
        said = predict(model, validation).argmax(axis=1)
        confusion = confusion_matrix(dataset.val.labels, said, len(names))
        moved = find_moved(confusion)
        lines.append("" if moved is None else moved_line(moved, names, "val"))
    return [line for line in lines if line]


def in_float32(model: keras.Model, config: Config, classes: int, task: Task) -> keras.Model:
    """The same weights in a float32 graph: converters do not take the casts of mixed precision."""
    if keras.mixed_precision.global_policy().name == "float32":
        return model
    keras.mixed_precision.set_global_policy("float32")
    plain = _without_weights(config, classes, task)
    plain.set_weights(model.get_weights())
    return plain


def _without_weights(config: Config, classes: int, task: Task) -> keras.Model:
    """The configured network anew, before its weights are set."""
    return build_model(
        replace(config.model, weights="none"),
        classes,
        config.train.batchnorm_momentum,
        task.activation,
    )


def state_key(config: Config, dataset: Dataset, teachers: Sequence[keras.Model] = ()) -> str:
    """What a saved training state depends on, as a hash: not on how many devices share the work."""
    settings = asdict(config.train)
    del settings["strategy"]
    parts = {
        "data": dataset.fingerprint,
        "model": config.model.settings(),
        "augment": asdict(config.augment),
        "train": settings,
        "teacher": asdict(config.teacher) | {"weights": [weights_sha256(t) for t in teachers]},
    }
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def _check_shares(batch: int, devices: Devices) -> None:
    if batch % devices.count:
        fitting = batch - batch % devices.count or devices.count
        raise ConfigError(
            f"a batch of {batch} images has no {devices.count} equal parts, one for each device;"
            f" allowed: a multiple of {devices.count}, such as --batch-size {fitting}, and no fewer"
            " training images than that"
        )


def _check_classes(dataset: Dataset) -> None:
    if dataset.train.multi_label:
        return  # the loaders ask for images with and without each label
    present = np.unique(dataset.train.labels)
    if len(present) < 2:
        raise DataError(
            f"train holds images of {len(present)} class; a classifier needs at least 2;"
            " look with 'edgecell data show'"
        )
