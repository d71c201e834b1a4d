"""Fine-tuning of a trained model towards the file it becomes: rounded, pruned or clustered.

One epoch at a time like the training it follows, with the same seeded batches and the same state on
disk. After each epoch val judges what was reached; nothing is estimated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from converters.aim import aim_of
from converters.scoring import Scoring, scoring_of
from edgecell import device
from edgecell.batches import TrainingImages, epoch_batches, steps_per_epoch
from edgecell.checkpoint import Checkpoint, Progression, Snapshot
from edgecell.config import AugmentConfig, TuningConfig
from edgecell.errors import ConfigError
from edgecell.progress import Progress

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels uint8 (N, H, W, 3) → probabilities float32 (N, C)."""

_PREDICT_BATCH = 256
_CLIP_NORM = 1.0
_NOT_READY = -1.0


@dataclass(frozen=True)
class Lesson:
    """What is learnt from: images of train with their changes, and val to choose the epoch on.

    ``calibration`` uint8 (N, H, W, 3) of train initialises int8 ranges.
    """

    train: TrainingImages
    val: TrainingImages
    calibration: NDArray[np.uint8]
    augment: AugmentConfig
    label_smoothing: float


@dataclass(frozen=True)
class Title:
    """How a fine-tuning is called in the history, in progress and errors, and its rate's flag."""

    stage: str
    words: str
    rate_flag: str


