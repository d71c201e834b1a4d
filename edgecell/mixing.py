"""MixUp and CutMix: training images blended with others of their batch, labels in proportion."""

from __future__ import annotations

import tensorflow as tf

from edgecell.augment import Rows, count_of, own

Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def mix(
    batch: Batch, seed: tf.Tensor, *, mixup: float, cutmix: float, rows: Rows | None = None
) -> Batch:
    """Blend each image with the one before it in the batch, whose order is random already.

    MixUp (Zhang et al. 2018) fades whole images into one another, CutMix (Yun et al. 2019) pastes a
    rectangle; each image draws its own share from Beta(a, a), a being ``mixup`` or ``cutmix``, 0 for
    off. With both on, each batch draws one of them.

    Args:
        batch: pixels float32 (B, H, W, 3), targets float32 (B, C), weights float32 (B,); targets and
            weights are blended in the same proportion as the pixels.
        seed: int32 or int64 (2,); the same seed blends in the same way.
        rows: which images of a larger batch these are; its first one here, whose neighbour is missing, is
            blended with the last.
    """
    if not (mixup or cutmix):
        return batch
    count = count_of(batch[0], rows)

    def share(a: float) -> tf.Tensor:
        return own(_beta(count, seed, a), rows)

    if not cutmix:
        return _fade(batch, share(mixup))
    if not mixup:
        return _paste(batch, share(cutmix), seed, rows)
    pick = tf.random.stateless_uniform([], seed + 2) < 0.5
    return tf.cond(
        pick,
        lambda: _fade(batch, share(mixup)),
        lambda: _paste(batch, share(cutmix), seed, rows),
    )


def _beta(count: tf.Tensor | int, seed: tf.Tensor, a: float) -> tf.Tensor:
    """float32 (count,) from Beta(a, a): X / (X + Y) of two gamma variables."""
    draws = tf.random.stateless_gamma([2, count], seed, alpha=a, dtype=tf.float64)
    total = tf.maximum(draws[0] + draws[1], 1e-300)
    return tf.cast(draws[0] / total, tf.float32)


def _fade(batch: Batch, share: tf.Tensor) -> Batch:
    """Keep ``share`` of each image."""
    pixels, targets, weights = batch
    return _blend(pixels, share), _blend(targets, share), _blend(weights, share)


def _paste(batch: Batch, share: tf.Tensor, seed: tf.Tensor, rows: Rows | None) -> Batch:
    """Keep about ``share`` of each image's area; labels follow the area that was really kept."""
    pixels, targets, weights = batch
    height, width = tf.shape(pixels)[1], tf.shape(pixels)[2]
    uniform = tf.random.stateless_uniform([2, count_of(pixels, rows)], seed + 1)
    centre = own(uniform, rows, axis=1)
    side = tf.sqrt(1.0 - share)
    mask = _span(centre[0], side, height)[:, :, None] & _span(centre[1], side, width)[:, None, :]
    area = tf.reduce_mean(tf.cast(mask, tf.float32), axis=[1, 2])
    pixels = tf.where(mask[..., None], tf.roll(pixels, 1, axis=0), pixels)
    return pixels, _blend(targets, 1.0 - area), _blend(weights, 1.0 - area)


def _span(centre: tf.Tensor, side: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """bool (B, length): positions within half a ``side`` (a share of the length) of the centre."""
    position = (tf.cast(tf.range(length), tf.float32) + 0.5) / tf.cast(length, tf.float32)
    return tf.abs(position[None, :] - centre[:, None]) < side[:, None] / 2


def _blend(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """``share`` · values + (1 − share) · the values of the neighbour before."""
    by = tf.reshape(share, [-1] + [1] * (values.shape.rank - 1))
    return by * values + (1.0 - by) * tf.roll(values, 1, axis=0)
