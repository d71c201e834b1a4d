from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from edgecell import batches as batches_module
from edgecell import scratch as scratch_module
from edgecell.batches import balanced_weights, epoch_batches, prepare, steps_per_epoch
from edgecell.config import AugmentConfig
from edgecell.data.types import Split
from edgecell.errors import DataError
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Silent
from edgecell.share import Share

SPEC = PreprocessSpec(16, 16)
PLAIN = AugmentConfig(
    flip=False, quarter_turns=False, brightness=0, contrast=0, saturation=0, shift=0
)


class Numbered:
    """Images that are filled with their own number."""

    def __init__(self, count: int, corrupt: int = -1) -> None:
        self.count, self.corrupt = count, corrupt

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> np.ndarray:
        if index == self.corrupt:
            raise DataError(f"picture {index} is a corrupt image")
        return np.full((20, 24, 3), index, np.uint8)

    def name(self, index: int) -> str:
        return f"picture {index}"


def prepared(count: int = 50, corrupt: int = -1, class_weights: bool = True, **options):
    labels = np.minimum(np.arange(count) % 7, 2).astype(np.int64)  # imbalanced: 1, 1, 5
    split = Split("train", Numbered(count, corrupt), labels)
    return prepare(split, SPEC, 3, class_weights=class_weights, progress=Silent(), **options)


def epoch(images, *, seed: int = 0, epoch: int = 0, size: int = 8, config=PLAIN) -> list:
    made = epoch_batches(images, config, batch_size=size, seed=seed, epoch=epoch)
    return [tuple(part.numpy() for part in batch) for batch in made]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))


def order(found: list) -> list[int]:
    return [int(n) for pixels, _, _ in found for n in pixels[:, 0, 0, 0]]


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own():
    images = prepared(48)
    seen = [order(epoch(images, epoch=e)) for e in range(3)]
    for one in seen:
        assert sorted(one) == list(range(48))
    assert len({tuple(one) for one in seen}) == 3
    assert order(epoch(images, epoch=1)) == seen[1]
    assert order(epoch(images, epoch=1, seed=1)) != seen[1]


def test_a_remainder_is_dropped_unless_it_is_all_there_is():
    found = epoch(prepared(50))
    assert [len(pixels) for pixels, _, _ in found] == [8] * 6
    assert len(set(order(found))) == 48
    few = prepared(5)
    assert steps_per_epoch(few, 8) == 1
    assert sorted(order(epoch(few))) == list(range(5))


