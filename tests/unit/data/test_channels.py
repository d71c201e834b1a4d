"""Other cameras, other stains and swapped channels are told; splits of one data set are not."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from edgecell.data.channels import (
    SAMPLE,
    Channels,
    Running,
    drift_line,
    flat,
    flat_line,
    measure,
)


def images(count: int, colour: tuple[int, int, int], seed: int) -> np.ndarray:
    """uint8 (count, 6, 6, 3) around a colour, brighter and darker by 12 from image to image."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 9, (count, 6, 6, 3)) + random.normal(0, 12, (count, 1, 1, 1))
    return (np.array(colour) + noise).clip(0, 255).astype(np.uint8)


PINK = (200, 165, 170)


def test_numbers_agree_with_numpy_and_survive_json() -> None:
    pictures = images(40, PINK, 1)
    found = measure(pictures)
    means = pictures.reshape(40, -1, 3).mean(axis=1)
    np.testing.assert_allclose(found.mean, means.mean(axis=0))
    np.testing.assert_allclose(found.sd, means.std(axis=0))
    assert found.low == found.high == found.mean
    assert found.warmth[0] == pytest.approx((means[:, 0] - means[:, 2]).mean())
    again = Channels.from_json(json.loads(json.dumps(found.to_json())))
    np.testing.assert_allclose(again.mean, found.mean, atol=1e-3)
    assert again.images == 40


def test_no_more_than_a_sample_is_measured() -> None:
    assert measure(np.zeros((SAMPLE + 5, 2, 2, 3), np.uint8)).images == SAMPLE


def test_batch_by_batch_comes_to_the_same_means() -> None:
    pictures, running = images(30, PINK, 1), Running()
    for start in range(0, 30, 7):
        running.add(pictures[start : start + 7])
    np.testing.assert_allclose(running.channels().mean, measure(pictures).mean)
    with pytest.raises(ValueError, match="no images"):
        Running().channels()


def test_swapped_channels_are_told_with_the_numbers() -> None:
    train = measure(images(200, PINK, 1))
    line = drift_line(train, measure(images(50, PINK, 2)[..., ::-1]), "test")
    assert line.startswith("red and blue of test look swapped (BGR for RGB): red minus blue is -30")
    assert "+30 in train" in line


def test_another_stain_is_told_but_not_as_swapped_channels() -> None:
    train = measure(images(200, PINK, 1))
    line = drift_line(train, measure(images(50, (150, 165, 170), 2)), "val")
    assert "images of val look otherwise" in line
    assert "mean red 149 there, 200 in train" in line


def test_the_same_look_is_no_drift_nor_is_what_few_images_do_by_chance() -> None:
    train = measure(images(200, PINK, 1))
    for seed in range(20):
        assert drift_line(train, measure(images(30, PINK, seed + 2)), "val") == ""
        assert drift_line(train, measure(images(1, PINK, seed + 2)), "val") == ""


def test_grey_images_have_no_channels_to_swap() -> None:
    grey = measure(images(200, (90, 90, 90), 1))
    assert drift_line(grey, measure(images(50, (90, 90, 90), 2)[..., ::-1]), "test") == ""


def test_flat_images_are_counted() -> None:
    pictures = images(5, PINK, 1)
    pictures[2] = PINK
    assert flat(pictures).tolist() == [False, False, True, False, False]
    assert flat_line(1, 5, "val").startswith("1 of 5 images of val are one flat colour")
    assert flat_line(0, 5, "val") == ""


def test_classes_span_what_their_shares_may_make_of_the_mean() -> None:
    pictures = np.concatenate([images(60, PINK, 1), images(20, (120, 165, 170), 2)])
    train = measure(pictures, np.arange(80) // 60)
    np.testing.assert_allclose(train.high, [200, 165, 170], atol=5)
    np.testing.assert_allclose(train.low, [120, 165, 170], atol=7)
    assert max(train.sd) < 15
    for colour in (PINK, (120, 165, 170), (160, 165, 170)):
        assert drift_line(train, measure(images(50, colour, 3)), "val") == ""
    assert "no class beyond 1" in drift_line(train, measure(images(50, (80, 165, 170), 3)), "val")


def test_one_image_of_a_class_has_no_spread_of_its_own() -> None:
    pictures = images(6, PINK, 1)
    alone, together = measure(pictures, np.arange(6)), measure(pictures)
    assert alone.sd == together.sd


def test_several_labels_to_an_image_span_nothing() -> None:
    pictures = images(6, PINK, 1)
    assert measure(pictures, np.eye(6, dtype=np.int64)) == measure(pictures)


def split(path: Path, name: str) -> np.ndarray:
    with np.load(path) as file:
        pictures = file[f"{name}_images"][:SAMPLE]
    return pictures if pictures.ndim == 4 else np.repeat(pictures[..., None], 3, axis=3)


def labels(path: Path, name: str) -> np.ndarray:
    with np.load(path) as file:
        return file[f"{name}_labels"][:SAMPLE].reshape(-1)


REAL = ("pbc28.npz", *(f"medmnist/{n}mnist.npz" for n in ("breast", "pneumonia", "retina")))


@pytest.mark.parametrize("name", REAL)
def test_splits_of_real_sets_raise_no_false_alarm(shared: Path, name: str) -> None:
    """Nor does a class by itself, as somebody's folder may hold."""
    path = shared / "data" / name
    train = measure(split(path, "train"), labels(path, "train"))
    for other in ("val", "test"):
        pictures, classes = split(path, other), labels(path, other)
        assert drift_line(train, measure(pictures), other) == ""
        assert not flat(pictures).any()
        for each in np.unique(classes):
            assert drift_line(train, measure(pictures[classes == each]), other) == ""


@pytest.mark.parametrize("name", ["pbc28.npz", "medmnist/retinamnist.npz"])
def test_real_images_in_another_order_of_channels_are_told(shared: Path, name: str) -> None:
    train = measure(split(shared / "data" / name, "train"), labels(shared / "data" / name, "train"))
    swapped = measure(split(shared / "data" / name, "test")[..., ::-1])
    assert "look swapped (BGR for RGB)" in drift_line(train, swapped, "test")


@pytest.mark.parametrize(("ours", "theirs"), list(permutations(REAL, 2)))
def test_a_real_set_of_another_kind_is_told(shared: Path, ours: str, theirs: str) -> None:
    train = measure(split(shared / "data" / ours, "train"), labels(shared / "data" / ours, "train"))
    assert "look" in drift_line(train, measure(split(shared / "data" / theirs, "test")), "test")
