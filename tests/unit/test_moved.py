"""Moved labels are told by their confusion matrix; bad and dead models are not taken for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgecell.metrics import find_moved, moved_line

REPOSITORY = Path(__file__).resolve().parents[2]


def confusion(classes: int, accuracy: float, images: int, seed: int = 0) -> np.ndarray:
    """Counts (C, C) of a model that is right in this share and else says anything."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    said = np.where(random.random(images) < accuracy, labels, random.integers(0, classes, images))
    return np.bincount(labels * classes + said, minlength=classes**2).reshape(classes, classes)


def rolled(matrix: np.ndarray, by: int) -> np.ndarray:
    """As if each label were ``by`` more than it is."""
    return np.roll(matrix, by, axis=0)


@pytest.mark.parametrize(("classes", "images"), [(3, 60), (8, 200), (1000, 1000)])
@pytest.mark.parametrize("by", [1, -1])
def test_shifted_labels_are_told_with_their_share(classes: int, images: int, by: int) -> None:
    found = find_moved(rolled(confusion(classes, 0.97, images), by))
    assert found is not None
    line = moved_line(found, [str(i) for i in range(classes)], "val")
    assert line.startswith(f"labels of val look shifted: class k is predicted as k{-by:+d} in 9")
    assert f" of {images:,} images" in line


def test_labels_that_begin_at_one_and_are_cut_at_the_end_are_shifted_too() -> None:
    matrix = confusion(6, 1.0, 120)
    moved = np.zeros_like(matrix)
    moved[1:] = matrix[:-1]  # the last class's images have left the set
    found = find_moved(moved)
    assert found is not None
    assert found.offset == 5


def test_two_classes_taken_for_one_another_are_named() -> None:
    matrix = confusion(5, 1.0, 100)
    matrix[[1, 3]] = matrix[[3, 1]]
    found = find_moved(matrix)
    assert found is not None
    line = moved_line(found, list("abcde"), "test")
    assert "look swapped: 'b' is predicted as 'd', 'd' is predicted as 'b' in 100% of 40" in line


def test_inverted_answers_of_two_classes_are_told() -> None:
    assert find_moved(np.array([[4, 60], [70, 3]])) is not None


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 5, 100])
def test_a_weak_model_is_only_weak(accuracy: float, classes: int) -> None:
    for seed in range(5):
        assert find_moved(confusion(classes, accuracy, 300, seed)) is None


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("said", [0, 1])
def test_a_dead_model_is_only_dead(classes: int, said: int) -> None:
    """It says one class of everything, also where most images are of another one."""
    matrix = np.zeros((classes, classes), np.int64)
    matrix[:, said] = 10
    matrix[(said + 1) % classes, said] = 500
    assert find_moved(matrix) is None


def test_few_images_prove_nothing() -> None:
    assert find_moved(np.array([[0, 2], [2, 0]])) is None
    assert find_moved(np.zeros((3, 3), np.int64)) is None


@pytest.mark.parametrize("name", ["pbc28", "pbc128"])
def test_the_released_models_raise_no_false_alarm_and_their_shifted_labels_do(name: str) -> None:
    path = REPOSITORY / "artifacts" / name / "evaluate/model-test/evaluation.json"
    matrix = np.array(json.loads(path.read_text(encoding="utf-8"))["confusion"])
    assert find_moved(matrix) is None
    assert find_moved(rolled(matrix, 1)) is not None
