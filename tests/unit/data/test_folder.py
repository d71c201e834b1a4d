from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from edgecell.config import DataConfig
from edgecell.data import SPLITS, describe, load_dataset, materialize
from edgecell.data import sources as sources_module
from edgecell.errors import DataError
from edgecell.preprocess import PreprocessSpec


def load(path, **settings):
    return load_dataset(DataConfig(str(path), **settings))


def names(split):
    return [split.source.name(i) for i in range(len(split))]


def test_three_splits_in_any_case_and_spelling(make_folder):
    root = make_folder(
        {
            f"{s}/{c}": 4
            for s, cs in (("TRAIN", "ab"), ("Validation", "AB"), ("testing", "ab"))
            for c in cs
        }
    )
    dataset = load(root)
    assert dataset.class_names == ("a", "b")
    assert dataset.task == "binary-class"
    assert [len(dataset.split(s)) for s in SPLITS] == [8, 8, 8]
    assert dataset.val.labels.tolist() == [0] * 4 + [1] * 4
    assert names(dataset.val)[0] == "Validation/A/0.png"
    assert dataset.notes == ()
    with Image.open(root / "Validation/A/0.png") as image:
        np.testing.assert_array_equal(dataset.val.source.read(0), np.asarray(image))


def test_what_edgecell_wrote_into_the_folder_is_no_class(make_folder):
    root = make_folder(
        {
            "a": 5,
            "b": 5,
            "artifacts/runs/x/evaluate/model-val": 1,
            "artifacts/eda": 3,
            "x-int8-web/golden": 4,
            "b/run/train": 1,
            "b/of_others": 2,
        }
    )
    for place, verb in (
        ("artifacts/runs/x/evaluate/model-val/record", "evaluate"),
        ("artifacts/eda/eda", "eda"),
        ("x-int8-web/model", "bundle"),
        ("b/run/train/record", "train"),
    ):
        (root / f"{place}.json").write_text(f'{{\n  "schema": "edgecell/{verb}",\n  "more": 1}}')
    (root / "b/of_others/record.json").write_text('{"schema": "theirs/record"}')
    dataset = load(root)
    assert dataset.class_names == ("a", "b")
    assert sum(len(dataset.split(name)) for name in SPLITS) == 12
    ours = "artifacts/eda, artifacts/runs/x/evaluate/model-val, b/run/train, x-int8-web"
    assert f"folders ignored, written by edgecell: {ours}" in dataset.notes


def test_without_split_folders_all_three_are_made(make_folder):
    dataset = load(make_folder({"a": 20, "b": 10, "c": 3}), val_fraction=0.1, test_fraction=0.2)
    assert [np.bincount(dataset.split(s).labels).tolist() for s in SPLITS] == [
        [14, 7, 1],
        [2, 1, 1],
        [4, 2, 1],
    ]
    every = [name for s in SPLITS for name in names(dataset.split(s))]
    assert len(set(every)) == 33
    assert len(dataset.notes) == 2


def test_a_made_split_depends_on_the_seed_alone(make_folder):
    root = make_folder({"a": 20, "b": 20})
    assert names(load(root, seed=1).test) == names(load(root, seed=1).test)
    assert names(load(root, seed=1).test) != names(load(root, seed=2).test)


def test_copies_of_an_image_stay_on_one_side_of_a_made_split(make_folder):
    root = make_folder({"a": 10, "b": 10})
    for c in "ab":
        for i in range(10):
            for copy in range(3):
                shutil.copy(root / c / f"{i}.png", root / c / f"copy-{i}-{copy}.png")
    dataset = load(root, strict_splits=True)
    assert sum(len(dataset.split(s)) for s in SPLITS) == 80
    assert all(len(dataset.split(s)) % 4 == 0 for s in SPLITS)


def test_too_few_images_for_three_splits_names_the_classes_and_counts(make_folder):
    with pytest.raises(DataError, match=r"to make 3 splits: 'b' 2; each class needs at least 3"):
        load(make_folder({"a": 9, "b": 2}))


def test_classes_sort_naturally_and_images_may_lie_deeper(make_folder):
    dataset = load(make_folder({"stage10": 3, "stage2/left": 2, "stage2/right/x": 2, "Stage1": 3}))
    assert dataset.class_names == ("Stage1", "stage2", "stage10")
    assert sum((dataset.split(s).labels == 1).sum() for s in SPLITS) == 4


