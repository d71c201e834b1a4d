"""Training batches: images from memory or disk in a seeded order, augmented in the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgecell.augment import Rows, augment
from edgecell.config import AugmentConfig
from edgecell.data.types import Split, materialize, read_into
from edgecell.errors import DataError
from edgecell.mixing import mix
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.scratch import ScratchRows
from edgecell.share import WHOLE, Share

MEMORY_LIMIT = 1_200_000_000
"""Bytes of resized images that are kept in memory; larger splits are read batch by batch.

What was read is kept on disk for the next epochs: decoding and resizing a photograph of 360 × 360
takes a core as long as training MobileNetV2 0.35 on it at 96 pixels.
"""


@dataclass(frozen=True)
class TrainingImages:
    """A split ready for training: labels, and resized images in memory if they fit, else on disk.

    ``pixels`` is uint8 (N, H, W, 3) or None; ``sample_weights`` float32 (N,), or (N, C) where an
    image can have several labels: those of its labels.
    """

    split: Split
    spec: PreprocessSpec
    pixels: NDArray[np.uint8] | None
    sample_weights: NDArray[np.float32]
    class_count: int
    scratch: ScratchRows | None = None
    failures: list[DataError] = field(default_factory=list)

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at ``indices``, uint8 (len(indices), H, W, 3).

        Raises:
            DataError: an image cannot be decoded, or the disk is full. It is also kept in ``failures``: inside a
            tf.data pipeline TensorFlow replaces it by an error of its own.
        """
        if self.pixels is not None:
            return self.pixels[indices]
        out = np.empty((len(indices), self.spec.height, self.spec.width, 3), np.uint8)
        missing = np.ones(len(indices), bool)
        if self.scratch is not None:
            missing = ~self.scratch.fetch(out, indices)
        if not missing.any():
            return out
        try:
            read = np.empty((int(missing.sum()), *out.shape[1:]), np.uint8)
            read_into(read, self.split.source, indices[missing], self.spec)
            out[missing] = read
            if self.scratch is not None:
                self.scratch.keep(read, indices[missing])
        except DataError as error:
            self.failures.append(error)
            raise
        return out

    def targets(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the head is to answer for the images at ``indices``, float32 (len(indices), C)."""
        labels = self.split.labels[indices]
        if self.split.multi_label:
            return labels.astype(np.float32)
        return np.eye(self.class_count, dtype=np.float32)[labels]


def prepare(
    split: Split,
    spec: PreprocessSpec,
    class_count: int,
    *,
    class_weights: bool,
    progress: Progress,
    memory_limit: int | None = None,
) -> TrainingImages:
    """Resize a split once if it fits in memory, and weigh its images by class.

    ``memory_limit``: bytes of resized images, MEMORY_LIMIT unless given.

    Raises:
        DataError: an image cannot be decoded.
    """
    pixels, scratch, shape = None, None, (spec.height, spec.width, 3)
    if len(split) * math.prod(shape) <= (MEMORY_LIMIT if memory_limit is None else memory_limit):
        progress.begin(f"reading {split.name}", len(split))
        pixels = materialize(split, spec, progress.advance)
    else:
        scratch = ScratchRows.where_there_is_room(len(split), shape)
        if scratch is None:
            progress.say(
                f"note: {split.name} fits neither in memory nor on the disk of the cache folder"
                " (EDGECELL_CACHE): its images are decoded in every epoch"
            )
    weights = np.ones(split.labels.shape, np.float32)
    if class_weights and split.multi_label:
        weights = balanced_label_weights(split.labels)
    elif class_weights:
        weights = balanced_weights(split.labels, class_count)[split.labels]
    return TrainingImages(split, spec, pixels, weights, class_count, scratch)


def balanced_weights(labels: NDArray[np.int64], class_count: int) -> NDArray[np.float32]:
    """float32 (class_count,): N / (classes present · images of the class), 0 for an absent class.

    scikit-learn's "balanced" (King and Zeng 2001); the mean weight of an image is 1.
    """
    counts = np.bincount(labels, minlength=class_count)
    present = counts > 0
    weights = np.zeros(class_count, np.float32)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights


def balanced_label_weights(labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (N, C) for labels (N, C): each label's positive and negative images weigh half each.

    :func:`balanced_weights` of each label by itself; 1 throughout where all images answer alike.
    """
    count, positive = len(labels), labels.sum(axis=0)
    with np.errstate(divide="ignore"):
        weights = np.where(labels == 1, count / (2 * positive), count / (2 * (count - positive)))
    return np.where((positive > 0) & (positive < count), weights, 1.0).astype(np.float32)


def steps_per_epoch(images: TrainingImages, batch_size: int) -> int:
    """Batches in an epoch. A remainder is dropped, for BatchNorm's sake, unless it is all there is."""
    return max(1, len(images.split) // batch_size)


def epoch_order(
    images: TrainingImages, *, batch_size: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """The indices of an epoch's images, whole batches of them: a function of (seed, epoch)."""
    order = np.random.default_rng([seed, epoch]).permutation(len(images.split)).astype(np.int64)
    return order[: steps_per_epoch(images, batch_size) * batch_size]


def epoch_batches(
    images: TrainingImages,
    config: AugmentConfig,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """One epoch of (pixels float32 (B, H, W, 3) in 0…255, one-hot (B, C), weights (B,)).

    Of images with several labels: (pixels, labels 0 or 1 (B, C), weights (B, C)). Order, augmentation
    and mixing are functions of (seed, epoch). With a ``share`` each batch comes in its parts, one after
    the other, whose images are those that they are in the whole batch.
    """
    order = epoch_order(images, batch_size=batch_size, seed=seed, epoch=epoch)
    steps = steps_per_epoch(images, batch_size)
    whole = len(order) // steps
    # An image is mixed with the one before it, which may be another part's.
    before = int(share != WHOLE and bool(mixup or cutmix))
    places = share.places(whole, before=before)
    shape = [None, images.spec.height, images.spec.width, 3]
    labels, several = tf.constant(images.split.labels, tf.int64), images.split.multi_label
    weights = tf.constant(images.sample_weights, tf.float32)

    def batch(
        step: tf.Tensor, places: tf.Tensor, indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rows = None if share == WHOLE else Rows(places, whole)
        pixels = tf.ensure_shape(tf.numpy_function(images.gather, [indices], tf.uint8), shape)
        key = tf.stack([tf.constant(seed * 100_003 + epoch, tf.int64), step])
        found = tf.gather(labels, indices)
        targets = tf.cast(found, tf.float32) if several else tf.one_hot(found, images.class_count)
        made = augment(pixels, key, config, rows), targets, tf.gather(weights, indices)
        pixels, targets, chosen = mix(made, key + 5, mixup=mixup, cutmix=cutmix, rows=rows)
        return pixels[before:], targets[before:], chosen[before:]

    parts = (
        np.repeat(np.arange(steps), len(places)),
        np.tile(places, (steps, 1)),
        order.reshape(steps, whole)[:, places].reshape(-1, places.shape[1]),
    )
    dataset = tf.data.Dataset.from_tensor_slices(parts)
    return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
