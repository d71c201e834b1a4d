from __future__ import annotations

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data.folder import list_folder
from edgecell.data.group_keys import group_names
from edgecell.data.table import list_table
from edgecell.errors import ConfigError, DataError


@pytest.fixture
def listing(make_folder):
    """train and test with two classes of six images 0.png … 5.png each."""
    return list_folder(make_folder({f"{s}/{c}": 6 for s in ("train", "test") for c in "ab"}))


def test_a_pattern_s_brackets_are_the_group(listing):
    notes: list[str] = []
    names = group_names(listing, r"^(\w+)/\w/(\d)", notes)
    assert names["train"][:3] == ("train/0", "train/1", "train/2")
    assert names["test"][-1] == "test/5"
    assert group_names(listing, r"[02468]|[13579]", notes)["test"][1] == "1"
    assert group_names(listing, r"/(a)/|/(b)/", notes)["train"] == ("a",) * 6 + ("b",) * 6
    assert group_names(listing, r"(test)|train", notes)["train"] == ("train",) * 12
    assert notes == []


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("(", ConfigError, "is not a regular expression: .*give a file that ends with .csv"),
        (
            r"/([0-4])\.",
            DataError,
            r"matches 20 of 24 paths, not 'train/a/5.png'; every image needs",
        ),
        (
            r"train/a/([1-4]?)|(\w+/b)|test/a/(\s*)",
            DataError,
            "matches 16 of 24 paths, not 'train/a/0.png'",
        ),
        ("zzz", DataError, "matches 0 of 24 paths, not 'train/a/0.png'"),
        (
            r".*",
            DataError,
            "groups nothing: it finds 24 groups in 24 images, such as 'train/a/0.png'",
        ),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(listing, pattern, error, message):
    with pytest.raises(error, match=message) as caught:
        group_names(listing, pattern, [])
    assert "\n" not in str(caught.value)


def table(tmp_path, lines):
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(lines))
    return str(path)


def test_a_table_s_paths_may_be_whole_or_ends(listing, tmp_path):
    lines = [
        "file;patient",
        *(f"{s}/{c}/{i}.png;P{i}" for s in ("train", "test") for c in "ab" for i in range(6)),
    ]
    names = group_names(listing, table(tmp_path, lines), [])
    assert names["test"] == tuple(f"P{i}" for i in range(6)) * 2
    ends = ["path,group", *(f"{i}.png,Q{i}" for i in range(6)), "a\\3.png,mine", "more.png,X"]
    names = group_names(listing, table(tmp_path, ends), [])
    assert names["train"][2:5] == ("Q2", "mine", "Q4")
    assert names["train"][9] == "Q3"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,group", "0.png,P", "1.png,Q"],
            "has a group for 8 of 24 images, not for 'train/a/2.png'",
        ),
        (["path,group", "0.png,P", "0.png,Q"], "line 3: '0.png' is in the groups 'P' and 'Q'"),
        (["path,kind", "0.png,P"], "has no column for the group"),
    ],
)
def test_a_table_that_misses_images_is_refused(listing, tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        group_names(listing, table(tmp_path, lines), [])


def test_a_missing_table_is_told(listing):
    with pytest.raises(
        DataError, match="no table at gone.csv; --group-by takes a regular expression"
    ):
        group_names(listing, "gone.csv", [])


def test_a_table_that_groups_nothing_is_noted(listing, tmp_path):
    lines = [
        "path,group",
        *(f"{s}/{c}/{i}.png,{s}{c}{i}" for s in ("train", "test") for c in "ab" for i in range(6)),
    ]
    notes: list[str] = []
    group_names(listing, table(tmp_path, lines), notes)
    assert notes == ["every image has a group of its own in patients.csv: it groups nothing"]


def test_groups_that_differ_in_case_only_are_one_and_said(make_folder, tmp_path):
    listing = list_folder(make_folder({f"{s}/{c}": 6 for s in ("train", "test") for c in "aB"}))
    notes: list[str] = []
    lines = ["path,group", *(f"{i}.png,P{i}" for i in range(6)), "train/B/3.png,p3", "0.png,p0"]
    names = group_names(listing, table(tmp_path, lines), notes)
    assert names["train"] == names["test"] == tuple(f"P{i}" for i in range(6)) * 2
    assert notes == [
        "groups that differ in case only, read as one: 1 (for example 'P3', also 'p3' (1))"
    ]
    for path in (listing.root / "test/a").iterdir():
        path.rename(path.with_name(path.name.replace(".png", ".PNG")))
    listing, notes = list_folder(listing.root), []
    names = group_names(listing, r"\d\.[pnP]\w+", notes)
    assert set(names["test"]) == set(names["train"]) == {f"{i}.png" for i in range(6)}
    assert notes == [
        "groups that differ in case only, read as one: 6 (for example '0.png', also '0.PNG' (1))"
    ]


def test_a_source_s_own_groups_count_where_none_are_asked_for(listing, tmp_path):
    assert group_names(listing, "", []) is None
    root = listing.root
    lines = [
        "path,label,case",
        *(f"{root}/train/{c}/{i}.png,{c},C{i // 2}" for c in "ab" for i in range(6)),
    ]
    own = list_table(root / table(tmp_path, lines), DataConfig())
    assert group_names(own, "", [])["train"] == ("C0", "C0", "C1", "C1", "C2", "C2") * 2


def test_pictures_without_copies_are_noted(listing):
    notes: list[str] = []
    names = group_names(listing, "copies", notes)
    assert len(np.unique(names["train"] + names["test"])) == 24
    assert notes[0].startswith("no turned, mirrored or shifted copies were found")
    assert names["train"][0] == "photo-01"
