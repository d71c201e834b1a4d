from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from edgecell.config import DataConfig
from edgecell.data import SPLITS, load_dataset
from edgecell.errors import ConfigError, DataError


def load(path, **settings):
    return load_dataset(DataConfig(str(path), **settings))


def names(split):
    return [split.source.name(i) for i in range(len(split))]


@pytest.fixture
def pictures(tmp_path):
    """Ten images called img/0.png … img/9.png."""
    (tmp_path / "img").mkdir()
    rng = np.random.default_rng(4)
    for i in range(40):
        pixels = rng.integers(0, 256, (6 + i % 3, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"img/{i}.png")
    return tmp_path


@pytest.fixture
def write(pictures):
    """Write lines to a CSV beside the pictures; returns its path."""

    def to_csv(*lines: str, name: str = "cells.csv", encoding: str = "utf-8") -> object:
        path = pictures / name
        path.write_bytes("\n".join(lines).encode(encoding))
        return path

    return to_csv


def rows(count: int = 40, separator: str = ",") -> list[str]:
    return [f"img/{i}.png{separator}{'ab'[i % 2]}" for i in range(count)]


def test_paths_and_labels_make_a_data_set(write, pictures):
    dataset = load(write("path,label", *rows()))
    assert dataset.class_names == ("a", "b")
    assert dataset.origin["kind"] == "csv"
    assert dataset.name == "cells"
    assert [len(dataset.split(s)) for s in SPLITS] == [28, 4, 8]
    for s in SPLITS:
        split = dataset.split(s)
        for i, name in enumerate(names(split)):
            number = int(name.removeprefix("img/").removesuffix(".png"))
            assert split.labels[i] == number % 2
            with Image.open(pictures / name) as image:
                np.testing.assert_array_equal(split.source.read(i), np.asarray(image))


@pytest.mark.parametrize(
    ("header", "separator", "encoding"),
    [
        ("path,label", ",", "utf-8-sig"),
        ("Image Path;Class", ";", "utf-8"),
        ("FILENAME\tdx", "\t", "utf-8"),
        ('"file_name","Diagnosis"', ",", "utf-8"),
    ],
)
def test_separators_column_names_and_a_byte_order_mark(write, header, separator, encoding):
    path = write(header, *rows(separator=separator), "", " ", encoding=encoding)
    dataset = load(path)
    assert sum(len(dataset.split(s)) for s in SPLITS) == 40
    assert dataset.class_names == ("a", "b")


def test_windows_line_ends_and_backslashes(write):
    lines = "\r\n".join(["path,label", *rows()]).replace("/", "\\")
    assert names(load(write(lines)).train)[0].startswith("img/")


def test_extensions_may_be_left_away(write):
    dataset = load(write("image_id,dx", *(row.replace(".png", "") for row in rows())))
    assert names(dataset.train)[0].endswith(".png")


def test_columns_can_be_named(write):
    lines = ["id,path,label,quality", *(f"{i},{row},good" for i, row in enumerate(rows()))]
    by_name = load(write(*lines))
    assert by_name.class_names == ("a", "b")
    assert by_name.notes[0] == "columns not used: id, quality"
    graded = [line.replace("good", "cd"[i // 2 % 2]) for i, line in enumerate(lines)]
    graded[0] = lines[0]
    dataset = load(write(*graded), columns="label=Quality")
    assert dataset.class_names == ("c", "d")


def test_a_split_column_is_kept_to(write):
    words = ["TRAIN", "train", "Training", "valid", "test"]
    dataset = load(
        write("path,label,split", *(f"{r},{words[i // 8]}" for i, r in enumerate(rows())))
    )
    assert [len(dataset.split(s)) for s in SPLITS] == [24, 8, 8]
    assert names(dataset.test) == [f"img/{i}.png" for i in range(32, 40)]
    assert dataset.notes == ()
    pooled = load(write("path,label,split", *(f"{r},test" for r in rows())), columns="split=")
    assert len(pooled.train) == 28


def test_a_missing_split_is_made_of_whole_groups(write):
    lines = [f"{row},P{i // 4}" for i, row in enumerate(rows())]
    dataset = load(write("path,label,patient_id", *lines))
    patients = {s: {int(name[4:-4]) // 4 for name in names(dataset.split(s))} for s in SPLITS}
    assert sum(map(len, patients.values())) == len(set().union(*patients.values())) == 10
    assert all(len(dataset.split(s)) % 4 == 0 for s in SPLITS)
    assert "stratified, no group cut" in dataset.notes[-1]
    alone = load(write("path,label,patient_id", *lines), columns="group=")
    cut = {s: {int(name[4:-4]) // 4 for name in names(alone.split(s))} for s in SPLITS}
    assert sum(map(len, cut.values())) > 10


def test_every_image_keeps_its_group(write):
    lines = [f"{row},P{i // 4}" for i, row in enumerate(rows())]
    path = write("path,label,patient_id", *lines)
    for settings in ({}, {"limit": 3}, {"class_names": "b,a"}):
        dataset = load(path, **settings)
        for split in map(dataset.split, SPLITS):
            assert split.groups == tuple(f"P{int(name[4:-4]) // 4}" for name in names(split))
            assert split.group_count == len(set(split.groups))
    given = [f"{row},{SPLITS[i // 14]},P{i // 4}" for i, row in enumerate(rows())]
    dataset = load(write("path,label,split,patient", *given))
    assert [dataset.split(s).group_count for s in SPLITS] == [4, 4, 3]
    alone = load(path, columns="group=")
    assert {alone.split(s).group_count for s in SPLITS} == {None}


def test_groups_in_two_given_splits_are_said_or_refused(write):
    lines = [f"{row},{'train' if i < 30 else 'test'},P{i % 20}" for i, row in enumerate(rows())]
    path = write("path,label,split,patient", *lines)
    said = "groups in more than one split: 10 (for example 'P10' in train and test)"
    assert load(path).notes[0] == said
    with pytest.raises(DataError, match="groups in more than one split: 10 .*data split --pool"):
        load(path, strict_splits=True)


def test_groups_that_differ_in_case_only_are_one_and_said(write):
    lines = [f"{row},{'Pp'[i // 4 % 2]}{i // 8}" for i, row in enumerate(rows())]
    dataset = load(write("path,label,patient", *lines, "img/0.png,a,p0"))
    patients = {s: {int(name[4:-4]) // 8 for name in names(dataset.split(s))} for s in SPLITS}
    assert sum(map(len, patients.values())) == 5
    assert (
        "groups that differ in case only, read as one: 5 (for example 'P0', also 'p0' (4))"
        in dataset.notes
    )
    given = [f"{row},{'train' if i < 20 else 'test'}" for i, row in enumerate(rows())]
    cut = [f"{row},{'Px' if i < 20 else 'pX'}{i % 20}" for i, row in enumerate(given)]
    assert "groups in more than one split: 20" in str(
        load(write("path,label,split,patient", *cut)).notes
    )


def test_labels_that_differ_in_case_are_one_class_and_said(write):
    lines = rows()
    lines[0] = "img/0.png,  A "
    dataset = load(write("path,label", *lines))
    assert dataset.class_names == ("a", "b")
    assert dataset.notes[0] == "labels read as 'a': 'A' (1)"
    assert sum((dataset.split(s).labels == 0).sum() for s in SPLITS) == 20


def test_a_repeated_row_is_left_out_and_a_contradiction_refused(write):
    repeated = load(write("path,label", *rows(), "img/3.png,b"))
    assert sum(len(repeated.split(s)) for s in SPLITS) == 40
    assert repeated.notes[0] == "rows left out, they repeat another: 1 (for example line 42)"
    with pytest.raises(DataError, match=r"lines 5 and 42: 'img/3.png' has the label 'b' and 'a'"):
        load(write("path,label", *rows(), "img/3.png,a"))


def test_numbered_labels_take_class_names(write):
    lines = [f"img/{i}.png,{i % 2}" for i in range(40)]
    assert load(write("path,label", *lines), class_names="no,yes").class_names == ("no", "yes")


def test_what_medmnist_saves_is_read(pictures):
    words = {"train": "TRAIN", "val": "VALIDATION", "test": "TEST"}
    lines = []
    (pictures / "bloodmnist").mkdir()
    for i in range(40):
        split = "train" if i < 30 else "val" if i < 35 else "test"
        shutil.copy(pictures / f"img/{i}.png", pictures / f"bloodmnist/{split}{i}_{i % 2}.png")
        lines.append(f"{words[split]},{split}{i}_{i % 2}.png,{i % 2}\n")
    (pictures / "bloodmnist.csv").write_text("".join(lines))
    dataset = load(pictures / "bloodmnist.csv", class_names="x,y")
    assert [len(dataset.split(s)) for s in SPLITS] == [30, 5, 5]
    assert names(dataset.val)[0] == "bloodmnist/val30_0.png"
    assert dataset.test.labels.tolist() == [1, 0, 1, 0, 1]
    (pictures / "chest.csv").write_text("TRAIN,train0_1_0_1.png,1,0,1\n")
    with pytest.raises(DataError, match="3 labels per image"):
        load(pictures / "chest.csv")


def test_the_fingerprint_follows_content_labels_and_splits_but_not_the_place(write, pictures):
    lines = [f"{row},{'train' if i < 30 else 'test'}" for i, row in enumerate(rows())]
    path = write("path,label,split", *lines)
    first = load(path).fingerprint
    shutil.copytree(pictures, pictures.parent / "moved")
    assert load(pictures.parent / "moved/cells.csv").fingerprint == first
    prints = {first}
    for change in ("img/0.png,b,train", "img/0.png,a,test"):
        prints.add(load(write("path,label,split", change, *lines[1:])).fingerprint)
    shutil.copy(pictures / "img/1.png", pictures / "img/0.png")
    prints.add(load(write("path,label,split", *lines)).fingerprint)
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"cells\.csv is empty"),
        (["path,label"], "no rows below its first line"),
        (["img/0.png,a", "img/1.png,b"], "starts with an image, not with the names of its columns"),
        (
            ["a,b", "1,2"],
            r"no column for the path \(it has a, b\); name it path, or say --columns p",
        ),
        (["path,kind", "img/0.png,a"], "no column for the label"),
        (
            ["path,image,label", "x,y,z"],
            r"has 'path' and 'image', each of which .* --columns path=",
        ),
        (["path,label,Label", "x,y,z"], "two columns called 'label'"),
        (["path,label", "img/0.png,a,b"], "line 2 has 3 cells, the first line 2"),
        (["path,label", "img/0.png,"], "line 2: 'label' is empty"),
        (["path,label", "img/0.png,a", " ,b"], "line 3: 'path' is empty"),
        (
            ["path,label,split", "img/0.png,a,fold1"],
            "line 2: no split 'fold1'; allowed: train, val",
        ),
        (["path,label,split", "img/0.png,a,test"], "no row of train in 'split'"),
        (
            ["path,label", *rows(), "img/gone.png,a"],
            r"lists 1 of 41 files .* line 42: 'img/gone.png'",
        ),
        (["path,label", "gone.png,a", *rows()], r"lists 1 of 41 files .* line 2: 'gone.png'"),
        (["path,label", *(f"img/{i}.png,a" for i in range(9))], r"one class only \('a'\)"),
        (
            ["path,label", "img/0.png,a", *(f"img/{i}.png,b" for i in range(9, 20))],
            "too few distinct",
        ),
        (
            ["path,label", *(f"img/{i}.png,{i}" for i in range(40))],
            r"'7' 1 and 32 more; each class",
        ),
        (["path,label", '"img/0.png,a', "x,y"], "cells|unexpected end"),
    ],
)
def test_a_spoilt_table_is_refused_in_one_line(write, lines, message):
    with pytest.raises(DataError, match=message) as caught:
        load(write(*lines))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ("label", ConfigError, "not of the form path=NAME,label=NAME"),
        ("labl=x", ConfigError, "allowed before '=': path, label, split, group"),
        ("path=a,path=b", ConfigError, "each once"),
        ("label=lable", DataError, "no column 'lable'; did you mean 'label'"),
        ("label=zzz", DataError, "no column 'zzz'; it has path, label"),
        ("label=", DataError, "no column for the label"),
    ],
)
def test_columns_that_are_not_there_are_refused(write, columns, error, message):
    with pytest.raises(error, match=message):
        load(write("path,label", *rows()), columns=columns)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\nx,é\n".encode("latin-1"), r"no UTF-8 text \(byte 13\)"),
        ("path,label\nx,y\n".encode("utf-16"), "no UTF-8 text"),
        (b"PK\x03\x04\0\0\0\0", "no UTF-8 text .*or no text at all"),
    ],
)
def test_another_encoding_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "t.csv")


def test_a_missing_table_is_a_missing_file():
    with pytest.raises(DataError, match="no file or folder at gone.csv"):
        load("gone.csv")


def test_columns_of_what_is_no_table_are_refused(make_folder):
    with pytest.raises(ConfigError, match="--columns is for a CSV; .* is none"):
        load(make_folder({"a": 5, "b": 5}), columns="label=x")


def test_labels_that_join_others_are_noted_and_read_as_ever(write):
    words = ["Mass", "mass | Effusion", "Effusion", "Mass|Hernia"]
    dataset = load(write("path,label", *(f"img/{i}.png,{words[i % 4]}" for i in range(40))))
    assert dataset.class_names == ("Effusion", "Mass", "mass | Effusion", "Mass|Hernia")
    [note] = [note for note in dataset.notes if "joins several" in note]
    assert "20 of 40 (for example 'mass | Effusion')" in note
    assert "one label to an image" in note and ".npz" in note


def test_a_stroke_in_a_name_joins_nothing(write):
    dataset = load(write("path,label", *(f"img/{i}.png,{'ab'[i % 2]}|c" for i in range(40))))
    assert dataset.class_names == ("a|c", "b|c")
    assert not any("joins several" in note for note in dataset.notes)
