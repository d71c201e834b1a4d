"""Small data sets on disk, good ones to be spoilt by the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def arrays() -> dict[str, Any]:
    """A valid npz content: 3 classes, 12 × 10 RGB, all images distinct."""
    rng = np.random.default_rng(1)
    content: dict[str, Any] = {}
    for name, count in (("train", 60), ("val", 12), ("test", 15)):
        content[f"{name}_images"] = rng.integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)
        content[f"{name}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    return content


@pytest.fixture
def write_npz(tmp_path: Path) -> Callable[..., str]:
    """Write arrays to a file under the test's folder; returns its path."""

    def write(content: dict[str, Any], name: str = "set.npz") -> str:
        np.savez(tmp_path / name, **content)
        return str(tmp_path / name)

    return write


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make an image folder from {"train/cat": 5, ...}; every image is different."""
    rng = np.random.default_rng(2)

    def make(counts: dict[str, int], suffix: str = ".png", name: str = "pictures") -> Path:
        root = tmp_path / name
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{i}{suffix}")
        return root

    return make