class Student(Protocol):
    """A copy of the trained model that learns to bear something."""

    title: Title

    @property
    def model(self) -> keras.Model:
        """Trains; all its weights are the state on disk."""
        ...

    def enter(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels 0…255 float32 as ``model`` takes them."""
        ...

    def settle(self, frozen: bool) -> None:
        """Called in the training step after each update, inside its graph."""
        ...

    def measure(self, judge: Judge) -> dict[str, float]:
        """Figures of what the model becomes; ``judge.figures`` of its probabilities at least."""
        ...

    def ready(self) -> bool:
        """Whether it is what it is meant to be; before that no epoch is the best."""
        ...


@dataclass(frozen=True)
class Judge:
    """The reference's probabilities (N, C) on val, and how another model's compare with them."""

    images: TrainingImages
    expected: NDArray[np.float32]
    how: Scoring

    @classmethod
    def of(cls, reference: keras.Model, images: TrainingImages) -> Judge:
        """The judge that compares with ``reference`` on ``images``."""
        expected = _probabilities(predictor(reference), images)
        return cls(images, expected, scoring_of(images.split.labels))

    def ask(self, predict: Predict) -> NDArray[np.float32]:
        """The probabilities (N, C) that ``predict`` finds."""
        return _probabilities(predict, self.images)

    def agreement(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """Share of answers that two models have in common."""
        return float((self.how.answers(one) == self.how.answers(other)).mean())

    def figures(self, found: NDArray[np.float32]) -> dict[str, float]:
        """Accuracy, its drop, agreement and the largest drop of a class's F1; fractions.

        Of several labels also the mean AUC, its drop, and the error of the probabilities.
        """
        labels = self.images.split.labels
        before, after = (self.how.quality(labels, each) for each in (self.expected, found))
        return {
            "val_accuracy": after.accuracy,
            "val_accuracy_drop": before.accuracy - after.accuracy,
            "val_agreement": self.agreement(found, self.expected),
            "val_worst_f1_drop": float(np.nanmax(before.f1 - after.f1)),
        } | self.how.epoch_figures(before, after, self.how.error(self.expected, found))


def tune(
    student: Student,
    reference: keras.Model,
    lesson: Lesson,
    settings: TuningConfig,
    checkpoint: Checkpoint,
    key: str,
    progress: Progress,
) -> tuple[Progression, dict[str, Any]]:
    """Train ``student`` with ``reference`` as its teacher and leave it at its best epoch.

    With a saved state under ``checkpoint`` that belongs to ``key`` the training goes on from there.

    Returns:
        the progression, and facts of the best epoch for the record.

    Raises:
        ConfigError: a loss that is no longer finite. ArtifactError, DataError: state and images.
    """
    started = time.monotonic()
    judge = Judge.of(reference, lesson.val)
    steps = steps_per_epoch(lesson.train, settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, settings.epochs * steps, alpha=0.01
    )
    optimizer = keras.optimizers.Adam(rate, clipnorm=_CLIP_NORM)
    optimizer.build(student.model.trainable_variables)
    progression = checkpoint.load(key) or Progression()
    title = student.title
    if progression.epochs_done:
        checkpoint.restore(progression, student.model, optimizer)
        progress.say(f"{title.words}: going on after epoch {progression.epochs_done}")
    else:
        before = student.measure(judge)
        progression.history.append({"epoch": 0, "stage": title.stage} | before)
        progress.say(
            f"before {title.words}: agreement {before['val_agreement']:.4f},"
            f" {judge.how.drop(before)} on val"
        )
    several = lesson.train.split.multi_label
    step = make_step(
        reference, student, optimizer, settings, lesson.label_smoothing, several=several
    )
    while progression.epochs_done < settings.epochs:
        device.reseed_random_layers(
            student.model, settings.seed * 100_003 + progression.epochs_done
        )
        entry = _epoch(step, title, lesson, settings, progression.epochs_done, steps, progress)
        entry |= student.measure(judge)
        entry["learning_rate"] = float(keras.backend.get_value(optimizer.learning_rate))
        best_now = _note(progression, entry, student.ready(), judge.how)
        found = Snapshot.of(student.model, optimizer)
        checkpoint.save(progression, found, best_now=best_now, key=key)
        progress.advance(
            steps,
            f"loss {entry['loss']:.4f}  val agreement {entry['val_agreement']:.4f}"
            f"  {judge.how.drop(entry)}{' *' * best_now}",
        )
    checkpoint.load_best(progression, student.model)
    best = progression.history[progression.best_epoch]
    facts = {
        key: value
        for key, value in best.items()
        if key not in ("epoch", "stage", "loss", "frozen", "seconds", "learning_rate")
    }
    return progression, facts | {
        "best_epoch": progression.best_epoch,
        "seconds": round(time.monotonic() - started, 1),
    }


def make_step(
    reference: keras.Model,
    student: Student,
    optimizer: keras.optimizers.Optimizer,
    settings: TuningConfig,
    label_smoothing: float,
    *,
    several: bool = False,
) -> Any:
    """The compiled training step: (pixels 0…255, one-hot, weights, frozen: bool) → loss.

    ``several``: an image can have several labels, and targets and weights are (B, C), the labels' own.
    Frozen, the student runs as it will when converted: BatchNorm with its stored statistics, ranges
    as they stand, no dropout; the gradient still reaches every weight, gamma and beta included.
    """
    # AutoGraph cannot convert a method that is a docstring only, and says so at length.
    settle = tf.autograph.experimental.do_not_convert(student.settle)
    aim = aim_of(settings, label_smoothing, several=several)

    @tf.function
    def step(pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, frozen: bool) -> tf.Tensor:
        if settings.mixup:
            key = tf.stack([tf.constant(settings.seed, tf.int64), optimizer.iterations])
            pixels, targets, weights = mixed(pixels, targets, weights, key, settings.mixup)
        # Whole levels, as a camera gives them: the file's input can hold no others.
        pixels = tf.round(pixels)
        teacher = reference(pixels, training=False)
        with tf.GradientTape() as tape:
            found = student.model(student.enter(pixels), training=not frozen)
            loss = aim(found, targets, weights, teacher)
        variables = student.model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        settle(frozen)
        return loss

    return step


def mixed(
    pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, key: tf.Tensor, largest: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Each image faded into its neighbour in the batch by a share drawn from 0…``largest``.

    Mixup (Zhang et al. 2018) as food for distillation (Beyer et al. 2022, "Knowledge distillation:
    A good teacher is patient and consistent"): the model is sure of the images it was trained on,
    and rounding flips decisions where it is not. Mixed images lie there, and it has an answer to them.
    """
    share = tf.random.stateless_uniform([tf.shape(pixels)[0]], key, maxval=largest)

    def fade(values: tf.Tensor) -> tf.Tensor:
        by = tf.reshape(share, [-1] + [1] * (values.shape.rank - 1))
        return values + by * (tf.roll(values, 1, axis=0) - values)

    return fade(pixels), fade(targets), fade(weights)


def predictor(model: keras.Model, enter: Callable[[Any], Any] = lambda pixels: pixels) -> Predict:
    """How ``model``, behind ``enter``, answers uint8 pixels."""

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.predict_on_batch(enter(pixels.astype(np.float32)))
        return found

    return predict


def _epoch(
    step: Any,
    title: Title,
    lesson: Lesson,
    settings: TuningConfig,
    epoch: int,
    steps: int,
    progress: Progress,
) -> dict[str, Any]:
    begun = time.monotonic()
    frozen = epoch >= settings.epochs - settings.freeze_batchnorm_epochs
    batches = epoch_batches(
        lesson.train,
        lesson.augment,
        batch_size=settings.batch_size,
        seed=settings.seed,
        epoch=epoch,
    )
    progress.begin(f"{title.stage} epoch {epoch + 1}/{settings.epochs}", steps)
    losses = []
    try:
        for done, (pixels, targets, weights) in enumerate(batches, start=1):
            losses.append(step(pixels, targets, weights, frozen))
            if done < steps:
                progress.advance(done)
    except tf.errors.OpError as error:
        if lesson.train.failures:
            raise lesson.train.failures[0] from error
        raise
    loss = float(np.mean([float(each) for each in losses]))
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss is {loss} in epoch {epoch + 1} of {title.words}: it diverged;"
            f" lower {title.rate_flag} (now {settings.learning_rate})"
        )
    return {
        "epoch": epoch + 1,
        "stage": title.stage,
        "loss": loss,
        "frozen": frozen,
        "seconds": round(time.monotonic() - begun, 2),
    }


def _note(progression: Progression, entry: dict[str, Any], ready: bool, how: Scoring) -> bool:
    progression.history.append(entry)
    progression.epochs_done = progression.stage_epochs = entry["epoch"]
    # An epoch that is not ready is the best only of those that are not. At a tie the later epoch:
    # its learning rate was lower.
    reached = how.epoch_score(entry) if ready else _NOT_READY
    if not progression.is_best(reached, -entry["epoch"]):
        return False
    progression.best_epoch = entry["epoch"]
    progression.best_accuracy, progression.best_loss = reached, -entry["epoch"]
    return True


def _probabilities(predict: Predict, images: TrainingImages) -> NDArray[np.float32]:
    """What ``predict`` gives (N, C) for every image of a prepared split."""
    starts = range(0, len(images.split), _PREDICT_BATCH)
    chunks = [np.arange(s, min(s + _PREDICT_BATCH, len(images.split))) for s in starts]
    return np.concatenate([predict(images.gather(chunk)) for chunk in chunks])
