"""Two-stage training, told from top to bottom: frozen backbone, then fine-tuning, best epoch kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from edgecell import device, losses
from edgecell.averaging import WeightAverage
from edgecell.batches import TrainingImages, epoch_batches, prepare, steps_per_epoch
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import Config, TrainConfig
from edgecell.data.channels import Channels, drift_line, flat, flat_line, measure, sample_rows
from edgecell.data.duplicates import overlap_line
from edgecell.data.types import Dataset
from edgecell.errors import DataError
from edgecell.features import Features
from edgecell.features import compute as compute_features
from edgecell.learner import Learner, Teacher
from edgecell.metrics import confusion_matrix, find_moved, moved_line
from edgecell.models.registry import (
    HEAD,
    build_model,
    describe_model,
    layer_rates,
    set_trainable,
)
from edgecell.objective import Objective
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.rundir import sha256_bytes
from edgecell.stepping import Watch, diverged
from edgecell.tasks import Task, task_named
from edgecell.teacher import ask, weights_sha256

PREDICT_BATCH = 256

AfterEpoch = Callable[[Progression], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: the model with the weights of its best epoch, and how it went."""

    model: keras.Model
    progression: Progression
    facts: dict[str, Any]


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
    """What the stages of one training share."""

    config: Config
    task: Task
    model: keras.Model
    images: TrainingImages
    validation: TrainingImages
    checkpoint: Checkpoint
    key: str
    progress: Progress
    after_epoch: AfterEpoch | None
    teach: Teacher | None


def train(
    config: Config,
    dataset: Dataset,
    state: Path,
    progress: Progress,
    after_epoch: AfterEpoch | None = None,
    teachers: Sequence[keras.Model] = (),
) -> Trained:
    """Train the configured model on ``dataset.train``, choosing the epoch on ``dataset.val``.

    After every epoch the state goes to the folder ``state``; called again with the same
    configuration, the training goes on from there. ``after_epoch`` is called when an epoch is saved;
    ``teachers`` are those of ``config.teacher``.

    Raises:
        ConfigError: settings that do not go together.
        DivergedError: a loss that is no longer finite.
        DataError, ArtifactError: from the data and the weights.
    """
    facts = device.configure(config.train.seed, config.train.deterministic)
    size = config.model.image_size
    spec = PreprocessSpec(size, size, config.model.fit)
    classes = len(dataset.class_names)
    task = task_named(dataset.task)
    _check_classes(dataset)

    model = build_model(config.model, classes, config.train.batchnorm_momentum, task.activation)
    images = prepare(
        dataset.train, spec, classes, class_weights=config.train.class_weights, progress=progress
    )
    validation = prepare(dataset.val, spec, classes, class_weights=False, progress=progress)

    pixels = sample(images)
    channels = measure(pixels, dataset.train.labels[sample_rows(len(dataset.train))])
    _require_contrast(pixels)
    session = Session(
        config=config,
        task=task,
        model=model,
        images=images,
        validation=validation,
        checkpoint=Checkpoint(state),
        key=state_key(config, dataset, teachers),
        progress=progress,
        after_epoch=after_epoch,
        teach=ask(teachers, tta=config.teacher.tta) if teachers else None,
    )
    progression = session.checkpoint.load(session.key) or Progression()
    if progression.epochs_done:
        progress.say(f"going on after epoch {progression.epochs_done}")
    started = time.monotonic()
    for position, stage in enumerate(stages(config)):
        if position > progression.stage:
            progression.next_stage()
        if position == progression.stage:
            _run_stage(stage, session, progression)
    session.checkpoint.load_best(progression, model)
    facts["warnings"] = [*_of_train(pixels), *_doubts(model, dataset, channels, validation)]
    for line in facts["warnings"]:
        progress.say(f"warning: {line}")
    facts |= describe_model(model) | {
        "steps_per_epoch": steps_per_epoch(images, config.train.batch_size),
        "process_seconds": round(time.monotonic() - started, 1),
        "preprocess": spec.to_json(),
        "channels": channels.to_json(),
    }
    return Trained(in_float32(model, config, classes, task), progression, facts)


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


