"""A frozen backbone's features, computed once, so that the head's epochs cost almost nothing.

A frozen backbone gives the same features for the same pixels in every epoch. What is given up is
augmentation: the head sees each image as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from edgecell.batches import TrainingImages, epoch_order
from edgecell.progress import Progress

_BATCH = 256


@dataclass(frozen=True)
class Features:
    """The head as a model of its own, on the features float32 (N, F) of all training images.

    ``head`` shares its layers with the model it was cut from: training one trains the other.
    """

    head: keras.Model
    values: NDArray[np.float32]
    images: TrainingImages

    def epoch_batches(self, *, batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
        """One epoch of (features float32 (B, F), targets (B, C), weights), in the usual order."""
        order = epoch_order(self.images, batch_size=batch_size, seed=seed, epoch=epoch)
        targets = self.images.targets(order)
        parts = (self.values[order], targets, self.images.sample_weights[order])
        return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size).prefetch(2)


def compute(model: keras.Model, pool: str, images: TrainingImages, progress: Progress) -> Features:
    """Cut ``model`` behind the layer ``pool`` and run all training images through its first part.

    Raises:
        DataError: an image cannot be decoded.
    """
    place = [layer.name for layer in model.layers].index(pool)
    backbone = keras.Model(model.inputs, model.layers[place].output)
    inputs = outputs = keras.Input(backbone.output_shape[1:])
    for layer in model.layers[place + 1 :]:
        outputs = layer(outputs)
    count = len(images.split)
    values = np.empty((count, backbone.output_shape[1]), np.float32)
    progress.begin("features of the frozen backbone", count)
    for start in range(0, count, _BATCH):
        indices = np.arange(start, min(start + _BATCH, count))
        pixels = tf.constant(images.gather(indices), tf.float32)
        values[indices] = backbone.predict_on_batch(pixels)
        progress.advance(int(indices[-1]) + 1)
    return Features(keras.Model(inputs, outputs), values, images)
