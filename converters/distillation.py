"""What quantization-aware training aims at: the labels, and the float model's own answers.

Distillation after Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
"""

from __future__ import annotations

import tensorflow as tf

# Below every probability that a softmax over int8 logits of usual range gives; keeps log finite.
_TINY = 1e-12


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
    logits = tf.math.log(tf.maximum(student, _TINY))
    hard = -tf.reduce_sum(targets * logits, axis=1)
    soft = tf.nn.log_softmax(tf.math.log(tf.maximum(teacher, _TINY)) / temperature)
    gap = soft - tf.nn.log_softmax(logits / temperature)
    divergence = tf.reduce_sum(tf.exp(soft) * gap, axis=1)
    return tf.reduce_mean(
        (1.0 - distillation) * weights * hard + distillation * temperature**2 * divergence
    )
