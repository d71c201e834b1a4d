"""The exploration's numbers against NumPy on all pixels at once."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data import SPLITS, load_dataset
from edgecell.data.eda import explore, find_near
from edgecell.data.explore import look_at, mean_and_sd, mean_image
from edgecell.data.types import Dataset, Split
from edgecell.errors import DataError


class Source:
    """Images made when they are asked for."""

    def __init__(self, count, make):
        self.count = count
        self.make = make

    def __len__(self):
        return self.count

    def read(self, index):
        return self.make(index)

    def name(self, index):
        return f"image {index}"


def noise(seed, shape=(20, 30, 3)):
    return lambda index: (
        np.random.default_rng([seed, index]).integers(10, 250, shape).astype(np.uint8)
    )


def make(splits, labels=None, names=("a", "b", "c"), task="multi-class"):
    """A data set; ``splits``: (count, function of the index) for train, val and test."""
    parts = {}
    for i, name in enumerate(SPLITS):
        count, image = splits[i]
        given = np.arange(count) % len(names) if labels is None else labels[i]
        parts[name] = Split(name, Source(count, image), np.asarray(given, np.int64))
    origin = {"kind": "test", "fingerprint": "0" * 64}
    return Dataset("made", task, names, **parts, origin=origin)


def explored(dataset, bits=24):
    looks = look_at(dataset)
    return explore(dataset, looks, find_near(dataset, looks, bits)), looks


def test_numbers_agree_with_numpy():
    dataset = make([(40, noise(0)), (9, noise(1)), (6, noise(2))])
    seen: list[int] = []
    looks = look_at(dataset, seen.append)
    report = explore(dataset, looks, find_near(dataset, looks, 24))
    assert seen[-1] == 55 and sorted(seen) == seen
    assert report["counts"] == {"train": [14, 13, 13], "val": [3, 3, 3], "test": [2, 2, 2]}
    assert report["imbalance"] == pytest.approx(14 / 13)
    for name in SPLITS:
        split = dataset.split(name)
        images = np.stack([split.source.read(i) for i in range(len(split))]).astype(float)
        flat = images.reshape(-1, 3)
        channels = report["channels"][name]
        np.testing.assert_allclose(channels["mean"], flat.mean(axis=0), atol=6e-4)
        np.testing.assert_allclose(channels["sd"], flat.std(axis=0), atol=6e-4)
        assert (channels["low"], channels["high"]) == (flat.min(), flat.max())
        for label, row in enumerate(report["channels_by_class"][name]):
            mine = images[split.labels == label].reshape(-1, 3)
            assert row["images"] == (split.labels == label).sum()
            np.testing.assert_allclose(row["mean"], mine.mean(axis=0), atol=6e-4)
            np.testing.assert_allclose(row["sd"], mine.std(axis=0), atol=6e-4)
        histogram = np.array(report["histograms"][name])
        assert histogram.sum() == flat.size
        assert histogram[1, 77] == (flat[:, 1] == 77).sum()
        assert report["sizes"][name]["common"] == [[30, 20, len(split)]]
        assert report["sizes"][name]["aspect"] == [1.5, 1.5, 1.5]
    json.dumps(report, allow_nan=False)


def test_mean_image_and_its_spread():
    dark, light = np.full((50, 50, 3), 40, np.uint8), np.full((50, 50, 3), 100, np.uint8)
    light[:, :, 2] = 40
    dataset = make(
        [(30, lambda i: light if i % 3 == 0 and i % 2 else dark), (3, noise(1)), (3, noise(2))]
    )
    mean, spread = mean_image(look_at(dataset)["train"].classes[0])
    np.testing.assert_array_equal(mean[20, 20], [70, 70, 40])  # half of class a is light
    np.testing.assert_allclose(spread[20, 20], [30, 30, 0])


def test_histograms_hold_the_moments():
    values = np.random.default_rng(0).integers(0, 256, (3, 5000))
    histogram = np.stack([np.bincount(v, minlength=256) for v in values])
    mean, sd = mean_and_sd(histogram)
    np.testing.assert_allclose(mean, values.mean(axis=1), atol=6e-4)
    np.testing.assert_allclose(sd, values.std(axis=1), atol=6e-4)


def test_outliers_are_the_extremes_of_all_splits():
    def image(index):
        level = {3: 2, 7: 253}.get(index, 128)
        spread = 0 if index == 5 else 1 + index % 7
        return (
            (level + spread * np.sin(np.arange(1200)).reshape(20, 20, 3))
            .clip(0, 255)
            .astype(np.uint8)
        )

    report, looks = explored(make([(12, image), (3, noise(1)), (3, noise(2))]))
    outliers = report["outliers"]
    first = {kind: rows[0] for kind, rows in outliers.items()}
    assert (first["darkest"]["row"], first["brightest"]["row"]) == (3, 7)
    assert first["least_contrast"]["row"] == 5 and first["least_contrast"]["contrast"] == 0
    assert first["darkest"] | {"brightness": 0, "contrast": 0} == {
        **{"split": "train", "row": 3, "image": "image 3", "label": "a"},
        **{"brightness": 0, "contrast": 0},
    }
    levels = [row["brightness"] for row in outliers["brightest"]]
    assert levels == sorted(levels, reverse=True)
    assert report["blank"]["images"] >= 1 and looks["train"].blank[5]
    assert any("show nothing" in line for line in report["findings"])


def test_leaks_conflicts_and_shifts_are_findings():
    shared = noise(0)
    brighter = lambda index: np.minimum(shared(index) * 1.05, 255).astype(np.uint8)  # noqa: E731
    dark = lambda index: noise(9)(index) // 3  # noqa: E731
    labels = [np.arange(90) % 3, np.array([1, 1, 2, 0]), np.array([0] * 30 + [1, 2])]
    report, _ = explored(make([(90, shared), (4, brighter), (32, dark)], labels))
    near = report["near_duplicates"]
    assert near["pairs"] == 4 and near["across"] == {"train/val": 4, "train/test": 0, "val/test": 0}
    assert near["conflicts"] == 1  # image 0 is labelled 1 in val, 0 in train
    assert near["groups"] == 4 and near["images"] == 8 and near["largest_group"] == 2
    assert near["examples"][0]["a"]["label"] != near["examples"][0]["b"]["label"]
    assert report["duplicates"]["across"]["train/val"] == 0
    said = "\n".join(report["findings"])
    assert (
        "4 val images are nearly equal to images of train; figures on val will be too good" in said
    )
    assert "1 pair of images nearly equal to one another, labelled differently" in said
    assert "test looks different from train" in said and "val looks different" not in said
    assert "test has other class shares than train: 0.60 apart" in said
    assert "val has other class shares" not in said  # 4 images are 0.17 apart by chance
    assert report["shift"]["val"]["classes"] > 0.1 > report["shift"]["val"]["pixels"][0]


def test_an_unremarkable_set_has_no_findings():
    report, _ = explored(make([(30, noise(0)), (30, noise(1)), (30, noise(2))]))
    assert report["findings"] == []
    assert max(report["shift"]["test"]["pixels"]) < 0.1


def test_exact_copies_are_not_near_duplicates_too():
    report, _ = explored(make([(10, noise(0)), (10, noise(0)), (5, noise(2))]))
    assert report["duplicates"]["across"]["train/val"] == 10
    assert report["near_duplicates"]["pairs"] == 0
    assert report["near_duplicates"]["method"]["compared"] == 15


def test_with_several_labels_an_image_counts_for_each():
    labels = [[[1, 1], [0, 1], [0, 0], [1, 0]], [[1, 0]], [[0, 1]]]
    dataset = make(
        [(4, noise(0)), (1, noise(1)), (1, noise(2))],
        [np.array(rows) for rows in labels],
        ("x", "y"),
        "multi-label, binary-class",
    )
    report, looks = explored(dataset)
    assert report["counts"]["train"] == [2, 2]
    assert looks["train"].whole.images == 4
    assert looks["train"].classes[1].images == 2
    named = {
        row["row"]: row["label"] for row in report["outliers"]["darkest"] if row["split"] == "train"
    }
    assert named == {0: "x; y", 1: "y", 2: "none", 3: "x"}


@pytest.mark.parametrize(("emptied", "found"), [(0.9, True), (0.0, False)])
def test_rarer_labels_are_a_finding_though_their_ratio_stays(emptied, found):
    """In train half of the images have each label; in val the same, but for those that lost both."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 2, (count, 2)) for count in (300, 200, 10)]
    labels[1] *= rng.random((200, 1)) >= emptied
    images = [(len(rows), noise(seed)) for seed, rows in enumerate(labels)]
    report, _ = explored(make(images, labels, ("x", "y"), "multi-label, binary-class"))
    shift = report["shift"]["val"]
    shares = [np.c_[rows, ~rows.any(axis=1)].mean(axis=0) for rows in labels[:2]]
    assert shift["classes"] == pytest.approx(np.abs(shares[0] - shares[1]).max(), abs=1e-4)
    assert (shift["classes_p"] < 1e-3) == found
    said = [line for line in report["findings"] if line.startswith("val has other class shares")]
    assert bool(said) == found


def test_broken_images_are_counted_and_the_first_is_named():
    def image(index):
        if index in (4, 40):
            raise DataError(f"image {index} is corrupt")
        return noise(0)(index)

    dataset = make([(60, image), (3, noise(1)), (3, noise(2))])
    with pytest.raises(DataError, match="2 images cannot be read; the first: image 4 is corrupt"):
        look_at(dataset)


def test_memory_does_not_grow_with_the_images():
    """200 images of 300 kB are 60 MB at once; what is kept of them is a few numbers each."""
    shape = (320, 320, 3)
    pattern = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    dataset = make([(200, lambda i: pattern + np.uint8(i % 7)), (3, noise(1)), (3, noise(2))])
    tracemalloc.start()
    look_at(dataset)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 15e6
    kept = [dataset.train.source.read(i) for i in range(200)]
    assert sum(image.nbytes for image in kept) > 4 * 15e6  # what the bound would catch


def test_a_folder_of_several_sizes(make_folder):
    report, _ = explored(load_dataset(DataConfig(str(make_folder({"a": 12, "b": 12})))))
    assert report["near_duplicates"]["method"]["compared"] > 0
    assert sum(report["images"].values()) == 24
