"""What fine-tuning of the toys' networks learns from: their images, prepared as a run prepares its own."""

from __future__ import annotations

import numpy as np
import toys

from converters.fine_tuning import Lesson
from edgecell.batches import TrainingImages
from edgecell.config import AugmentConfig
from edgecell.data.sources import ArraySource
from edgecell.data.types import Split
from edgecell.preprocess import PreprocessSpec


def prepared(name: str, count: int, seed: int) -> TrainingImages:
    x, y = toys.images(count, seed)
    split = Split(name, ArraySource(x, name), y.astype(np.int64))
    spec = PreprocessSpec(toys.SIZE, toys.SIZE)
    return TrainingImages(split, spec, x, np.ones(count, np.float32), len(toys.CLASSES))


def lesson() -> Lesson:
    calm = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0)
    sample = toys.images(32, seed=1)[0]
    return Lesson(prepared("train", 64, 1), prepared("val", 40, 2), sample, calm, 0.05)