def test_what_is_passed_over_is_noted(make_folder):
    root = make_folder({"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2, "TEST_SIMPLE/a": 1})
    (root / "train/a/Thumbs.db").write_text("x")
    (root / "train/a/.hidden.png").write_text("x")
    (root / ".git").mkdir()
    shutil.copy(root / "train/a/0.png", root / "train/stray.png")
    (root / "train/empty").mkdir()
    notes = load(root).notes
    assert (
        notes[0]
        == "folders ignored, no split or class in them: TEST_SIMPLE, train/empty (no images)"
    )
    assert notes[1].startswith("files ignored, hidden or no image: 2 (for example train/a/")
    assert notes[2] == "images ignored, outside any class folder: 1 (for example stray.png)"
    assert notes[3].startswith("no val split was given")
    assert len(notes) == 4


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "has no class folders with images; wanted FOLDER"),
        ({"train/a": 0, "train/b": 0}, "has no class folders with images"),
        ({"train/a": 4, "test/a": 2}, r"one class only \('a'\)"),
        ({"a": 4}, r"one class only \('a'\)"),
        ({"test/a": 4, "test/b": 4}, "has test but no train folder"),
        (
            {"train/a": 4, "train/b": 4, "test/c": 4},
            r"test has the classes 'c', which train has not",
        ),
        ({"train/a": 4, "train/b": 4, "test": 4}, r"the test folder has no images"),
        ({"train/a": 4, "TRAIN/b": 4}, "two folders for train: TRAIN and train"),
        ({"valid/a": 4, "val/b": 4, "train/a": 1}, "two folders for val"),
        ({"train/a": 4, "train/A": 4}, "differ in case only"),
        ({"inner/train/a": 4, "inner/train/b": 4}, "did you mean .*inner?"),
        (
            {"data/b": 4, "data/a": 4},
            r"one class only \('data'\), .* the folders a, b; did you mean .*pictures/data\?$",
        ),
        ({"x/y/a": 4, "x/y/b/left": 4}, r"folders a, b; did you mean .*/x/y\?$"),
        ({"x/y/train/a": 4, "x/y/test/a": 4}, r"folders test, train; did you mean .*/x/y\?$"),
        ({"a/left": 4, "a": 4}, r"one class only \('a'\); a classifier needs at least 2$"),
    ],
)
def test_an_unsuitable_folder_is_refused_in_one_line(make_folder, tmp_path, counts, message):
    root = make_folder(counts)
    root.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message) as caught:
        load(root)
    assert "\n" not in str(caught.value)


PATIENTS = {f"patient{p}/{c}": 3 for p in range(4) for c in "ab"}
TAKEN = (
    "taken for classes: patient0, patient1, patient2, patient3; each of these 4 folders has the"
    " sub-folders a, b: if those are the classes, list the images in a CSV"
)


@pytest.mark.parametrize("above", ["", "train/"])
def test_the_same_folders_below_every_class_are_noted(make_folder, above):
    dataset = load(make_folder({above + name: count for name, count in PATIENTS.items()}))
    assert dataset.class_names == ("patient0", "patient1", "patient2", "patient3")
    [note] = [note for note in dataset.notes if note.startswith(TAKEN)]
    assert note.endswith("and give it to --data")


def test_splits_below_every_class_are_noted(make_folder):
    dataset = load(make_folder({f"{c}/{s}": 4 for c in "ab" for s in ("train", "Test")}))
    assert dataset.class_names == ("a", "b")
    assert any(
        "if those are the splits" in note and "label and split" in note for note in dataset.notes
    )


