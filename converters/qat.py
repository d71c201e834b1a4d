"""Quantization-aware training: a trained float model in, the same model at ease with int8 out.

One epoch at a time like the training it follows, with the same seeded batches and the same state on
disk. After each epoch the int8 file itself is written and judged on val: nothing is estimated.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from converters.distillation import mixed_loss
from converters.fake_quant import Twin, build_twin
from converters.lowering import CalibratedModel, quantize_int8
from edgecell import device, metrics
from edgecell.batches import TrainingImages, epoch_batches, steps_per_epoch
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import AugmentConfig, QatConfig
from edgecell.errors import ConfigError
from edgecell.progress import Progress
from edgecell.runtime import TFLitePredictor

_PREDICT_BATCH = 256
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class Lesson:
    """What is learnt from: images of train with their changes, and val to choose the epoch on.

    ``calibration`` uint8 (N, H, W, 3) of train initialises the ranges.
    """

    train: TrainingImages
    val: TrainingImages
    calibration: NDArray[np.uint8]
    augment: AugmentConfig
    label_smoothing: float


@dataclass(frozen=True)
class Tuned:
    """A finished quantization-aware training.

    ``model`` is the float architecture with the tuned weights, ``calibrated`` the flatbuffer that
    carries the tuned ranges, ``facts`` figures on val for the record.
    """

    model: keras.Model
    calibrated: CalibratedModel
    progression: Progression
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Judge:
    """The reference's answers on val, and how an int8 file compares with them."""

    images: TrainingImages
    expected: NDArray[np.int64]
    confusion: NDArray[np.int64]

    def measure(self, twin: Twin) -> dict[str, float]:
        """Figures of the file that ``twin`` becomes; fractions."""
        file = TFLitePredictor(quantize_int8(twin.calibrated()), name="the int8 file")
        found = _in_batches(file.predict, self.images).argmax(axis=1)
        rounded = _in_batches(_predictor(twin), self.images).argmax(axis=1)
        labels, classes = self.images.split.labels, len(self.confusion)
        confusion = metrics.confusion_matrix(labels, found, classes)
        f1_drop = metrics.per_class(self.confusion).f1 - metrics.per_class(confusion).f1
        return {
            "val_accuracy": metrics.accuracy(confusion),
            "val_accuracy_drop": metrics.accuracy(self.confusion) - metrics.accuracy(confusion),
            "val_agreement": float((found == self.expected).mean()),
            "val_worst_f1_drop": float(np.nanmax(f1_drop)),
            "twin_agreement": float((found == rounded).mean()),
        }


def score(figures: dict[str, float]) -> float:
    """What the best epoch has most of: agreement with the reference, less any loss of accuracy.

    Agreement alone would pay nothing for being right where the reference is wrong; accuracy alone
    would follow the luck of val. A gain of accuracy does not count, so that it buys no disagreement.
    """
    return figures["val_agreement"] - max(0.0, figures["val_accuracy_drop"])


def fine_tune(
    reference: keras.Model,
    lesson: Lesson,
    settings: QatConfig,
    checkpoint: Checkpoint,
    key: str,
    progress: Progress,
) -> Tuned:
    """Train ``reference``'s fake-quantized twin and return it at its best epoch.

    With a saved state under ``checkpoint`` that belongs to ``key`` the training goes on from there.

    Raises:
        ConvertError: a model that cannot be converted or whose layers cannot be matched.
        ConfigError: a loss that is no longer finite. ArtifactError, DataError: state and images.
    """
    started = time.monotonic()
    twin = build_twin(reference, lesson.calibration)
    judge = _judge(reference, lesson.val)
    steps = steps_per_epoch(lesson.train, settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, settings.epochs * steps, alpha=0.01
    )
    optimizer = keras.optimizers.Adam(rate, clipnorm=_CLIP_NORM)
    optimizer.build(twin.model.trainable_variables)
    progression = checkpoint.load(key) or Progression()
    if progression.epochs_done:
        checkpoint.restore(progression, twin.model, optimizer)
        progress.say(f"quantization-aware training: going on after epoch {progression.epochs_done}")
    else:
        before = judge.measure(twin)
        progression.history.append({"epoch": 0, "stage": "qat"} | before)
        progress.say(
            f"before training: agreement {before['val_agreement']:.4f},"
            f" accuracy drop {before['val_accuracy_drop']:+.4f} on val"
        )
    step = make_step(reference, twin, optimizer, settings, lesson.label_smoothing)
    while progression.epochs_done < settings.epochs:
        device.reseed_random_layers(twin.model, settings.seed * 100_003 + progression.epochs_done)
        entry = _epoch(step, lesson, settings, progression.epochs_done, steps, progress)
        entry |= judge.measure(twin)
        entry["learning_rate"] = float(keras.backend.get_value(optimizer.learning_rate))
        best_now = _note(progression, entry)
        checkpoint.save(progression, twin.model, optimizer, best_now=best_now, key=key)
        progress.advance(
            steps,
            f"loss {entry['loss']:.4f}  val agreement {entry['val_agreement']:.4f}"
            f"  accuracy drop {entry['val_accuracy_drop']:+.4f}{' *' * best_now}",
        )
    checkpoint.load_best(progression, twin.model)
    best = progression.history[progression.best_epoch]
    facts = {k: best[k] for k in best if k.startswith(("val_", "twin_"))} | {
        "best_epoch": progression.best_epoch,
        "seconds": round(time.monotonic() - started, 1),
    }
    return Tuned(twin.tuned(), twin.calibrated(), progression, facts)


