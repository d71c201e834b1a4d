from __future__ import annotations

import json

import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from converters.calibration import calibration_set, choose, unseen
from edgecell.data.types import Split
from edgecell.errors import DataError
from edgecell.preprocess import PreprocessSpec


class Source:
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def read(self, index):
        return self.images[index]

    def name(self, index):
        return f"image {index}"


@pytest.fixture(scope="module")
def split():
    images, labels = toys.images(40, seed=6)
    return Split("train", Source(images), labels.astype(np.int64))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 80), st.integers(0, 9))
def test_a_sample_is_stratified_sorted_and_repeatable(labels, count, seed):
    labels = np.array(labels)
    classes, support = np.unique(labels, return_counts=True)
    if count < len(classes):
        with pytest.raises(DataError, match="at least one a class"):
            choose(labels, count, seed)
        return
    chosen = choose(labels, count, seed)
    assert len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    found = np.array([(labels[chosen] == each).sum() for each in classes])
    assert (found >= 1).all() and (found <= support).all()
    # Largest remainder: within one of the exact share, where one-at-least does not interfere.
    exact = support * min(count, len(labels)) / len(labels)
    if exact.min() >= 1:
        assert np.abs(found - exact).max() <= 1 + 1e-9
    np.testing.assert_array_equal(chosen, choose(labels, count, seed))


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.integers(0, 80), st.integers(0, 9))
def test_unseen_images_are_others_as_many_as_asked_for_or_all(size, drawn, count, seed):
    drawn = np.array(sorted(i for i in drawn if i < size), np.int64)
    found = unseen(drawn, size, count, seed)
    assert len(found) == min(count, size - len(drawn))
    assert (np.diff(found) > 0).all() and not np.isin(found, drawn).any()
    assert len(found) == 0 or (found.min() >= 0 and found.max() < size)
    np.testing.assert_array_equal(found, unseen(drawn, size, count, seed))


def test_another_seed_is_another_sample():
    labels = np.arange(400) % 4
    assert not np.array_equal(choose(labels, 40, 0), choose(labels, 40, 1))


def test_a_rare_class_is_in_it():
    labels = np.array([0] * 990 + [1] * 10)
    assert (labels[choose(labels, 20, 0)] == 1).sum() == 1


def test_no_labels_are_refused():
    with pytest.raises(DataError, match="train split is empty"):
        choose(np.array([], np.int64), 5, 0)


@pytest.mark.parametrize("name", ["val", "test"])
def test_only_train_may_be_calibrated_on(split, name):
    other = Split(name, split.source, split.labels)
    with pytest.raises(DataError, match=f"split '{name}' is refused; allowed: train"):
        calibration_set(other, PreprocessSpec(16, 16), count=8, seed=0, fingerprint="f")


def test_the_manifest_lets_anybody_draw_the_images_again(split):
    spec = PreprocessSpec(16, 16)
    drawn = calibration_set(split, spec, count=12, seed=7, fingerprint="abc")
    again = json.loads(json.dumps(drawn.manifest))
    np.testing.assert_array_equal(split.source.images[again["indices"]], drawn.images)
    np.testing.assert_array_equal(again["indices"], choose(split.labels, 12, again["seed"]))
    assert again["per_class"] == {"0": 3, "1": 3, "2": 3, "3": 3}
    assert (again["split"], again["data_fingerprint"], again["count"]) == ("train", "abc", 12)
    assert len(again["images_sha256"]) == 64
    other = calibration_set(split, spec, count=12, seed=8, fingerprint="abc")
    assert other.manifest["images_sha256"] != again["images_sha256"]