@pytest.mark.parametrize(
    "counts",
    [
        {"a": 6, "b": 6},
        {"a/left": 3, "a/right": 3, "b": 6},
        {"a/left": 3, "a/right": 3, "b/left": 6},
        {"a/images": 6, "b/images": 6},
        {"a/x": 3, "a/y": 3, "b/x": 3, "b/z": 3},
        {"a/deep/x": 3, "a/deep/y": 3, "b/deep/x": 3, "b/deep/y": 3},
    ],
)
def test_images_may_lie_deeper_without_a_note(make_folder, counts):
    assert not any("taken for classes" in note for note in load(make_folder(counts)).notes)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_corrupt_image_is_named_when_read_and_by_describe(make_folder, content):
    root = make_folder({"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2})
    (root / "train/b/3.png").write_bytes(content)
    dataset = load(root)
    (split, row) = next(
        (dataset.split(s), i)
        for s in SPLITS
        for i, name in enumerate(names(dataset.split(s)))
        if name == "train/b/3.png"
    )
    with pytest.raises(DataError, match=r"train/b/3\.png"):
        split.source.read(row)
    with pytest.raises(DataError, match=r"train/b/3\.png"):
        describe(dataset)
    (root / "test/a/0.png").write_bytes(content)
    with pytest.raises(DataError, match="2 images cannot be read; the first: .*png"):
        describe(dataset)


def test_a_broken_link_is_named(make_folder):
    root = make_folder({"a": 4, "b": 4})
    (root / "a/gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(DataError, match=r"cannot read .*a/gone\.png: No such file"):
        load(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_named(make_folder):
    root = make_folder({"a": 4, "b": 4})
    (root / "b").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot read"):
            load(root)
    finally:
        (root / "b").chmod(0o755)


def test_a_link_in_a_circle_ends(make_folder):
    root = make_folder({"a": 4, "b": 4})
    (root / "a/again").symlink_to(root / "a")
    assert sum(len(load(root).split(s)) for s in SPLITS) == 8


@pytest.mark.parametrize("link", ["back", "a/back", "a/deep/back"])
def test_a_link_back_up_brings_no_images_of_other_classes(make_folder, link):
    root = make_folder({"a": 4, "b": 4, "a/deep": 3})
    (root / link).symlink_to(root, target_is_directory=True)
    dataset = load(root)
    assert dataset.class_names == ("a", "b")
    assert sum((dataset.split(s).labels == 0).sum() for s in SPLITS) == 7
    assert dataset.notes[0].endswith(f"{link} (links back up)")


def test_links_to_folders_elsewhere_are_followed(make_folder):
    root = make_folder({"a": 4, "b": 4})
    elsewhere = make_folder({"more": 5}, name="elsewhere")
    (root / "b/linked").symlink_to(elsewhere / "more", target_is_directory=True)
    (root / "loop").symlink_to(root / "loop")
    dataset = load(root)
    assert sum((dataset.split(s).labels == 1).sum() for s in SPLITS) == 9


def test_images_of_many_sizes_live_in_one_folder(make_folder):
    root = make_folder({"a": 4, "b": 4})
    for i, size in enumerate([(2, 2), (3, 200), (300, 20)]):
        Image.new("RGB", size, (i, 50, 90)).save(root / f"b/odd{i}.jpg")
    dataset = load(root)
    shapes = {
        dataset.split(s).source.read(i).shape for s in SPLITS for i in range(len(dataset.split(s)))
    }
    assert shapes == {(9, 11, 3), (2, 2, 3), (200, 3, 3), (20, 300, 3)}
    pixels = materialize(dataset.train, PreprocessSpec(16, 16))
    assert pixels.shape == (len(dataset.train), 16, 16, 3)


def test_other_formats_and_modes_are_read_as_rgb(make_folder):
    root = make_folder({"a": 4, "b": 4})
    for i, (mode, suffix) in enumerate(
        [
            ("L", ".png"),
            ("RGBA", ".png"),
            ("P", ".gif"),
            ("CMYK", ".jpg"),
            ("1", ".bmp"),
            ("RGB", ".WEBP"),
        ]
    ):
        Image.new("RGB", (7, 5), (200, 10 * i, 30)).convert(mode).save(root / "a" / f"x{i}{suffix}")
    dataset = load(root)
    for s in SPLITS:
        split = dataset.split(s)
        for i in range(len(split)):
            image = split.source.read(i)
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert sum(len(dataset.split(s)) for s in SPLITS) == 14


def test_the_fingerprint_follows_names_and_content_but_not_the_place(make_folder, tmp_path):
    root = make_folder({"a": 4, "b": 4})
    shutil.copytree(root, tmp_path / "moved")
    first = load(root).fingerprint
    assert load(tmp_path / "moved").fingerprint == first
    (tmp_path / "moved/a/0.png").rename(tmp_path / "moved/a/renamed.png")
    assert load(tmp_path / "moved").fingerprint != first
    shutil.copy(root / "a/1.png", root / "a/0.png")
    assert load(root).fingerprint != first


def test_hashing_in_threads_gives_the_same_digests(make_folder, monkeypatch):
    root = make_folder({"a": 8, "b": 8})
    alone = load(root).fingerprint
    monkeypatch.setattr(sources_module, "THREADED_ABOVE", 1)
    monkeypatch.setattr(sources_module, "cpu_count", lambda: 3)
    assert load(root).fingerprint == alone


@pytest.mark.needs_shared
def test_bloodcells4_has_no_val_and_an_unknown_sibling(shared):
    dataset = load(shared / "data/bloodcells4", limit=40)
    assert dataset.class_names == ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
    assert dataset.notes[0] == "folders ignored, no split or class in them: TEST_SIMPLE"
    assert dataset.notes[1].startswith("no val split was given: 996 of 9957")
    assert dataset.test.source.name(0).startswith("TEST/")
    assert {dataset.val.source.name(i).split("/")[0] for i in range(40)} == {"TRAIN"}


@pytest.mark.needs_shared
def test_pbc128_matches_pbc28(shared):
    dataset = load(shared / "data/pbc128")
    assert [len(dataset.split(s)) for s in SPLITS] == [11959, 1712, 1712]
    assert dataset.class_names[3] == "immature_granulocyte"
    assert dataset.test.source.read(0).shape == (128, 128, 3)
