"""Near-duplicates: what counts as one, what does not, and that the search misses nothing it promises."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from edgecell.config import DataConfig
from edgecell.data import load_dataset
from edgecell.data.perceptual import (
    MOST_BITS,
    SYMMETRIES,
    hashes,
    near_duplicates,
    thumbnail,
)


def photographs(count, seed=0, side=60):
    """Smooth random images, uint8 (count, side, side, 3): unlike one another as photographs are."""
    noise = np.random.default_rng(seed).normal(0, 1, (count, side, side, 3))
    smooth = gaussian_filter(noise, (0, 3, 3, 0))
    return ((smooth / smooth.std() * 45) + 128).clip(0, 255).astype(np.uint8)


def hashed(images):
    return hashes(np.stack([thumbnail(Image.fromarray(i).convert("L")) for i in images]))


def as_jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as again:
        return np.asarray(again.convert("RGB"))


def resized(image, factor):
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


CHANGES = {
    "as JPEG": lambda image: as_jpeg(image, 70),
    "smaller": lambda image: resized(image, 0.6),
    "larger": lambda image: resized(image, 1.7),
    "brighter": lambda image: np.minimum(image * 1.1, 255).astype(np.uint8),
    "noisy": lambda image: (
        (image + np.random.default_rng(1).normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    ),
}
VIEWS = {
    "as it is": lambda image: image,
    "mirrored left to right": lambda image: image[:, ::-1],
    "mirrored top to bottom": lambda image: image[::-1],
    "turned by 180°": lambda image: image[::-1, ::-1],
    "mirrored along the diagonal": lambda image: image.transpose(1, 0, 2),
    "mirrored along the other diagonal": lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    "turned by 90°": lambda image: np.rot90(image),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change):
    images = list(photographs(40))
    copies = [np.ascontiguousarray(CHANGES[change](image)) for image in images[:10]]
    found = near_duplicates(hashed(images + copies))
    assert found.pairs.tolist() == [[i, 40 + i] for i in range(10)]
    assert (found.bits <= MOST_BITS).all() and (found.symmetry == 0).all()


@pytest.mark.parametrize("view", VIEWS)
def test_each_symmetry_is_found_and_named(view):
    images = list(photographs(20))
    turned = [np.ascontiguousarray(VIEWS[view](image)) for image in images[:5]]
    found = near_duplicates(hashed(images + turned))
    assert found.pairs.tolist() == [[i, 20 + i] for i in range(5)]
    assert {SYMMETRIES[s] for s in found.symmetry} == {view}
    assert len(VIEWS) == len(SYMMETRIES)


def test_a_turn_by_270_degrees_is_a_turn_by_90_of_the_other():
    images = list(photographs(5))
    found = near_duplicates(hashed([*images, np.ascontiguousarray(np.rot90(images[2], 3))]))
    assert found.pairs.tolist() == [[2, 5]]
    assert SYMMETRIES[found.symmetry[0]] == "turned by 90°"


def test_a_copy_turned_by_another_angle_is_not_promised():
    image = photographs(1)[0]
    turned = np.asarray(Image.fromarray(image).rotate(25))
    assert len(near_duplicates(hashed([image, turned])).pairs) == 0


def flipped(words, bits):
    out = words.copy().view(np.uint8)
    out[..., bits // 8] ^= np.uint8(128) >> (bits % 8).astype(np.uint8)
    return out.view(np.uint64)


def random_hashes(count, seed=0):
    """One view each; the other six are random too, so that chance would show."""
    random = np.random.default_rng(seed)
    return random.integers(0, 2**63, (count, 7, 4), dtype=np.uint64)


def test_every_pair_within_the_promise_is_found():
    """Against all pairs compared with all: none within the promise is missing, none is made up."""
    random = np.random.default_rng(3)
    found = random_hashes(400)
    for i in range(120):  # copies with 0 … 29 bits changed
        bits = random.choice(256, i % 30, replace=False)
        words = found[i, 0]
        for bit in bits:
            words = flipped(words, np.array(bit))
        found[200 + i, 0] = words
    answer = near_duplicates(found, most_bits=24)
    apart = np.bitwise_count(found[:, None, 0] ^ found[None, :, 0]).sum(axis=2)
    near = np.argwhere(np.triu(apart <= 24, 1))
    promised = np.argwhere(np.triu(apart <= answer.certain_up_to, 1))
    pairs = {tuple(pair) for pair in answer.pairs.tolist()}
    assert answer.crowded == 0 and answer.certain_up_to >= 15
    assert {tuple(p) for p in promised.tolist()} <= pairs <= {tuple(p) for p in near.tolist()}
    assert len(promised) >= 60 and len(pairs) >= 0.9 * len(near)
    exact = {tuple(pair): int(apart[tuple(pair)]) for pair in answer.pairs.tolist()}
    assert list(exact.values()) == answer.bits.tolist()


def test_images_that_all_look_alike_cost_a_bounded_search_and_are_counted():
    found = np.repeat(random_hashes(1), 500, axis=0)
    answer = near_duplicates(found, window=10)
    assert answer.crowded > 400
    # Each of 500 meets its 10 next at most; with every pair it would be 124,750.
    assert len(answer.pairs) <= 500 * 10
    groups = answer.groups(500)
    assert len(set(groups.tolist())) == 1  # the chain still links them all


def test_no_images_and_one_image():
    assert near_duplicates(np.zeros((0, 7, 4), np.uint64)).pairs.shape == (0, 2)
    assert near_duplicates(random_hashes(1)).pairs.shape == (0, 2)


def test_groups_follow_the_links():
    images = list(photographs(6))
    links = [images[1], images[1], as_jpeg(images[4], 80)]
    groups = near_duplicates(hashed([*images, *links])).groups(9)
    assert groups[1] == groups[6] == groups[7] and groups[4] == groups[8]
    assert len(set(groups.tolist())) == 6


@pytest.mark.needs_shared
def test_different_cells_are_not_near(shared):
    """Of 600 cells of PBC none is another's near-duplicate; resized copies of 20 of them are."""
    dataset = load_dataset(DataConfig(str(shared / "data/pbc28.npz"), limit=600))
    images = [dataset.val.source.read(i) for i in range(600)]
    copies = [resized(image, 1.5) for image in images[:20]]
    found = near_duplicates(hashed(images + copies))
    assert found.pairs.tolist() == [[i, 600 + i] for i in range(20)]
