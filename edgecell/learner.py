"""One training step: the loss from labels and teacher, the update, the running average.

A :class:`Learner` shares its layers with the model it is made of; Keras' ``fit`` drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras

from edgecell.averaging import WeightAverage
from edgecell.distribution import assign_on_each
from edgecell.objective import Objective

Teacher = Callable[[tf.Tensor], tf.Tensor]
"""Pixels float32 (B, H, W, 3) in 0…255 → probabilities float32 (B, C)."""


class Learner(keras.Model):
    """``model`` with a step of its own; compile it with an optimizer and call ``fit``."""

    def __init__(
        self,
        model: keras.Model,
        objective: Objective,
        *,
        teacher: Teacher | None = None,
        average: WeightAverage | None = None,
        rates: dict[str, float] | None = None,
    ) -> None:
        """``rates`` gives layers, by name, a share of the learning rate; others have all of it."""
        super().__init__(model.inputs, model.outputs)
        self._objective, self._average = objective, average
        self._loss = keras.metrics.Mean(name="loss")
        # Metrics are those of all devices already.
        self.distribute_reduction_method = "first"
        # A function, not a model: Keras would take a model's weights for this one's.
        self._teach = (lambda pixels: teacher(pixels)) if teacher else None
        shares = rates or {}
        self._rates = {
            id(weight): shares[layer.name]
            for layer in model.layers
            if layer.name in shares
            for weight in layer.trainable_weights
        }

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update from (pixels 0…255, targets, weights); the batch's loss and accuracy."""
        pixels, targets, weights = data
        taught = tf.stop_gradient(self._teach(pixels)) if self._teach else None
        with tf.GradientTape() as tape:
            probabilities = self(pixels, training=True)
            loss = self._objective(probabilities, targets, weights, taught)
            # Gradients of several devices are added up: of the mean over all of them, each has its part.
            part = loss / self.distribute_strategy.num_replicas_in_sync
        self._update(tape, part)
        if self._average is not None:
            self._average.update(self.optimizer.iterations)
        self._loss.update_state(loss)
        self.compiled_metrics.update_state(targets, probabilities)
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The mean loss of the epoch beside what ``compile`` was given; ``fit`` resets them."""
        return [self._loss, *(m for m in super().metrics if m is not self._loss)]

    def _update(self, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        slowed = [(v, self._rates[id(v)]) for v in self.trainable_variables if id(v) in self._rates]
        before = [tf.identity(variable) for variable, _ in slowed]
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        # A share of the step, whatever optimizer made it: Adam forgets the scale of its gradients.
        moved = [
            old + share * (variable - old)
            for (variable, share), old in zip(slowed, before, strict=True)
        ]
        if moved:
            assign_on_each([variable for variable, _ in slowed], moved)
