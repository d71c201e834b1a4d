"""Which images a file with the resize inside can take."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Pictures

from edgecell.config import Config, ModelConfig
from edgecell.data import Dataset
from edgecell.data.types import Split
from edgecell.errors import ConvertError
from edgecell.pipeline.enlarging import source_size
from edgecell.progress import Silent


def of_size(rows: int, columns: int) -> Dataset:
    images = Pictures(np.zeros((6, rows, columns, 3), np.uint8))
    splits = [Split(name, images, np.arange(6) % 2) for name in ("train", "val", "test")]
    return Dataset("blank", "multi-class", ("a", "b"), *splits, origin={})


@pytest.mark.parametrize(("fit", "size"), [("stretch", (20, 24)), ("crop", (20, 20))])
def test_images_that_are_seen_whole_are_taken(fit, size):
    assert (
        source_size(of_size(*size), Config(model=ModelConfig(fit=fit)), (32, 32), Silent()) == size
    )


@pytest.mark.parametrize(
    ("fit", "fraction", "size", "seen"),
    [
        ("crop", 1.0, (20, 24), "20×20"),
        ("stretch", 0.9, (20, 20), "18×18"),
        ("crop", 0.9, (20, 24), "18×18"),
    ],
)
def test_a_resize_cannot_cut(fit, fraction, size, seen):
    config = Config(model=ModelConfig(fit=fit, central_fraction=fraction))
    with pytest.raises(ConvertError, match=f"sees {seen} pixels in the middle of images of 20×"):
        source_size(of_size(*size), config, (32, 32), Silent())
