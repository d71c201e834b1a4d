from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from edgecell.data import copies as copies_module
from edgecell.data.copies import _agree, _describe, _mirrored, _opencv, _rooted, find_copies
from edgecell.data.sources import ArraySource
from edgecell.errors import ConfigError

PHOTOS, COPIES_EACH = 6, 5


def photograph(seed: int) -> Image.Image:
    """A field of 128 × 96 with cells whose outlines and insides differ."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (256, 192), (225, 215, 210))
    draw = ImageDraw.Draw(picture)
    for _ in range(26):
        x, y = rng.integers(0, 256), rng.integers(0, 192)
        reach = rng.integers(10, 26, 2)
        colour = tuple(int(c) for c in rng.integers(90, 190, 3))
        draw.ellipse((x - reach[0], y - reach[1], x + reach[0], y + reach[1]), fill=colour)
        for _ in range(3):
            dx, dy = rng.integers(-9, 9, 2)
            dark = tuple(int(c * 0.5) for c in colour)
            draw.ellipse((x + dx - 4, y + dy - 4, x + dx + 5, y + dy + 4), fill=dark)
    return picture.filter(ImageFilter.GaussianBlur(1.2)).resize(
        (128, 96), Image.Resampling.BILINEAR
    )


def augmented(picture: Image.Image, seed: int) -> np.ndarray:
    """Turned by up to 15°, shifted by up to a tenth, mirrored half of the time; black where nothing is."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    if rng.random() < 0.5:
        picture = ImageOps.flip(picture)
    shift = (int(rng.integers(-12, 13)), int(rng.integers(-9, 10)))
    angle = float(rng.uniform(-15, 15))
    turned = picture.rotate(angle, Image.Resampling.BILINEAR, translate=shift)
    return np.asarray(turned)


@pytest.fixture(scope="module")
def augmented_set() -> tuple[np.ndarray, np.ndarray]:
    """Images in a drawn order, and the photograph of each."""
    photos = [photograph(seed) for seed in range(PHOTOS)]
    images = [augmented(photos[i % PHOTOS], 100 + i) for i in range(PHOTOS * COPIES_EACH)]
    order = np.random.default_rng(5).permutation(len(images))
    return np.stack(images)[order], order % PHOTOS


def same_grouping(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(((one[:, None] == one) == (other[:, None] == other)).all())


def test_copies_are_grouped_by_photograph(augmented_set):
    images, photo = augmented_set
    seen: list[int] = []
    found = find_copies(ArraySource(images, "x"), seen.append)
    assert same_grouping(found.groups, photo)
    assert found.without_features == 0
    assert seen[-1] == len(images)


def test_photographs_of_the_same_kind_are_not_taken_for_copies():
    images = np.stack([np.asarray(photograph(seed)) for seed in range(20, 44)])
    assert len(set(find_copies(ArraySource(images, "x")).groups.tolist())) == 24


def test_without_mirrored_descriptors_few_features_of_a_mirrored_copy_agree(monkeypatch):
    cv2 = _opencv()
    image = np.asarray(photograph(3))
    plain, mirror = _describe(cv2, image), _describe(cv2, np.ascontiguousarray(image[:, ::-1]))
    agreeing = _agree(cv2, plain, mirror)
    assert agreeing > 40
    monkeypatch.setattr(copies_module, "_mirrored", lambda descriptors: descriptors)
    assert _agree(cv2, plain, mirror) < agreeing / 2
    assert _agree(cv2, plain, plain) > 60


def test_a_mirrored_descriptor_is_the_mirror_image_s_own():
    cv2 = _opencv()
    image = np.asarray(photograph(3))
    plain, mirror = _describe(cv2, image), _describe(cv2, np.ascontiguousarray(image[:, ::-1]))
    expected = plain.points * [-1, 1] + [127, 0]
    distance = np.linalg.norm(expected[:, None] - mirror.points, axis=2)
    pairs = [(i, int(row.argmin())) for i, row in enumerate(distance) if row.min() < 0.5]
    assert len(pairs) > 40
    mine, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    other = _rooted(mirror.descriptors[theirs])
    turned = (_rooted(_mirrored(plain.descriptors[mine])) * other).sum(axis=1)
    kept = (_rooted(plain.descriptors[mine]) * other).sum(axis=1)
    # Some keypoints have two directions and meet their other one; the others agree nearly exactly.
    assert np.median(turned) > 0.97
    assert np.median(kept) < 0.9


def test_images_that_show_nothing_stay_alone_and_are_counted(augmented_set):
    flat = np.full((3, 96, 128, 3), 200, np.uint8)
    found = find_copies(ArraySource(np.concatenate([flat, augmented_set[0][:4]]), "x"))
    assert found.without_features == 3
    assert all((found.groups == found.groups[i]).sum() == 1 for i in range(3))


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_images(augmented_set, count):
    images, photo = augmented_set
    pair = images[photo == 0][:count]
    assert set(find_copies(ArraySource(pair, "x")).groups.tolist()) == {0}


def test_a_set_without_any_feature_is_all_alone():
    flat = np.full((4, 20, 20, 3), 9, np.uint8)
    assert find_copies(ArraySource(flat, "x")).groups.tolist() == [0, 1, 2, 3]


def test_without_opencv_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(copies_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install -c constraints.txt -e '.\[copies\]'"):
        find_copies(ArraySource(np.zeros((2, 8, 8, 3), np.uint8), "x"))
