"""Sets in which an image can have several labels: reading, splitting, limiting, describing them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import toys_labels as toys
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecell.config import DataConfig
from edgecell.data import SPLITS, describe, load_dataset, sample_grid
from edgecell.data.duplicates import find_duplicates
from edgecell.data.groups import share_out
from edgecell.data.sources import ArraySource
from edgecell.data.splits import limit_indices, make_splits
from edgecell.data.strata import spread
from edgecell.data.types import Dataset, Split
from edgecell.errors import ConfigError, DataError
from edgecell.tasks import BINARY, MULTI_CLASS, MULTI_LABEL, ORDINAL

COUNTS = {"train": 60, "val": 20, "test": 20}


@pytest.fixture
def blobs() -> dict[str, np.ndarray]:
    return toys.arrays(COUNTS)


def load(path, **settings):
    return load_dataset(DataConfig(str(path), **settings))


def test_a_file_of_several_labels_comes_back_as_it_is(blobs, write_npz):
    dataset = load(write_npz(blobs))
    assert dataset.task == MULTI_LABEL
    assert dataset.class_names == toys.LABELS
    assert dataset.notes == ()
    for name in SPLITS:
        split = dataset.split(name)
        assert split.multi_label
        assert split.labels.dtype == np.int64
        np.testing.assert_array_equal(split.labels, blobs[f"{name}_labels"])
        assert split.counts(4).tolist() == blobs[f"{name}_labels"].sum(axis=0).tolist()
        assert split.having(2).tolist() == (blobs[f"{name}_labels"][:, 2] == 1).tolist()


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_zeros_and_ones_of_any_type_are_labels(blobs, write_npz, dtype):
    expected = blobs["train_labels"].copy()
    content = {k: v.astype(dtype) if k.endswith("_labels") else v for k, v in blobs.items()}
    np.testing.assert_array_equal(load(write_npz(content)).train.labels, expected)


def test_chestmnist_gets_its_names_where_it_has_its_labels(write_npz):
    random = np.random.default_rng(0)
    content: dict[str, np.ndarray] = {}
    for name, count in COUNTS.items():
        content[f"{name}_images"] = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        content[f"{name}_labels"] = random.integers(0, 2, (count, 14), dtype=np.uint8)
    dataset = load(write_npz(content, "chestmnist_64.npz"))
    assert (dataset.task, dataset.class_names[13]) == (MULTI_LABEL, "hernia")
    three = {k: v[:, :3] if k.endswith("labels") else v for k, v in content.items()}
    assert load(write_npz(three, "chestmnist.npz")).class_names == ("0", "1", "2")
    one = {k: v[:, :1] if k.endswith("labels") else v for k, v in content.items()}
    with pytest.raises(DataError, match=r"shape \(60, 1\); a multi-label set wants \(N, labels\)"):
        load(write_npz(one, "chestmnist.npz"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": lambda a: a * 2}, r"train_labels holds 2; wanted 0 .* and 1"),
        ({"val_labels": lambda a: a.astype(float) * 0.5}, r"val_labels holds 0\.5; wanted 0"),
        ({"val_labels": lambda a: a.astype(str)}, r"val_labels has dtype <U3; wanted 0"),
        ({"test_labels": lambda a: a[:, :3]}, r"test_labels has shape \(20, 3\) and train_labels"),
        ({"test_labels": lambda a: a[:-1]}, r"test has 20 images and 19 labels"),
        ({"train_labels": lambda a: a * [1, 1, 0, 1]}, r"no train images of 'blue blob'"),
        ({"train_labels": lambda a: a | [1, 0, 0, 0]}, r"all 60 train .* 'red blob', so there is"),
        ({"val_labels": lambda a: a * 0}, r"in val no label has both images with it and images"),
        (
            {"class_names": lambda _: np.array(["a", "b", "c"])},
            r"has 3 names and the highest label",
        ),
        ({"class_names": lambda _: np.array(list("abcde"))}, r"has 5 names for 4 labels"),
        ({"task": lambda _: np.array(ORDINAL)}, r"task is 'ordinal-regression', and train_labels"),
        ({"task": lambda _: np.array("many")}, r"task is 'many'; allowed, as text: multi-class, "),
        ({"task": lambda _: np.array([1, 2])}, r"task is an array of int64 \(2,\); allowed"),
    ],
)
def test_a_spoilt_file_is_refused_in_one_line(blobs, write_npz, change, message):
    for key, spoil in change.items():
        blobs[key] = spoil(blobs.get(key))
    with pytest.raises(DataError, match=message) as caught:
        load(write_npz(blobs))
    assert "\n" not in str(caught.value)


def test_one_hot_labels_are_asked_for_what_they_mean(blobs, write_npz):
    for name in SPLITS:
        blobs[f"{name}_labels"] = np.eye(4, dtype=np.uint8)[np.arange(COUNTS[name]) % 4]
    with pytest.raises(DataError, match=r"one-hot\); save labels\.argmax.*or task='multi-label"):
        load(write_npz(blobs))
    assert load(write_npz({**blobs, "task": np.array(MULTI_LABEL)})).task == MULTI_LABEL


def test_a_file_can_say_that_its_classes_are_grades(arrays, write_npz):
    assert load(write_npz(arrays)).task == MULTI_CLASS
    dataset = load(write_npz({**arrays, "task": np.array(ORDINAL)}))
    assert dataset.task == ORDINAL
    assert any("ordered grades" in note for note in dataset.notes)
    with pytest.raises(DataError, match="task is 'binary-class', .* has 3 classes"):
        load(write_npz({**arrays, "task": np.array([BINARY])}))


@settings(max_examples=60)
@given(
    rates=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6),
    count=st.integers(1, 150),
    shares=st.tuples(st.floats(0, 0.45), st.floats(0, 0.45)),
    seed=st.integers(0, 99),
)
def test_spreading_fills_parts_exactly_and_gives_each_its_share(rates, count, shares, seed):
    random = np.random.default_rng(seed)
    labels = (random.random((count, len(rates))) < rates).astype(np.int64)
    small = [round(share * count) for share in shares]
    sizes = [count - sum(small), *small]
    part = spread(labels, sizes, np.random.default_rng(seed))
    assert np.bincount(part, minlength=3).tolist() == sizes
    again = spread(labels, sizes, np.random.default_rng(seed))
    np.testing.assert_array_equal(part, again)
    rarest = int(np.argmin(labels.sum(axis=0)))
    if labels[:, rarest].sum() >= 3 and min(sizes) >= len(rates):
        assert all(labels[part == k, rarest].any() for k in range(3))


def test_shares_are_nearer_than_chance_gives_them():
    _, labels = toys.images(600, seed=5)
    sizes = [420, 60, 120]
    part = spread(labels, sizes, np.random.default_rng(0))
    wanted = np.outer(sizes, labels.sum(axis=0)) / 600
    found = np.array([labels[part == k].sum(axis=0) for k in range(3)])
    off = np.abs(found - wanted).max()
    random = np.random.default_rng(0)
    by_chance = []
    for _ in range(20):
        rows = np.split(random.permutation(600), np.cumsum(sizes)[:-1])
        by_chance.append(np.abs([labels[r].sum(axis=0) for r in rows] - wanted).max())
    assert off <= 4
    assert off < min(by_chance)


def test_missing_splits_are_made_by_label_and_copies_stay_together(blobs, write_npz):
    for key in ("val_images", "val_labels", "test_images", "test_labels"):
        del blobs[key]
    for key in ("train_images", "train_labels"):
        blobs[key][40:50] = blobs[key][:10]
    dataset = load(write_npz(blobs), val_fraction=0.2, test_fraction=0.2)
    assert sum(len(dataset.split(s)) for s in SPLITS) == 60
    assert all((dataset.split(s).counts(4) >= 1).all() for s in SPLITS)
    assert find_duplicates(dataset).leaks == 0
    assert find_duplicates(dataset).within["train"] > 0


def test_a_label_too_rare_for_the_splits_is_named():
    labels = np.zeros((30, 2), np.int64)
    labels[:12, 0] = 1
    labels[:2, 1] = 1
    images = np.arange(30, dtype=np.uint8).repeat(4).reshape(30, 2, 2)
    with pytest.raises(DataError, match="too few distinct images to make 3 splits: 'rare' 2"):
        make_splits(
            ArraySource(images, "train"), labels, ("common", "rare"), {"val": 0.1, "test": 0.2}, 0
        )


def test_a_limit_keeps_exactly_that_many_with_every_label(blobs, write_npz):
    dataset = load(write_npz(blobs), limit=15)
    assert [len(dataset.split(s)) for s in SPLITS] == [15, 15, 15]
    assert (dataset.train.counts(4) >= 1).all()
    assert any("limited to 15 images" in note for note in dataset.notes)
    with pytest.raises(ConfigError, match="limit is 3 and split 'train' has 4 classes"):
        load(write_npz(blobs), limit=3)
    assert limit_indices(blobs["val_labels"], 20, 0, "val").tolist() == list(range(20))


def test_copies_with_other_labels_are_a_conflict():
    pixels = np.zeros((4, 2, 2), np.uint8)
    pixels[3] = 9
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 1]])
    same = Split("train", ArraySource(pixels[[0, 1, 3]], "train"), labels[[0, 1, 3]])
    other = Split("val", ArraySource(pixels[2:3], "val"), labels[2:3])
    rest = Split("test", ArraySource(pixels[3:], "test"), labels[3:])
    found = find_duplicates(Dataset("x", MULTI_LABEL, ("a", "b"), same, other, rest, {}))
    assert found.conflicts == 1
    assert found.conflict_examples == (("train[0]", "val[0]"),)
    assert found.within == {"train": 1, "val": 0, "test": 0}


def test_a_description_counts_images_by_label_and_by_number_of_labels(blobs, write_npz):
    dataset = load(write_npz(blobs))
    found = describe(dataset)
    labels = blobs["train_labels"]
    assert found.counts["train"] == tuple(labels.sum(axis=0))
    assert found.images == COUNTS
    assert found.labels_per_image is not None
    per_image = found.labels_per_image["train"]
    assert per_image[0] == (labels.sum(axis=1) == 0).sum() > 0
    assert sum(per_image) == 60
    assert found.imbalance == pytest.approx(labels.sum(axis=0).max() / labels.sum(axis=0).min())
    json.dumps(found.to_json())
    assert sample_grid(dataset, per_class=3).height == 4 + 4 * 76


def test_a_set_of_one_label_an_image_has_no_number_of_labels(arrays, write_npz):
    assert "labels_per_image" not in describe(load(write_npz(arrays))).to_json()


def test_groups_are_kept_whole_and_labels_shared_out():
    _, labels = toys.images(200, seed=5)
    groups = [f"patient {i // 4}" for i in range(200)]
    owner = share_out(labels, toys.LABELS, groups, range(200), {"val": 0.2, "test": 0.2}, 0)
    assert all(len(set(owner[i : i + 4])) == 1 for i in range(0, 200, 4))
    for name, share in (("val", 0.2), ("test", 0.2)):
        assert abs((owner == name).mean() - share) < 0.06
        found = labels[owner == name].sum(axis=0) / labels.sum(axis=0)
        np.testing.assert_allclose(found, share, atol=0.1)


def test_a_new_order_of_names_moves_the_columns(blobs, write_npz):
    path = write_npz(blobs)
    names = ("white frame", "red blob", "green blob", "blue blob")
    moved = load(path, class_names=",".join(names))
    assert moved.class_names == names
    np.testing.assert_array_equal(moved.train.labels, blobs["train_labels"][:, [3, 0, 1, 2]])
    assert moved.fingerprint != load(path).fingerprint
