"""What quantization-aware training aims at: the labels, and the float model's own answers.

Distillation after Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
"""

from __future__ import annotations

import tensorflow as tf

# Below every probability that a softmax over int8 logits of usual range gives; keeps log finite.
_TINY = 1e-12
# 1 - p must not round to 1 in float32.
_TINY_SIGMOID = 1e-6


def mixed_loss(
    student: tf.Tensor,
    teacher: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    *,
    distillation: float,
    temperature: float,
) -> tf.Tensor:
    """Mean over a batch of ``(1 − d) · w · CE(targets, student) + d · T² · KL(teacher_T ‖ student_T)``.

    Args:
        student, teacher: probabilities float32 (N, C); tempered by T they are
            ``softmax(log(p) / T)``, for a softmax over logits z that is ``softmax(z / T)``.
        targets: one-hot labels, smoothed or not, float32 (N, C).
        weights: of the images in the hard part, float32 (N,). The soft part weighs them equally:
            it asks for agreement, which counts every image once.
        distillation: d in 0…1. temperature: T > 0; T² keeps the soft part's gradient of one size.

    Returns:
        a float32 scalar in nats.
    """
    hard = -tf.reduce_sum(targets * tf.math.log(tf.maximum(student, _TINY)), axis=1)
    soft = divergence(teacher, student, temperature, several=False)
    return tf.reduce_mean((1.0 - distillation) * weights * hard + distillation * soft)


def divergence(
    teacher: tf.Tensor, student: tf.Tensor, temperature: float, *, several: bool
) -> tf.Tensor:
    """T² · KL(teacher_T ‖ student_T) of each image, float32 (N,), nats.

    ``teacher`` and ``student`` are probabilities (N, C); with ``several`` each column is a label by
    itself and the mean over labels is taken.
    """
    if several:
        kept = [tf.clip_by_value(p, _TINY_SIGMOID, 1.0 - _TINY_SIGMOID) for p in (teacher, student)]
        logits = [(tf.math.log(p) - tf.math.log1p(-p)) / temperature for p in kept]
        taught = tf.sigmoid(logits[0])
        cost = [tf.nn.sigmoid_cross_entropy_with_logits(taught, z) for z in (logits[1], logits[0])]
        return temperature**2 * tf.reduce_mean(cost[0] - cost[1], axis=1)
    soft, found = (
        tf.nn.log_softmax(tf.math.log(tf.maximum(p, _TINY)) / temperature)
        for p in (teacher, student)
    )
    return temperature**2 * tf.reduce_sum(tf.exp(soft) * (soft - found), axis=1)
