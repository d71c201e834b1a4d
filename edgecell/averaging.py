"""A running average of a model's weights over training steps, which is steadier than any one step.

Polyak and Juditsky 1992; in the exponential form of Tarvainen and Valpola 2017. BatchNorm's
statistics are averaged with the weights they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from edgecell.distribution import assign_on_each


class WeightAverage:
    """The exponential moving average of all weights of ``model``, with factor ``decay`` a step.

    In the first steps the factor is (1 + step) / (10 + step), so that the initial weights, which
    were never trained, leave the average at once.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self._model, self._decay = model, decay
        # BatchNorm's statistics differ from device to device until they are read: so do their averages.
        self.variables = [
            tf.Variable(
                value,
                trainable=False,
                name=f"average/{position}",
                synchronization=weight.synchronization,
                aggregation=weight.aggregation,
            )
            for position, (value, weight) in enumerate(
                zip(model.get_weights(), model.weights, strict=True)
            )
        ]

    def update(self, step: tf.Tensor) -> None:
        """Take in the model's weights after ``step`` (an integer, from 0)."""
        done = tf.cast(step, tf.float32)
        keep = tf.minimum(self._decay, (1.0 + done) / (10.0 + done))
        moved = [
            average - (1.0 - keep) * (average - weight)
            for average, weight in zip(self.variables, self._model.weights, strict=True)
        ]
        assign_on_each(self.variables, moved)

    def values(self) -> list[NDArray[np.float32]]:
        """The average of each of the model's weights, in order."""
        return [average.numpy() for average in self.variables]

    def restart(self) -> None:
        """Begin again from the model's present weights."""
        for average, value in zip(self.variables, self._model.get_weights(), strict=True):
            average.assign(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model holds the average; afterwards its own weights again."""
        own = self._model.get_weights()
        self._model.set_weights(self.values())
        try:
            yield
        finally:
            self._model.set_weights(own)
