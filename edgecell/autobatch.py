"""``--batch-size auto``: the size at which this machine trains this model fastest, measured."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf
import tf_keras as keras

from edgecell.config import Config
from edgecell.learner import Learner
from edgecell.models.registry import build_model, set_trainable
from edgecell.objective import Objective
from edgecell.optimizers import make_optimizer
from edgecell.progress import Progress

SIZES = (32, 64, 128, 256)
STEPS = 4
WORTH = 0.95
"""The smallest size within this share of the best rate wins: it leaves the most updates an epoch."""


def choose(config: Config, classes: int, images: int, progress: Progress) -> int:
    """The batch size for ``images`` training images; sizes that leave under 8 steps are not tried.

    A size that does not fit into the device's memory ends the search.

    Raises:
        ArtifactError, DataError: weights that cannot be had.
    """
    fitting = [size for size in SIZES if size * 8 <= images] or [min(SIZES[0], images)]
    if len(fitting) == 1:
        return fitting[0]
    model = build_model(config.model, classes, config.train.batchnorm_momentum)
    set_trainable(model, config.train.fine_tune_layers)
    rates: dict[int, float] = {}
    progress.begin("batch size", len(fitting))
    for position, size in enumerate(fitting, start=1):
        try:
            rates[size] = images_per_second(model, config, classes, size)
        except tf.errors.ResourceExhaustedError:
            if not rates:
                raise
            break
        progress.advance(position)
    chosen = pick(rates)
    told = ", ".join(f"{size}: {rate:.0f}" for size, rate in rates.items())
    progress.say(f"batch size {chosen} (images/s at {told})")
    return chosen


def pick(rates: dict[int, float]) -> int:
    """The smallest size whose rate is worth nearly as much as the best."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= WORTH * best)


def images_per_second(model: keras.Model, config: Config, classes: int, size: int) -> float:
    """Median rate of training steps on random pixels, the first one (tracing) left out."""
    learner = Learner(model, Objective())
    optimizer = make_optimizer(config.train, 1e-6)
    learner.compile(optimizer, jit_compile=False)
    random = np.random.default_rng(0)
    side = config.model.image_size
    pixels = tf.constant(random.integers(0, 256, (size, side, side, 3)), tf.float32)
    targets = tf.one_hot(random.integers(0, classes, size), classes)
    seconds = []
    for _ in range(STEPS + 1):
        begun = time.perf_counter()
        learner.train_on_batch(pixels, targets, tf.ones([size]))
        seconds.append(time.perf_counter() - begun)
    return size / float(np.median(seconds[1:]))