def _run_stage(stage: Stage, session: Session, progression: Progression) -> None:
    config, task, model, images = session.config, session.task, session.model, session.images
    checkpoint, progress = session.checkpoint, session.progress
    settings = config.train
    set_trainable(model, stage.last_layers)
    steps = steps_per_epoch(images, settings.batch_size)
    rate: Any = stage.learning_rate
    if stage.schedule == "cosine":
        rate = cosine(stage.learning_rate, stage.epochs * steps, settings.warmup_epochs * steps)
    optimizer = make_optimizer(settings, rate)
    optimizer.build(model.trainable_variables)
    cached = _cached(stage, session)
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
        batches = _batches(session, cached, epoch)
        label = f"{stage.name} epoch {progression.stage_epochs + 1}/{stage.epochs}"
        progress.begin(label, steps)
        begun = time.monotonic()
        watch = Watch(
            progress, epoch=epoch + 1, steps=steps, flag=stage.flag, rate=stage.learning_rate
        )
        fitted = _fit(learner, batches, images, watch)
        entry: dict[str, Any] = {
            "epoch": epoch + 1,
            "stage": stage.name,
            "loss": float(fitted["loss"][-1]),
            "accuracy": float(fitted["accuracy"][-1]),
        }
        with average.in_place() if average else nullcontext():
            judged = validate(model, session.validation, task)
        entry |= {f"val_{name}": value for name, value in judged.items()}
        if not (math.isfinite(entry["loss"]) and math.isfinite(entry["val_loss"])):
            where = f"{entry['loss']} on train and {entry['val_loss']} on val in epoch {epoch + 1}"
            raise diverged(where, stage.flag, stage.learning_rate, kept=epoch)
        entry["learning_rate"] = float(keras.backend.get_value(optimizer.learning_rate))
        entry["seconds"] = round(time.monotonic() - begun, 2)
        best_now = _note_epoch(progression, entry, stage, task)
        checkpoint.save(
            progression, model, optimizer, best_now=best_now, key=session.key, average=average
        )
        progress.advance(
            steps,
            f"loss {entry['loss']:.4f}  val {task.metric_name} {entry[f'val_{task.metric}']:.4f}"
            f"{' *' * best_now}",
        )
        if session.after_epoch is not None:
            session.after_epoch(progression)


def _cached(stage: Stage, session: Session) -> Features | None:
    """The backbone's features where a stage leaves it frozen for long enough to pay."""
    wanted = session.config.train.cache_features and stage.last_layers == -1 and stage.epochs > 1
    if not wanted or session.teach is not None:  # a teacher looks at pixels
        return None
    return compute_features(session.model, HEAD[0], session.images, session.progress)


def _batches(session: Session, cached: Features | None, epoch: int) -> tf.data.Dataset:
    settings = session.config.train
    if cached is not None:
        return cached.epoch_batches(batch_size=settings.batch_size, seed=settings.seed, epoch=epoch)
    return epoch_batches(
        session.images,
        session.config.augment,
        batch_size=settings.batch_size,
        seed=settings.seed,
        epoch=epoch,
        mixup=settings.mixup,
        cutmix=settings.cutmix,
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


def cosine(rate: float, steps: int, warmup: float) -> Any:
    """Cosine decay to 1 % of ``rate`` after ``steps`` (Loshchilov and Hutter 2017, no restarts).

    With ``warmup`` steps the rate first rises from 1 % in a straight line (Goyal et al. 2017).
    """
    rising = min(round(warmup), max(0, steps - 1))
    if not rising:
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    return keras.optimizers.schedules.CosineDecay(
        rate / 100, steps - rising, alpha=0.01, warmup_target=rate, warmup_steps=rising
    )


def _fit(
    model: keras.Model, batches: tf.data.Dataset, images: TrainingImages, watch: Watch
) -> dict[str, list[float]]:
    """One pass over ``batches``; an image that could not be read is a DataError again."""
    try:
        history = model.fit(batches, verbose=0, callbacks=[watch]).history
    except tf.errors.OpError as error:
        if images.failures:
            raise images.failures[0] from error
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


def make_optimizer(settings: TrainConfig, rate: Any) -> keras.optimizers.Optimizer:
    """Adam, AdamW (Loshchilov and Hutter 2019) or SGD with Nesterov momentum.

    Weight decay spares biases and BatchNorm, whose scale has no meaning of its own.
    """
    if settings.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    if settings.optimizer == "sgd":
        chosen = keras.optimizers.SGD(
            rate,
            momentum=settings.momentum,
            nesterov=True,
            weight_decay=settings.weight_decay or None,
        )
    else:
        chosen = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return chosen


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


def sample(images: TrainingImages) -> NDArray[np.uint8]:
    """Images of a prepared split, uint8 (n, H, W, 3): all, or a seeded sample of them."""
    return images.gather(sample_rows(len(images.split)))


def _require_contrast(pixels: NDArray[np.uint8]) -> None:
    if (pixels == pixels[:1]).all():
        raise DataError(
            f"all {len(pixels)} train images that were looked at are equal: there is nothing to tell"
            " classes apart by; look with 'edgecell data show'"
        )


def _of_train(pixels: NDArray[np.uint8]) -> list[str]:
    line = flat_line(int(flat(pixels).sum()), len(pixels), "train (a sample)")
    return [line] if line else []


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
    plain = build_model(
        replace(config.model, weights="none"),
        classes,
        config.train.batchnorm_momentum,
        task.activation,
    )
    plain.set_weights(model.get_weights())
    return plain


def state_key(config: Config, dataset: Dataset, teachers: Sequence[keras.Model] = ()) -> str:
    """What a saved training state depends on, as a hash."""
    parts = {
        "data": dataset.fingerprint,
        "model": asdict(config.model),
        "augment": asdict(config.augment),
        "train": asdict(config.train),
        "teacher": asdict(config.teacher) | {"weights": [weights_sha256(t) for t in teachers]},
    }
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def _check_classes(dataset: Dataset) -> None:
    if dataset.train.multi_label:
        return  # the loaders ask for images with and without each label
    present = np.unique(dataset.train.labels)
    if len(present) < 2:
        raise DataError(
            f"train holds images of {len(present)} class; a classifier needs at least 2;"
            " look with 'edgecell data show'"
        )
