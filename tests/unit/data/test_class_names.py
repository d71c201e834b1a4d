from __future__ import annotations

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data import SPLITS, load_dataset
from edgecell.errors import ConfigError, DataError


def load(path, **settings):
    return load_dataset(DataConfig(str(path), **settings))


def test_numbered_classes_take_the_names_by_number(arrays, write_npz):
    arrays["test_labels"] *= 0
    path = write_npz(arrays)
    dataset = load(path, class_names="basophil, éosinophile ,platelet")
    assert dataset.class_names == ("basophil", "éosinophile", "platelet")
    assert dataset.train.labels.tolist() == arrays["train_labels"].ravel().tolist()
    assert dataset.notes[0].startswith("test has no images of 'éosinophile', 'platelet'")
    assert dataset.origin["class_names"] == "basophil, éosinophile ,platelet"
    assert dataset.fingerprint == load(path).fingerprint


@pytest.mark.parametrize("content", ["a\nb\nc\n", "a\r\nb\r\nc", "\ufeffa\nb \nc\n\n"])
def test_names_come_from_a_text_file_too(arrays, write_npz, tmp_path, content):
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content.encode())
    assert load(write_npz(arrays), class_names=str(labels)).class_names == ("a", "b", "c")


def test_numbered_folders_take_names_too(make_folder):
    dataset = load(make_folder({"0": 5, "1": 5, "2": 5}), class_names="a,b,c")
    assert dataset.class_names == ("a", "b", "c")
    assert dataset.train.source.name(0).startswith("0/")
    assert dataset.train.labels[0] == 0


def test_named_classes_keep_their_names_but_may_stand_in_another_order(make_folder):
    root = make_folder({"cat": 5, "dog": 6, "newt": 7})
    plain = load(root)
    turned = load(root, class_names="Newt,cat,dog")
    assert plain.class_names == ("cat", "dog", "newt")
    assert turned.class_names == ("Newt", "cat", "dog")
    for name in SPLITS:
        called = [turned.split(name).source.name(i).split("/")[0] for i in range(3)]
        expected = [("newt", "cat", "dog").index(c) for c in called]
        assert turned.split(name).labels[:3].tolist() == expected
        assert np.bincount(turned.split(name).labels).tolist() == [
            np.bincount(plain.split(name).labels)[i] for i in (2, 0, 1)
        ]
    # A model trained with one order says nonsense under the other: the data are not the same.
    assert turned.fingerprint != plain.fingerprint
    assert load(root, class_names="cat,dog,newt").fingerprint == plain.fingerprint
    assert load(root, class_names="Cat,Dog,Newt").fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("a,b", DataError, r"has 2 names and .*set\.npz 3 classes \(0, 1, 2\); give one name per"),
        ("a,b,c,d", DataError, "has 4 names"),
        ("a,b,A", ConfigError, "empty or repeated names; wanted A,B,C or a text file"),
        ("a,,c", ConfigError, "empty or repeated names"),
        (",", ConfigError, "no, empty or repeated names"),
        ("none/such.txt", DataError, "cannot read the class names in none/such.txt: No such file"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(arrays, write_npz, given, error, message):
    with pytest.raises(error, match=message) as caught:
        load(write_npz(arrays), class_names=given)
    assert "\n" not in str(caught.value)


def test_a_names_file_in_another_encoding_is_refused(arrays, write_npz, tmp_path):
    (tmp_path / "n.txt").write_bytes("é\nb\nc".encode("latin-1"))
    with pytest.raises(DataError, match="n.txt is not UTF-8"):
        load(write_npz(arrays), class_names=str(tmp_path / "n.txt"))


def test_other_names_than_the_data_s_own_are_refused(make_folder):
    root = make_folder({"cat": 5, "dog": 6})
    with pytest.raises(DataError, match="says cat, cow, but pictures names .* itself: cat, dog"):
        load(root, class_names="cat,cow")


def test_a_comma_makes_a_list_of_it_never_a_path(arrays, write_npz):
    assert load(write_npz(arrays), class_names="a/b,c,d").class_names == ("a/b", "c", "d")
