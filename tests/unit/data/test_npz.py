from __future__ import annotations

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data import SPLITS, load_dataset
from edgecell.errors import DataError


def load(path, **settings):
    return load_dataset(DataConfig(str(path), **settings))


def test_a_complete_file_comes_back_as_it_is(arrays, write_npz):
    dataset = load(write_npz(arrays))
    for name in SPLITS:
        split = dataset.split(name)
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == arrays[f"{name}_labels"].ravel().tolist()
        for i in (0, len(split) - 1):
            np.testing.assert_array_equal(split.source.read(i), arrays[f"{name}_images"][i])
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.task == "multi-class"
    assert dataset.notes == ()
    assert dataset.origin["kind"] == "npz"


@pytest.mark.parametrize("channels", [None, 1, 4])
def test_grey_and_rgba_are_read_as_rgb(arrays, write_npz, channels):
    for name in SPLITS:
        rgb = arrays[f"{name}_images"]
        if channels is None:
            arrays[f"{name}_images"] = rgb[..., 0]
        elif channels == 1:
            arrays[f"{name}_images"] = rgb[..., :1]
        else:
            opaque = np.full((*rgb.shape[:3], 1), 255, np.uint8)
            arrays[f"{name}_images"] = np.concatenate([rgb, opaque], axis=3)
    image = load(write_npz(arrays)).train.source.read(3)
    assert image.shape == (12, 10, 3)
    if channels != 4:
        np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("key", ["class_names", "label_names"])
def test_class_names_in_the_file_are_used(arrays, write_npz, key):
    names = np.array(["basophil", "éosinophile", "platelet"])
    assert load(write_npz({**arrays, key: names})).class_names == tuple(names.tolist())


def test_an_official_file_name_gives_names_only_where_the_labels_fit(arrays, write_npz):
    binary = {k: v % 2 if k.endswith("labels") else v for k, v in arrays.items()}
    assert load(write_npz(binary, "pneumoniamnist.npz")).class_names == ("normal", "pneumonia")
    three = load(write_npz(arrays, "pneumoniamnist_64.npz"))
    assert three.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": None}, r"has the keys .*train_labels.*wanted train_images, train_labels"),
        ({"val_labels": None}, r"has val_images alone; give both val_images and val_labels"),
        ({"train_images": lambda a: a / np.float32(255)}, r"dtype float32.*images \* 255\)\.round"),
        ({"train_images": lambda a: a.astype(np.float64)}, r"dtype float64.*images\.round\(\)"),
        ({"val_images": lambda a: a.astype(np.uint16)}, r"val_images has dtype uint16"),
        ({"train_images": lambda a: a.transpose(0, 3, 1, 2)}, r"transpose\(0, 2, 3, 1\)"),
        ({"train_images": lambda a: a[..., None]}, r"volumes \(3D\) are not supported"),
        ({"train_images": lambda a: np.repeat(a[..., :1], 12, 3)}, r"volumes \(3D\) are not supp"),
        ({"test_images": lambda a: a[:0], "test_labels": lambda a: a[:0]}, r"no images in it"),
        ({"test_labels": lambda a: a[:-1]}, r"test has 15 images and 14 labels"),
        ({"train_labels": lambda a: a.astype(float)}, r"dtype float64; wanted whole numbers"),
        ({"train_labels": lambda a: a.ravel().astype(str)}, r"wanted whole numbers"),
        ({"train_labels": lambda a: a.astype(int) - 1}, r"has the label -1"),
        ({"train_labels": lambda a: np.eye(3)[a.ravel()]}, r"one-hot\); save labels\.argmax"),
        ({"train_labels": lambda a: np.ones((60, 3), int)}, r"val_labels has shape \(12, 1\) and"),
        ({"train_labels": lambda a: a[:, :, None]}, r"wanted \(N,\) or \(N, 1\)"),
        ({"test_labels": lambda a: a.astype(int) + 1}, r"no train images of '3'"),
        ({"train_labels": lambda a: a.astype(int) * 1000}, r"highest label is 2000"),
        ({"train_labels": lambda a: a * 0}, r"one class only in train|one class only \('0'\)"),
        (
            {"class_names": lambda _: np.array(["a", "b"])},
            r"has 2 names and the highest label is 2",
        ),
        ({"class_names": lambda _: np.array(["a", "b", "a"])}, r"empty or repeated names"),
        ({"class_names": lambda _: np.array([1, 2, 3])}, r"wanted one text per class"),
        ({"train_images": lambda a: np.array([None, 1], object)}, r"Python objects.*never loaded"),
    ],
)
def test_a_spoilt_file_is_refused_in_one_line(arrays, write_npz, change, message):
    for key, spoil in change.items():
        if spoil is None:
            del arrays[key]
        else:
            arrays[key] = spoil(arrays.get(key))
    path = write_npz(arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_one_class_in_the_whole_file_is_refused(arrays, write_npz):
    content = {k: v * 0 if k.endswith("labels") else v for k, v in arrays.items()}
    with pytest.raises(DataError, match=r"one class only \('0'\); a classifier needs at least 2"):
        load(write_npz(content))


@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_truncated_file_is_refused(arrays, write_npz, tmp_path, keep):
    whole = (tmp_path / write_npz(arrays)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=r"cut\.npz (is a damaged|cannot be read)") as caught:
        load(tmp_path / "cut.npz")
    assert "\n" not in str(caught.value)


def test_flipped_bytes_are_noticed(arrays, write_npz, tmp_path):
    spoilt = bytearray((tmp_path / write_npz(arrays)).read_bytes())
    spoilt[2000] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(bytes(spoilt))
    with pytest.raises(DataError, match=r"flipped\.npz (is a damaged|cannot be read)"):
        load(tmp_path / "flipped.npz")


def test_a_bare_array_and_plain_text_are_refused(tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros(3))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    with pytest.raises(DataError, match="one bare array"):
        load(tmp_path / "bare.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="text.npz cannot be read as .npz"):
        load(tmp_path / "text.npz")


def test_missing_splits_are_made_from_train_and_said(arrays, write_npz):
    for key in ("val_images", "val_labels"):
        del arrays[key]
    dataset = load(write_npz(arrays), val_fraction=0.2)
    assert [len(dataset.split(s)) for s in SPLITS] == [48, 12, 15]
    assert np.bincount(dataset.val.labels).tolist() == [4, 4, 4]
    assert dataset.notes == (
        "no val split was given: 12 of 60 train images make it (stratified, seed 0)",
    )
    np.testing.assert_array_equal(dataset.test.source.read(0), arrays["test_images"][0])


def test_a_class_that_a_given_split_lacks_is_noted(arrays, write_npz):
    arrays["test_labels"] = arrays["test_labels"] * 0
    (note,) = load(write_npz(arrays)).notes
    assert note.startswith("test has no images of '1', '2'")


def test_the_fingerprint_follows_the_content(arrays, write_npz):
    one = load(write_npz(arrays, "one.npz"))
    again = load(write_npz(arrays, "again.npz"))
    arrays["test_images"][0, 0, 0, 0] ^= 1
    other = load(write_npz(arrays, "other.npz"))
    assert one.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.needs_shared
def test_pbc28(shared):
    dataset = load(shared / "data/pbc28.npz")
    assert [len(dataset.split(s)) for s in SPLITS] == [11959, 1712, 1712]
    assert np.bincount(dataset.train.labels).tolist() == [
        852,
        2181,
        1085,
        2026,
        849,
        993,
        2330,
        1643,
    ]
    assert not any("across" in note for note in dataset.notes)
