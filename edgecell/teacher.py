"""Teachers for distillation: the mean answer of several models, of several views of an image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from edgecell.learner import Teacher


def ask(models: Sequence[keras.Model], *, tta: bool) -> Teacher:
    """A function from pixels float32 (B, H, W, 3) in 0…255 to the mean probabilities (B, C).

    A model of another input size gets the images resized, bilinear and antialiased. With ``tta``
    each model answers for the eight symmetries of the square.
    """

    def teach(pixels: tf.Tensor) -> tf.Tensor:
        views = symmetries(pixels) if tta else [pixels]
        answers = [
            tf.cast(model(_resized(view, model), training=False), tf.float32)
            for model in models
            for view in views
        ]
        return tf.add_n(answers) / len(answers)

    return teach


def symmetries(pixels: tf.Tensor) -> list[tf.Tensor]:
    """The eight mirrored and turned views of square images (B, H, H, 3); the first is as given."""
    turned = tf.reverse(tf.transpose(pixels, [0, 2, 1, 3]), [1])
    return [
        tf.reverse(view, axes) if axes else view
        for view in (pixels, turned)
        for axes in ([], [1], [2], [1, 2])
    ]


def weights_sha256(model: keras.Model) -> str:
    """The hash of a model's weights, in order."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _resized(pixels: tf.Tensor, model: keras.Model) -> tf.Tensor:
    size = model.input_shape[1:3]
    if size == tuple(pixels.shape[1:3]):
        return pixels
    return tf.image.resize(pixels, size, antialias=True)
