"""What a step of fine-tuning minimizes: the labels' loss and distance from the reference's answers."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from edgecell.config import TuningConfig
from edgecell.distillation import mixed_loss
from edgecell.objective import Objective
from edgecell.tasks import MULTI_LABEL, TASKS

Aim = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""(probabilities, targets, weights, the reference's probabilities) of a batch → its mean loss, nats."""


def aim_of(settings: TuningConfig, label_smoothing: float, *, several: bool) -> Aim:
    """The loss of classes, weights (B,), or with ``several`` labels to an image, weights (B, C)."""
    distillation, temperature = settings.distillation, settings.temperature
    if several:
        return Objective(
            TASKS[MULTI_LABEL], label_smoothing, distillation=distillation, temperature=temperature
        )

    def loss(
        student: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, teacher: tf.Tensor
    ) -> tf.Tensor:
        smooth = targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[1]
        return mixed_loss(
            student, teacher, smooth, weights, distillation=distillation, temperature=temperature
        )

    return loss
