"""The training loss of a task. Weights belong to images, float32 (B,), or to each label, (B, C)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from edgecell.tasks import Task


def crossentropy(task: Task, label_smoothing: float) -> keras.losses.Loss:
    """Cross-entropy in nats of what the task's head gives: weighted losses, of which the caller takes the mean.

    With several labels to an image it is the mean over labels of the binary one, and smoothing draws
    a target towards one half.
    """
    if task.multi_label:
        return LabelCrossentropy(label_smoothing)
    # With several devices only the caller knows over how many images the mean is.
    return keras.losses.CategoricalCrossentropy(
        label_smoothing=label_smoothing, reduction=keras.losses.Reduction.NONE
    )


def accuracy(task: Task) -> Any:
    """What ``compile`` takes as a metric to report "accuracy" by."""
    return (
        keras.metrics.MeanMetricWrapper(_label_hits, name="accuracy")
        if task.multi_label
        else "accuracy"
    )


class LabelCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of each label by itself, float32 (B, C), so that weights can be (B, C).

    Keras' own takes the mean over labels before it weighs, which leaves one weight to an image.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__(keras.losses.Reduction.NONE, name="label_crossentropy")
        self.label_smoothing = label_smoothing

    def call(self, targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Of targets in 0…1 and probabilities, both (B, C)."""
        smooth = targets * (1.0 - self.label_smoothing) + self.label_smoothing / 2
        return keras.backend.binary_crossentropy(smooth, probabilities)


def _label_hits(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Share of right labels of each image; blended targets count as what they mostly are."""
    right = tf.equal(targets > 0.5, probabilities > 0.5)
    return tf.reduce_mean(tf.cast(right, tf.float32), axis=-1)
