from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from edgecell.augment import augment
from edgecell.config import AugmentConfig

OFF = AugmentConfig(
    flip=False, quarter_turns=False, brightness=0, contrast=0, saturation=0, shift=0
)
EVERYTHING = AugmentConfig(
    brightness=0.9, contrast=0.9, saturation=0.9, shift=0.9, rotation=90, zoom=0.5
)
SIDE = 8


def run(images: np.ndarray, config: AugmentConfig, seed: tuple[int, int] = (1, 2)) -> np.ndarray:
    out = augment(tf.constant(images), tf.constant(seed, tf.int64), config)
    assert out.dtype == tf.float32
    return out.numpy()


@pytest.fixture(scope="module")
def copies() -> np.ndarray:
    """One image without any symmetry, 256 times."""
    image = np.random.default_rng(0).integers(40, 216, (1, SIDE, SIDE, 3), dtype=np.uint8)
    return np.repeat(image, 256, axis=0)


def distinct(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_all_off_changes_nothing(copies):
    np.testing.assert_array_equal(run(copies, OFF), copies.astype(np.float32))


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation", "shift", "zoom"])
def test_each_magnitude_alone_changes_images_and_zero_switches_it_off(copies, key):
    assert len(distinct(run(copies, replace(OFF, **{key: 0.3})))) > 5
    everything_else = replace(EVERYTHING, **{key: 0.0})
    assert len(distinct(run(copies, everything_else))) > 100
    assert len(distinct(run(copies, replace(OFF, **{key: 0.0})))) == 1


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"flip": True}, {(0, False), (0, True)}),
        ({"quarter_turns": True}, {(k, False) for k in range(4)}),
        ({"flip": True, "quarter_turns": True}, {(k, m) for k in range(4) for m in (False, True)}),
    ],
)
def test_flips_and_turns_make_exactly_the_symmetries_of_the_square(copies, switches, expected):
    image = copies[0].astype(np.float32)
    allowed = {np.rot90(image[:, ::-1] if mirror else image, k).tobytes() for k, mirror in expected}
    seen = [image.tobytes() for image in run(copies, replace(OFF, **switches))]
    assert set(seen) == allowed
    # Each has a share of 1/len; 256 draws leave its count within 5 standard deviations.
    share = 1 / len(allowed)
    slack = 5 * (256 * share * (1 - share)) ** 0.5
    assert all(abs(seen.count(one) - 256 * share) < slack for one in allowed)


def test_the_numbers_depend_on_the_seed_alone(copies):
    first = run(copies, EVERYTHING, (1, 2))
    np.testing.assert_array_equal(run(copies, EVERYTHING, (1, 2)), first)
    for other in ((1, 3), (2, 2)):
        assert np.abs(run(copies, EVERYTHING, other) - first).max() > 1


def test_images_of_a_batch_are_drawn_independently(copies):
    assert len(distinct(run(copies, AugmentConfig()))) == len(copies)


@pytest.mark.parametrize("level", [0, 255])
def test_values_stay_in_the_range_of_a_byte(level):
    images = np.full((64, SIDE, SIDE, 3), level, np.uint8)
    images[:, ::2, :, 1] = 255 - level
    out = run(images, EVERYTHING)
    assert (out.min(), out.max()) == (0.0, 255.0)


def test_brightness_adds_up_to_its_share(copies):
    change = run(copies, replace(OFF, brightness=0.1)) - copies
    offsets = change[:, 0, 0, 0]
    np.testing.assert_allclose(change, offsets[:, None, None, None] + 0 * change, atol=1e-4)
    assert 20 < offsets.max() <= 25.5
    assert -25.5 <= offsets.min() < -20


def test_contrast_keeps_the_mean_and_saturation_the_grey(copies):
    contrast = run(copies, replace(OFF, contrast=0.1))
    np.testing.assert_allclose(contrast.mean((1, 2, 3)), copies.mean((1, 2, 3)), atol=0.01)
    ratio = contrast.std((1, 2, 3)) / copies.std((1, 2, 3))
    assert 0.9 - 1e-4 <= ratio.min() < 0.92 < 1.08 < ratio.max() <= 1.1 + 1e-4
    luma = np.array([0.299, 0.587, 0.114])
    saturation = run(copies, replace(OFF, saturation=0.1))
    np.testing.assert_allclose(saturation @ luma, copies @ luma, atol=0.01)
    grey = np.repeat(copies[..., :1], 3, axis=3)
    np.testing.assert_allclose(run(grey, replace(OFF, saturation=0.9)), grey, atol=0.01)


def test_a_shift_moves_whole_pixels_up_to_its_bound_and_mirrors_the_border():
    size, reach = 20, 3  # round(0.15 · 20)
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    padded = np.pad(image, [(reach, reach), (reach, reach), (0, 0)], mode="reflect")
    moved = {
        padded[y : y + size, x : x + size].astype(np.float32).tobytes(): (y - reach, x - reach)
        for y in range(2 * reach + 1)
        for x in range(2 * reach + 1)
    }
    seen = [
        moved[image.tobytes()]  # a KeyError: not a move within the bound
        for image in run(np.repeat(image[None], 512, axis=0), replace(OFF, shift=0.15))
    ]
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(-reach, reach + 1))
    assert len(set(seen)) > 40  # the axes are drawn independently: 49 moves


def test_the_largest_shift_still_shows_the_image(copies):
    levels = set(copies[0].ravel().astype(float))
    assert set(run(copies, replace(OFF, shift=0.9)).ravel().astype(float)) <= levels


def test_rotation_turns_about_the_centre_by_at_most_its_degrees():
    """A bright dot right of the centre of a dark image: where it goes tells the angle."""
    side, reach = 33, 12
    image = np.zeros((1, side, side, 3), np.uint8)
    image[0, 15:18, 16 + reach - 1 : 16 + reach + 2] = 255
    found = run(np.repeat(image, 128, axis=0), replace(OFF, rotation=30.0))[..., 0]
    rows, columns = np.mgrid[:side, :side] - 16.0
    total = found.sum(axis=(1, 2))
    y, x = ((found * axis).sum(axis=(1, 2)) / total for axis in (rows, columns))
    np.testing.assert_allclose(np.hypot(x, y), reach, atol=0.5)
    angles = np.degrees(np.arctan2(y, x))
    assert np.abs(angles).max() <= 31.0
    assert angles.min() < -20 and angles.max() > 20


def test_zoom_goes_both_ways_and_keeps_the_centre():
    side = 33
    image = np.zeros((1, side, side, 3), np.uint8)
    image[0, 10:23, 10:23] = 255
    found = run(np.repeat(image, 128, axis=0), replace(OFF, zoom=0.3))[..., 0]
    areas = found.sum(axis=(1, 2)) / found[0].max()
    # A side of 13 zoomed by 1/1.3 to 1.3 has an area of 100 to 286.
    assert 90 < areas.min() < 130 and 220 < areas.max() < 300
    assert found[:, 16, 16].min() > 200