def test_labels_and_weights_stay_with_their_images():
    images = prepared(48)
    for pixels, targets, weights in epoch(images):
        which = pixels[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(targets, np.eye(3)[images.split.labels[which]])
        np.testing.assert_array_equal(weights, images.sample_weights[which])


def test_streaming_shows_what_memory_shows():
    held, streamed = prepared(), prepared(memory_limit=1000)
    assert held.pixels is not None
    assert streamed.pixels is None
    augmented = AugmentConfig()
    for one, two in zip(
        epoch(held, config=augmented), epoch(streamed, config=augmented), strict=True
    ):
        for part, twin in zip(one, two, strict=True):
            np.testing.assert_array_equal(part, twin)


def test_what_was_read_once_is_not_decoded_again(monkeypatch):
    images = prepared(memory_limit=0)
    reads: list[int] = []
    plain = Numbered.read
    monkeypatch.setattr(
        Numbered, "read", lambda self, index: (reads.append(index), plain(self, index))[1]
    )
    first = images.gather(np.array([3, 9, 4]))
    again = images.gather(np.array([9, 5, 3, 5]))
    assert sorted(reads) == [3, 4, 5, 5, 9]
    for number, image in zip([3, 9, 4, 9, 5, 3, 5], [*first, *again], strict=True):
        np.testing.assert_array_equal(image, np.full((16, 16, 3), number))
    for e in range(3):
        epoch(images, epoch=e)
    assert len(reads) <= 5 + 50


def test_without_room_on_disk_images_are_decoded_again_and_that_is_said(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda self, line: said.append(line))
    monkeypatch.setattr(scratch_module, "SPARE", 1e15)
    images = prepared(memory_limit=0)
    assert images.scratch is None
    assert "its images are decoded in every epoch" in said[0]
    assert order(epoch(images)) == order(epoch(prepared()))


def test_the_memory_limit_is_what_the_resized_images_take(monkeypatch):
    monkeypatch.setattr(batches_module, "materialize", lambda *_: "read")
    size = 50 * 16 * 16 * 3
    assert prepared(memory_limit=size).pixels == "read"
    assert prepared(memory_limit=size - 1).pixels is None


def test_batches_of_an_epoch_are_augmented_differently():
    images = prepared(16)
    images.pixels[:] = 100
    shades = {
        pixels[i].tobytes()
        for pixels, _, _ in epoch(images, config=replace(PLAIN, brightness=0.2))
        for i in range(8)
    }
    assert len(shades) == 16


def test_a_corrupt_image_is_told_by_name_before_and_while_streaming():
    with pytest.raises(DataError, match="picture 33"):
        prepared(corrupt=33)
    streamed = prepared(corrupt=33, memory_limit=0)
    with pytest.raises(tf.errors.OpError):
        epoch(streamed, size=50)
    assert [str(error) for error in streamed.failures] == ["picture 33 is a corrupt image"]


def test_weights_are_scikit_learn_s_and_one_on_average():
    images = prepared(50)
    labels = images.split.labels
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 3), expected, rtol=1e-6)
    assert images.sample_weights.dtype == np.float32
    assert images.sample_weights.mean() == pytest.approx(1.0, abs=1e-6)
    assert expected.max() / expected.min() > 4
    assert set(prepared(class_weights=False).sample_weights) == {1.0}


def test_an_absent_class_weighs_nothing():
    labels = np.array([0, 0, 0, 2])
    present = compute_class_weight("balanced", classes=np.array([0, 2]), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 4), [present[0], 0, present[1], 0])


LIVELY = AugmentConfig(rotation=15.0, zoom=0.1)


def in_parts(images, of: int, mine: tuple[int, ...], **settings) -> list:
    made = epoch_batches(
        images, LIVELY, batch_size=8, seed=3, epoch=1, share=Share(of, mine), **settings
    )
    return [tuple(part.numpy() for part in batch) for batch in made]


@pytest.mark.parametrize("settings", [{}, {"mixup": 0.4}, {"cutmix": 1.0}], ids=str)
def test_parts_of_a_batch_are_together_the_batch(settings):
    images = prepared()
    whole = list(epoch_batches(images, LIVELY, batch_size=8, seed=3, epoch=1, **settings))
    # Two workers of two devices each: the first has parts 0 and 1 of every batch, one after the other.
    first, second = (in_parts(images, 4, mine, **settings) for mine in ((0, 1), (2, 3)))
    assert len(whole) == 6 and len(first) == len(second) == 12
    for step, batch in enumerate(whole):
        parts = (*first[2 * step : 2 * step + 2], *second[2 * step : 2 * step + 2])
        for wanted, *found in zip(batch, *parts, strict=True):
            # Up to rounding: vectorised arithmetic rounds by an image's place in its batch.
            np.testing.assert_allclose(np.concatenate(found), wanted.numpy(), rtol=0, atol=1e-4)
    assert not np.array_equal(first[0][0], first[1][0])


def test_a_batch_without_equal_parts_has_no_share():
    with pytest.raises(ValueError, match="8 images have no 3 equal parts"):
        in_parts(prepared(), 3, (0,))
    assert Share(4, (1, 3)).places(8, before=1).tolist() == [[1, 2, 3], [5, 6, 7]]
    assert Share(4, (0,)).places(8, before=1).tolist() == [[7, 0, 1]]
