from __future__ import annotations

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data import SPLITS, load_dataset
from edgecell.data import synthetic as synthetic_module
from edgecell.data.nucleus import nucleus_distance
from edgecell.data.smear import KINDS, Canvas, draw
from edgecell.data.synthetic import CLASS_NAMES, COUNTS, load_synthetic, split_labels
from edgecell.errors import ConfigError


def images(split):
    return split.source.images


@pytest.fixture(scope="module")
def whole():
    return load_dataset(DataConfig(strict_splits=True))


def test_the_default_set_has_bloodmnists_classes_and_imbalance(whole):
    assert whole.class_names == (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    )
    for name in SPLITS:
        counts = np.bincount(whole.split(name).labels, minlength=8)
        assert counts.sum() == COUNTS[name]
        np.testing.assert_allclose(
            counts / counts.sum(), synthetic_module._SHARES / 11959, atol=0.005
        )
    assert images(whole.train).shape == (1600, 28, 28, 3)
    assert images(whole.train).dtype == np.uint8


def test_no_picture_twice(whole):
    every = np.concatenate([images(whole.split(s)) for s in SPLITS])
    assert len({picture.tobytes() for picture in every}) == sum(COUNTS.values())


def test_a_seed_gives_the_same_pictures_and_another_seed_others(whole):
    few = load_synthetic(28, 0, limit=16)
    again = load_synthetic(28, 0, limit=16)
    other = load_synthetic(28, 1, limit=16)
    np.testing.assert_array_equal(images(few.train), images(again.train))
    assert not np.array_equal(images(few.train), images(other.train))
    assert few.fingerprint == whole.fingerprint != other.fingerprint


def test_a_limited_set_is_a_part_of_the_whole(whole):
    few = load_dataset(DataConfig(limit=24))
    known = {
        p.tobytes(): label for p, label in zip(images(whole.test), whole.test.labels, strict=True)
    }
    assert len(few.test) == 24
    for picture, label in zip(images(few.test), few.test.labels, strict=True):
        assert known[picture.tobytes()] == label
    assert set(few.test.labels.tolist()) == set(range(8))
    assert any(
        note.startswith("limited to 24 images per split (train 24 of 1600") for note in few.notes
    )


def test_labels_are_shuffled():
    labels = split_labels("train", 0)
    assert len(set(labels[:100].tolist())) == 8
    assert not np.array_equal(labels, split_labels("train", 1))


@pytest.mark.parametrize("size", [28, 64])
def test_every_class_is_drawn_at_the_size_asked_for(size):
    canvas = Canvas.of(size)
    for kind in KINDS.values():
        picture = draw(kind, canvas, np.random.default_rng(5))
        assert picture.shape == (size, size, 3)
        assert picture.std() > 5


def test_the_same_stream_gives_the_same_cell_at_two_sizes():
    """Drawn at 64 and at 128 and shrunk alike, a cell is one cell: geometry knows no pixels."""
    kind = KINDS["neutrophil"]
    small, large = (
        draw(kind, Canvas.of(size), np.random.default_rng(7)).astype(float) for size in (64, 128)
    )
    shrunk = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    coarse = [x.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).ravel() for x in (small, shrunk)]
    assert np.corrcoef(*coarse)[0, 1] > 0.98


def test_an_unknown_nucleus_shape_is_an_error():
    with pytest.raises(ValueError, match="no nucleus shape 'star'"):
        nucleus_distance("star", np.zeros((2, 2)), np.zeros((2, 2)), np.random.default_rng(0))


def test_a_limit_below_the_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"limit is 7 .* 8 classes; allowed: 0 \(no limit\)"):
        load_dataset(DataConfig(limit=7))


def test_colour_statistics_and_a_linear_model_do_not_solve_it(whole):
    """Ridge regression on all pixels (a linear classifier in closed form), best of four strengths."""
    x, t = (images(whole.split(s)).reshape(COUNTS[s], -1) / 128 - 1 for s in ("train", "test"))
    centre = x.mean(axis=0)
    x, t = x - centre, t - centre
    targets = np.eye(len(CLASS_NAMES))[whole.train.labels]
    kernel = x @ x.T
    best = 0.0
    for strength in (30, 100, 300, 1000):
        dual = np.linalg.solve(kernel + strength * np.eye(len(x)), targets - targets.mean(axis=0))
        best = max(best, float(((t @ (x.T @ dual)).argmax(axis=1) == whole.test.labels).mean()))
    majority = np.bincount(whole.test.labels).max() / len(whole.test)
    assert majority + 0.1 < best < 0.75
