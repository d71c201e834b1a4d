"""A running average of a model's weights over training steps, which is steadier than any one step.

Polyak and Juditsky 1992; in the exponential form of Tarvainen and Valpola 2017. BatchNorm's
statistics are averaged with the weights they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
import tf_keras as keras


class WeightAverage:
    """The exponential moving average of all weights of ``model``, with factor ``decay`` a step.

    In the first steps the factor is (1 + step) / (10 + step), so that the initial weights, which
    were never trained, leave the average at once.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self._model, self._decay = model, decay
        self.variables = [
            tf.Variable(weight, trainable=False, name=f"average/{position}")
            for position, weight in enumerate(model.weights)
        ]

    def update(self, step: tf.Tensor) -> None:
        """Take in the model's weights after ``step`` (an integer, from 0)."""
        done = tf.cast(step, tf.float32)
        keep = tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        for average, weight in zip(self.variables, self._model.weights, strict=True):
            average.assign_sub((1.0 - keep) * (average - weight))

    def restart(self) -> None:
        """Begin again from the model's present weights."""
        for average, weight in zip(self.variables, self._model.weights, strict=True):
            average.assign(weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model holds the average; afterwards its own weights again."""
        own = self._model.get_weights()
        self._model.set_weights([average.numpy() for average in self.variables])
        try:
            yield
        finally:
            self._model.set_weights(own)
