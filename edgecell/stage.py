"""One stage of a training: epochs with one set of trainable layers and one optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from edgecell import device, losses
from edgecell.averaging import WeightAverage
from edgecell.batches import TrainingImages, epoch_batches, steps_per_epoch
from edgecell.checkpoint import Checkpoint, Progression, Snapshot
from edgecell.config import Config
from edgecell.distribution import Devices
from edgecell.features import Features
from edgecell.features import compute as compute_features
from edgecell.learner import Learner, Teacher
from edgecell.models.registry import HEAD, layer_rates, set_trainable
from edgecell.objective import Objective
from edgecell.optimizers import cosine, make_optimizer
from edgecell.progress import Progress
from edgecell.stepping import Watch, diverged
from edgecell.tasks import Task

PREDICT_BATCH = 256

AfterEpoch = Callable[[Progression], None]


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with one set of trainable layers and one optimizer."""

    name: str
    epochs: int
    learning_rate: float
    last_layers: int
    schedule: str

    @property
    def flag(self) -> str:
        """The flag of the command line that sets its learning rate."""
        return "--head-learning-rate" if self.name == "head" else "--learning-rate"


@dataclass(frozen=True)
class Session:
    """What the stages of one training share.

    ``model`` is trained on ``devices``; ``judged`` is what val sees: the same model on one device, a
    plain copy of it where there are several.
    """

    config: Config
    task: Task
    devices: Devices
    model: keras.Model
    judged: keras.Model
    images: TrainingImages
    validation: TrainingImages
    checkpoint: Checkpoint
    key: str
    progress: Progress
    after_epoch: AfterEpoch | None
    teach: Teacher | None


def run_stage(stage: Stage, session: Session, progression: Progression) -> None:
    """Train from where ``progression`` stands to the stage's end, saving after every epoch.

    Raises:
        DivergedError: a loss that is no longer finite. DataError: an image that cannot be read.
    """
    config, task, model, images = session.config, session.task, session.model, session.images
    checkpoint, progress, devices = session.checkpoint, session.progress, session.devices
    settings = config.train
    set_trainable(model, stage.last_layers)
    steps = steps_per_epoch(images, settings.batch_size)
    rate: Any = stage.learning_rate
    if stage.schedule == "cosine":
        rate = cosine(stage.learning_rate, stage.epochs * steps, settings.warmup_epochs * steps)
    cached = _cached(stage, session)
    with devices.scope():
        optimizer = make_optimizer(settings, rate)
        optimizer.build(model.trainable_variables)
        learner, average = _learner(model, cached, task, config, session.teach)
        learner.compile(
            optimizer,
            metrics=[losses.accuracy(task)],
            jit_compile=False,  # XLA on a CPU trained 15 times slower
        )
        if progression.epochs_done:
            within = optimizer if progression.stage_epochs else None
            checkpoint.restore(progression, model, within, average)
            if average and not progression.stage_epochs:
                average.restart()

    while progression.stage_epochs < stage.epochs:
        if settings.stop_at and progression.best_accuracy >= settings.stop_at:
            progress.say(f"val reached {progression.best_accuracy:.4f}: stopping as asked")
            return
        if settings.patience and progression.epochs_since_best >= settings.patience:
            progress.say(
                f"no better val {task.metric_name} for {settings.patience} epochs: stopping early"
            )
            return
        epoch = progression.epochs_done
        if stage.schedule != "cosine":
            optimizer.learning_rate.assign(stage.learning_rate * progression.learning_rate_factor)
        device.reseed_random_layers(model, settings.seed * 100_003 + epoch)
        label = f"{stage.name} epoch {progression.stage_epochs + 1}/{stage.epochs}"
        progress.begin(label, steps)
        begun = time.monotonic()
        watch = Watch(
            progress, epoch=epoch + 1, steps=steps, flag=stage.flag, rate=stage.learning_rate
        )
        fitted = _fit(learner, _batches(session, cached, epoch), session, steps, watch)
        found = Snapshot.of(model, optimizer, average)
        devices.level(model.weights, found.weights)
        if average:
            devices.level(average.variables, found.average)
        entry: dict[str, Any] = {"epoch": epoch + 1, "stage": stage.name}
        entry |= _figures(session, found, average, fitted)
        if not (math.isfinite(entry["loss"]) and math.isfinite(entry["val_loss"])):
            where = f"{entry['loss']} on train and {entry['val_loss']} on val in epoch {epoch + 1}"
            raise diverged(where, stage.flag, stage.learning_rate, kept=epoch)
        entry["learning_rate"] = float(keras.backend.get_value(optimizer.learning_rate))
        entry["seconds"] = round(time.monotonic() - begun, 2)
        best_now = _note_epoch(progression, entry, stage, task)
        if devices.place.chief:
            checkpoint.save(progression, found, best_now=best_now, key=session.key)
        progress.advance(
            steps,
            f"loss {entry['loss']:.4f}  val {task.metric_name} {entry[f'val_{task.metric}']:.4f}"
            f"{' *' * best_now}",
        )
        if session.after_epoch is not None:
            session.after_epoch(progression)


