"""MixUp and CutMix: what the pixels give up, the labels give up too."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from edgecell.mixing import mix

COUNT, SIDE = 64, 16


@pytest.fixture(scope="module")
def batch() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Image i is grey i + 1 everywhere, has class i and weight i + 1: each mixture can be read off."""
    levels = tf.range(1.0, COUNT + 1.0)
    return tf.ones([COUNT, SIDE, SIDE, 3]) * levels[:, None, None, None], tf.eye(COUNT), levels


def mixed(batch, seed=(3, 4), **shares) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = mix(batch, tf.constant(seed, tf.int64), **({"mixup": 0.0, "cutmix": 0.0} | shares))
    return tuple(part.numpy() for part in found)


def kept(targets: np.ndarray) -> np.ndarray:
    """Each image's own share, read from its label."""
    return targets[np.arange(COUNT), np.arange(COUNT)]


def test_off_changes_nothing(batch):
    for before, after in zip(batch, mixed(batch), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("shares", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_labels_and_weights_follow_the_pixels(batch, shares):
    pixels, targets, weights = mixed(batch, **shares)
    own = kept(targets)
    before = np.roll(np.arange(COUNT), 1)
    np.testing.assert_allclose(targets[np.arange(COUNT), before], 1.0 - own, atol=1e-6)
    levels = np.arange(1, COUNT + 1)
    expected = own * levels + (1 - own) * levels[before]
    # Float32 sums of at most 768 values below 65: relative error far below 1e-5.
    np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)), expected, rtol=1e-5)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert own.std() > 0.1, "each image draws a share of its own"


def test_mixup_fades_and_cutmix_pastes(batch):
    faded, _, _ = mixed(batch, mixup=1.0)
    assert all(len(np.unique(image.round(3))) == 1 for image in faded)
    pasted, _, _ = mixed(batch, cutmix=1.0)
    levels = np.arange(1.0, COUNT + 1)
    for position, image in enumerate(pasted):
        assert set(np.unique(image)) <= {levels[position], levels[position - 1]}
        foreign = image[:, :, 0] != levels[position]
        rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
        if len(rows):  # a filled rectangle, nothing else
            assert foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


@pytest.mark.parametrize("a", [0.2, 1.0])
def test_the_share_is_drawn_from_beta(batch, a):
    draws = np.concatenate([kept(mixed(batch, (7, seed), mixup=a)[1]) for seed in range(40)])
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); 2,560 draws: 5 standard errors.
    variance = 1 / (4 * (2 * a + 1))
    assert abs(draws.mean() - 0.5) < 5 * (variance / len(draws)) ** 0.5
    assert draws.var() == pytest.approx(variance, rel=0.15)


def test_with_both_on_a_batch_draws_one_of_them(batch):
    kinds = set()
    for seed in range(12):
        pixels, _, _ = mixed(batch, (1, seed), mixup=1.0, cutmix=1.0)
        kinds.add(all(len(np.unique(image.round(3))) == 1 for image in pixels))
    assert kinds == {True, False}


def test_the_same_seed_mixes_in_the_same_way(batch):
    first = mixed(batch, mixup=0.5)
    np.testing.assert_array_equal(first[0], mixed(batch, mixup=0.5)[0])
    assert (first[0] != mixed(batch, (3, 5), mixup=0.5)[0]).any()
