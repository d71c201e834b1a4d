"""Random changes of training images, batch-wise, in the graph, from stateless seeds.

The numbers drawn for a batch depend on (seed, epoch, batch) alone, so that a resumed run sees
what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from edgecell.config import AugmentConfig

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


class Rows(NamedTuple):
    """Which images of a batch of ``whole`` these are: int64 (B,). They draw what they would draw in it."""

    places: tf.Tensor
    whole: int


def count_of(images: tf.Tensor, rows: Rows | None) -> tf.Tensor | int:
    """For how many images numbers are drawn."""
    return tf.shape(images)[0] if rows is None else rows.whole


def own(numbers: tf.Tensor, rows: Rows | None, axis: int = 0) -> tf.Tensor:
    """Of the numbers drawn for a whole batch, those of its images that are here."""
    return numbers if rows is None else tf.gather(numbers, rows.places, axis=axis)


def augment(
    images: tf.Tensor, seed: tf.Tensor, config: AugmentConfig, rows: Rows | None = None
) -> tf.Tensor:
    """uint8 (B, H, W, 3) → float32 (B, H, W, 3) in 0…255; ``seed`` is int32 or int64 (2,)."""
    draws = own(tf.random.stateless_uniform([count_of(images, rows), 8], seed), rows)
    images = _symmetries(images, draws, config)
    if config.shift:
        images = _shift(images, draws[:, 3:5], config.shift)
    pixels = tf.cast(images, tf.float32)
    if config.rotation or config.zoom:
        pixels = _affine(pixels, seed + 3, config, rows)
    if config.contrast:
        factor = 1.0 + config.contrast * _signed(draws[:, 5])
        mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
        pixels = (pixels - mean) * factor + mean
    if config.saturation:
        factor = 1.0 + config.saturation * _signed(draws[:, 6])
        grey = tf.reduce_sum(pixels * tf.constant(_GREY), axis=3, keepdims=True)
        pixels = (pixels - grey) * factor + grey
    if config.brightness:
        pixels += 255.0 * config.brightness * _signed(draws[:, 7])
    return tf.clip_by_value(pixels, 0.0, 255.0)


def _signed(uniform: tf.Tensor) -> tf.Tensor:
    """(B,) in [0, 1) → (B, 1, 1, 1) in [−1, 1)."""
    return tf.reshape(2.0 * uniform - 1.0, [-1, 1, 1, 1])


def _symmetries(images: tf.Tensor, draws: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Mirror left-right, and turn by 0, 90, 180 or 270 degrees: together the eight of the square."""

    def coin(column: int) -> tf.Tensor:
        return tf.reshape(draws[:, column] < 0.5, [-1, 1, 1, 1])

    if config.flip:
        images = tf.where(coin(0), tf.reverse(images, [2]), images)
    if config.quarter_turns:
        images = tf.where(coin(1), tf.reverse(images, [1, 2]), images)
        turned = tf.reverse(tf.transpose(images, [0, 2, 1, 3]), [1])
        images = tf.where(coin(2), turned, images)
    return images


def _shift(images: tf.Tensor, draws: tf.Tensor, largest: float) -> tf.Tensor:
    """Move by whole pixels; what comes in at the border is the mirrored image."""
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        reach = tf.cast(side, tf.float32) * largest
        offset = tf.cast(tf.round((2.0 * draws[:, axis - 1] - 1.0) * reach), tf.int32)
        position = tf.range(side)[None, :] + offset[:, None]
        mirrored = tf.abs(position)
        mirrored = (side - 1) - tf.abs((side - 1) - mirrored)
        images = tf.gather(images, mirrored, axis=axis, batch_dims=1)
    return images


def _affine(
    pixels: tf.Tensor, seed: tf.Tensor, config: AugmentConfig, rows: Rows | None
) -> tf.Tensor:
    """Turn and zoom each image about its centre, bilinear; the border shows the mirrored image."""
    height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
    uniform = tf.random.stateless_uniform([2, count_of(pixels, rows)], seed)
    draws = 2.0 * own(uniform, rows, axis=1) - 1.0
    angle = draws[0] * (config.rotation * math.pi / 180.0)
    # A zoom of z per cent in is as likely as one out.
    scale = tf.exp(draws[1] * math.log1p(config.zoom))
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    x, y = tf.cast(width - 1, tf.float32) / 2.0, tf.cast(height - 1, tf.float32) / 2.0
    zero = tf.zeros_like(angle)
    # Rows map the output's (x, y) to where the input is read.
    matrix = tf.stack(
        [
            *(cosine, -sine, x - cosine * x + sine * y),
            *(sine, cosine, y - sine * x - cosine * y),
            *(zero, zero),
        ],
        axis=1,
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=matrix,
        output_shape=tf.stack([height, width]),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