def _figures(
    session: Session,
    found: Snapshot,
    average: WeightAverage | None,
    fitted: dict[str, list[float]],
) -> dict[str, float]:
    """Loss and accuracy of train, and those of val as ``val_…``, the same on every worker."""
    names = session.task.figure_names
    own = [float(fitted["loss"][-1]), float(fitted["accuracy"][-1])]
    own += [math.nan] * len(names)
    if session.devices.place.chief:
        judged = _judge(session, found, average)
        own[2:] = [judged[name] for name in names]
    said = session.devices.from_chief(own)
    return dict(zip(("loss", "accuracy", *(f"val_{name}" for name in names)), said, strict=True))


def _judge(session: Session, found: Snapshot, average: WeightAverage | None) -> dict[str, float]:
    """What val says of the weights that the epoch would be kept with."""
    if session.judged is not session.model:
        session.judged.set_weights(found.judged)
        return validate(session.judged, session.validation, session.task)
    with average.in_place() if average else nullcontext():
        return validate(session.model, session.validation, session.task)


def _cached(stage: Stage, session: Session) -> Features | None:
    """The backbone's features where a stage leaves it frozen for long enough to pay."""
    wanted = session.config.train.cache_features and stage.last_layers == -1 and stage.epochs > 1
    # A teacher looks at pixels; features are those of whole batches on one device.
    if not wanted or session.teach is not None or session.devices.strategy is not None:
        return None
    return compute_features(session.model, HEAD[0], session.images, session.progress)


def _batches(session: Session, cached: Features | None, epoch: int) -> Any:
    settings = session.config.train
    if cached is not None:
        return cached.epoch_batches(batch_size=settings.batch_size, seed=settings.seed, epoch=epoch)
    return session.devices.batches(
        lambda share: epoch_batches(
            session.images,
            session.config.augment,
            batch_size=settings.batch_size,
            seed=settings.seed,
            epoch=epoch,
            mixup=settings.mixup,
            cutmix=settings.cutmix,
            share=share,
        )
    )


def _learner(
    model: keras.Model, cached: Features | None, task: Task, config: Config, teach: Teacher | None
) -> tuple[Learner, WeightAverage | None]:
    settings = config.train
    objective = Objective(
        task,
        settings.label_smoothing,
        settings.focal_gamma,
        config.teacher.distillation if teach else 0.0,
        config.teacher.temperature,
    )
    average = WeightAverage(model, settings.ema) if settings.ema else None
    rates = layer_rates(model, settings.first_layer_rate)
    trained = model if cached is None else cached.head
    return Learner(trained, objective, teacher=teach, average=average, rates=rates), average


def _fit(
    learner: Learner, batches: Any, session: Session, steps: int, watch: Watch
) -> dict[str, list[float]]:
    """One pass over ``batches``; an image that could not be read is a DataError again."""
    # Of a distributed data set Keras cannot tell the length.
    length = None if session.devices.strategy is None else steps
    try:
        history = learner.fit(batches, steps_per_epoch=length, verbose=0, callbacks=[watch]).history
    except tf.errors.OpError as error:
        if session.images.failures:
            raise session.images.failures[0] from error
        raise
    found: dict[str, list[float]] = history
    return found


def _note_epoch(progression: Progression, entry: dict[str, Any], stage: Stage, task: Task) -> bool:
    """Book an epoch: history, best epoch, and the plateau rule; returns whether it is the best."""
    score = entry[f"val_{task.metric}"]
    progression.history.append(entry)
    progression.epochs_done = entry["epoch"]
    progression.stage_epochs += 1
    if progression.is_best(score, entry["val_loss"]):
        progression.best_epoch = entry["epoch"]
        progression.best_accuracy = score
        progression.best_loss = entry["val_loss"]
        progression.epochs_since_best = 0
        return True
    progression.epochs_since_best += 1
    if stage.schedule == "plateau" and progression.epochs_since_best % 3 == 0:
        progression.learning_rate_factor *= 0.5
    return False


def validate(model: keras.Model, images: TrainingImages, task: Task) -> dict[str, float]:
    """What the task judges an epoch by on a split: "loss", "accuracy" and, where it has one, more."""
    return task.figures(images.split.labels, predict(model, images))


def predict(model: keras.Model, images: TrainingImages) -> NDArray[np.float32]:
    """Probabilities float32 (N, C) of a prepared split, without augmentation."""
    parts = []
    for start in range(0, len(images.split), PREDICT_BATCH):
        indices = np.arange(start, min(start + PREDICT_BATCH, len(images.split)))
        pixels = tf.constant(images.gather(indices), tf.float32)
        parts.append(model.predict_on_batch(pixels))
    return np.concatenate(parts).astype(np.float32)