def make_step(
    reference: keras.Model,
    twin: Twin,
    optimizer: keras.optimizers.Optimizer,
    settings: QatConfig,
    label_smoothing: float,
) -> Any:
    """The compiled training step: (pixels 0…255, one-hot, weights, frozen: bool) → loss.

    Frozen, the twin runs as it will when converted: BatchNorm with its stored statistics, ranges as
    they stand, no dropout; the gradient still reaches every weight, gamma and beta included.
    """
    scale, offset = twin.scaling.scale, twin.scaling.offset

    @tf.function
    def step(pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, frozen: bool) -> tf.Tensor:
        if settings.mixup:
            key = tf.stack([tf.constant(settings.seed, tf.int64), optimizer.iterations])
            pixels, targets, weights = mixed(pixels, targets, weights, key, settings.mixup)
        # Whole levels, as a camera gives them: the file's input can hold no others.
        pixels = tf.round(pixels)
        smooth = targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[1]
        teacher = reference(pixels, training=False)
        with tf.GradientTape() as tape:
            loss = mixed_loss(
                twin.model(pixels * scale + offset, training=not frozen),
                teacher,
                smooth,
                weights,
                distillation=settings.distillation,
                temperature=settings.temperature,
            )
        variables = twin.model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
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


def _epoch(
    step: Any, lesson: Lesson, settings: QatConfig, epoch: int, steps: int, progress: Progress
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
    progress.begin(f"qat epoch {epoch + 1}/{settings.epochs}", steps)
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
            f"the loss is {loss} in epoch {epoch + 1} of quantization-aware training: it diverged;"
            f" lower --qat-learning-rate (now {settings.learning_rate})"
        )
    return {
        "epoch": epoch + 1,
        "stage": "qat",
        "loss": loss,
        "frozen": frozen,
        "seconds": round(time.monotonic() - begun, 2),
    }


def _note(progression: Progression, entry: dict[str, Any]) -> bool:
    progression.history.append(entry)
    progression.epochs_done = progression.stage_epochs = entry["epoch"]
    # At a tie the later epoch: its learning rate was lower.
    if not progression.is_best(score(entry), -entry["epoch"]):
        return False
    progression.best_epoch = entry["epoch"]
    progression.best_accuracy, progression.best_loss = score(entry), -entry["epoch"]
    return True


def _judge(reference: keras.Model, images: TrainingImages) -> _Judge:
    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = reference.predict_on_batch(pixels.astype(np.float32))
        return found

    expected = _in_batches(predict, images).argmax(axis=1)
    confusion = metrics.confusion_matrix(images.split.labels, expected, images.class_count)
    return _Judge(images, expected, confusion)


def _predictor(twin: Twin) -> Any:
    return lambda pixels: twin.model.predict_on_batch(twin.scaling.apply(pixels))


def _in_batches(predict: Any, images: TrainingImages) -> NDArray[np.float32]:
    """Probabilities float32 (N, C) of a prepared split."""
    starts = range(0, len(images.split), _PREDICT_BATCH)
    chunks = [np.arange(s, min(s + _PREDICT_BATCH, len(images.split))) for s in starts]
    return np.concatenate([predict(images.gather(chunk)) for chunk in chunks])
