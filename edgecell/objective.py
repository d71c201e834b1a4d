"""What a training step minimizes: the labels' loss, hard examples first, and a teacher's answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from edgecell import losses
from edgecell.distillation import divergence
from edgecell.tasks import MULTI_CLASS, TASKS, Task

_TINY = 1e-7


@dataclass(frozen=True)
class Objective:
    """The loss of a task; ``TrainConfig`` and ``TeacherConfig`` say what the fields mean."""

    task: Task = TASKS[MULTI_CLASS]
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    distillation: float = 0.0
    temperature: float = 1.0
    _plain: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        plain = losses.crossentropy(self.task, self.label_smoothing)
        object.__setattr__(self, "_plain", plain)

    def __call__(
        self,
        probabilities: tf.Tensor,
        targets: tf.Tensor,
        weights: tf.Tensor,
        taught: tf.Tensor | None,
    ) -> tf.Tensor:
        """The mean loss of a batch, nats.

        Args:
            probabilities, targets, taught: float32 (B, C), the last from a teacher or None.
            weights: float32 (B,), or (B, C) where each label has its own. The teacher's part weighs
                all images alike.
        """
        if self.focal_gamma:
            hard = self._focal(probabilities, targets, weights)
        else:
            # Keras finds the logits behind the head: exact also where a probability is 0.
            each = self._plain(targets, probabilities, sample_weight=weights)
            hard = tf.reduce_sum(each) / tf.cast(tf.size(each), each.dtype)
        if taught is None:
            return hard
        soft = divergence(taught, probabilities, self.temperature, several=self.task.multi_label)
        return (1.0 - self.distillation) * hard + self.distillation * tf.reduce_mean(soft)

    def _focal(self, probabilities: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Cross-entropy times (1 − p)^γ, so that hard examples weigh more (Lin et al. 2017)."""
        smoothing = self.label_smoothing
        likely = tf.clip_by_value(probabilities, _TINY, 1.0 - _TINY)
        if self.task.multi_label:
            smooth = targets * (1.0 - smoothing) + smoothing / 2
            loss = smooth * self._term(likely) + (1.0 - smooth) * self._term(1.0 - likely)
        else:
            classes = tf.cast(tf.shape(targets)[1], tf.float32)
            smooth = targets * (1.0 - smoothing) + smoothing / classes
            loss = tf.reduce_sum(smooth * self._term(likely), axis=1)
        return tf.reduce_mean(weights * loss)

    def _term(self, likely: tf.Tensor) -> tf.Tensor:
        return -tf.pow(1.0 - likely, self.focal_gamma) * tf.math.log(likely)
