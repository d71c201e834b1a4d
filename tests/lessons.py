"""What fine-tuning of the toys' networks learns from: their images, prepared as a run prepares its own."""

from __future__ import annotations

import numpy as np
import toys
import toys_labels

from converters.fine_tuning import Lesson
from edgecell.batches import TrainingImages, balanced_label_weights
from edgecell.config import AugmentConfig
from edgecell.data.sources import ArraySource
from edgecell.data.types import Split
from edgecell.preprocess import PreprocessSpec

CALM = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0)


def prepared(name: str, count: int, seed: int) -> TrainingImages:
    x, y = toys.images(count, seed)
    split = Split(name, ArraySource(x, name), y.astype(np.int64))
    spec = PreprocessSpec(toys.SIZE, toys.SIZE)
    return TrainingImages(split, spec, x, np.ones(count, np.float32), len(toys.CLASSES))


def lesson() -> Lesson:
    sample = toys.images(32, seed=1)[0]
    return Lesson(prepared("train", 64, 1), prepared("val", 40, 2), sample, CALM, 0.05)


def labelled(name: str, count: int, seed: int) -> TrainingImages:
    """The same of images with several labels, each label weighed by itself."""
    x, y = toys_labels.images(count, seed)
    spec = PreprocessSpec(toys_labels.SIZE, toys_labels.SIZE)
    weights = balanced_label_weights(y)
    split = Split(name, ArraySource(x, name), y)
    return TrainingImages(split, spec, x, weights, len(toys_labels.LABELS))


def lesson_of_labels() -> Lesson:
    sample = toys_labels.images(32, seed=1)[0]
    return Lesson(labelled("train", 64, 1), labelled("val", 48, 2), sample, CALM, 0.05)
