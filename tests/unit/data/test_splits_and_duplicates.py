from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecell.config import DataConfig
from edgecell.data import SPLITS, describe, load_dataset, sample_grid, save_grid
from edgecell.data.duplicates import find_duplicates
from edgecell.data.sources import ArraySource, digests, subset
from edgecell.data.splits import limit_indices, make_splits
from edgecell.data.types import Split, materialize
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.preprocess import PreprocessSpec

FRACTIONS = {"val": 0.1, "test": 0.2}


def distinct(count):
    images = np.zeros((count, 2, 2), np.uint8)
    images[:, 0] = np.array([divmod(i, 256) for i in range(count)])
    return ArraySource(images, "train")


@settings(max_examples=60)
@given(counts=st.lists(st.integers(3, 60), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_made_splits_share_out_every_image_once_and_every_class_everywhere(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    names = tuple("abcdef"[: len(counts)])
    made = make_splits(distinct(len(labels)), labels, names, FRACTIONS, seed)
    rows = np.concatenate([made[s].source.indices for s in SPLITS])
    assert sorted(rows.tolist()) == list(range(len(labels)))
    for name in SPLITS:
        np.testing.assert_array_equal(made[name].labels, labels[made[name].source.indices])
        got = np.bincount(made[name].labels, minlength=len(counts))
        assert (got >= 1).all()
        if name in FRACTIONS:
            wanted = np.maximum(1, np.round(FRACTIONS[name] * np.array(counts)))
            assert (got == wanted).all()


def test_fractions_that_leave_no_train_are_refused():
    with pytest.raises(ConfigError, match=r"val 0.6 \+ test 0.5 = 1.1 leave too little"):
        make_splits(distinct(9), np.arange(9) % 2, ("a", "b"), {"val": 0.6, "test": 0.5}, 0)


@settings(max_examples=60)
@given(counts=st.lists(st.integers(1, 80), min_size=2, max_size=6), limit=st.integers(6, 120))
def test_a_limit_keeps_exactly_that_many_and_every_class(counts, limit):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = limit_indices(labels, limit, 0, "val")
    assert len(rows) == len(set(rows.tolist())) == min(limit, len(labels))
    assert set(labels[rows].tolist()) == set(range(len(counts)))
    assert (np.diff(rows) > 0).all()


def test_limited_splits_take_different_rows():
    labels = np.zeros(1000, int)
    one, other = limit_indices(labels, 50, 0, "val"), limit_indices(labels, 50, 0, "test")
    assert one.tolist() != other.tolist()


def test_a_subset_of_a_subset_reads_the_first_source():
    source = distinct(10)
    inner = subset(subset(source, np.array([9, 7, 5])), np.array([2, 0]))
    assert inner.source is source
    assert [inner.name(0), inner.name(1)] == ["train[5]", "train[9]"]
    assert digests(inner) == [digests(source)[5], digests(source)[9]]


def test_a_source_without_digests_is_hashed_by_its_pixels():
    class Foreign:
        def __len__(self):
            return 3

        def read(self, index):
            return np.full((2, 2, 3), index // 2, np.uint8)

        def name(self, index):
            return str(index)

    first, second, third = digests(Foreign())
    assert first == second != third


@pytest.fixture
def spoilt(arrays):
    """One copy within train; train → val, train → test twice, val → test; one label conflict."""
    train, val, test = (arrays[f"{s}_images"] for s in SPLITS)
    train[10] = train[1]  # labels 1 and 1
    val[3] = train[0]  # labels 0 and 0
    test[6] = train[0]  # 0 and 0: now in all three
    test[7] = train[5]  # labels 1 and 2: conflict
    return arrays


def test_duplicates_are_counted_per_pair_with_examples(spoilt, write_npz):
    found = find_duplicates(load_dataset(DataConfig(write_npz(spoilt))))
    assert found.within == {"train": 1, "val": 0, "test": 0}
    assert found.across == {"train/val": 1, "train/test": 2, "val/test": 1}
    assert found.conflicts == 1
    assert found.within_examples == (("train[1]", "train[10]"),)
    assert found.across_examples == (
        ("train[0]", "val[3]"),
        ("train[0]", "test[6]"),
        ("train[5]", "test[7]"),
        ("val[3]", "test[6]"),
    )
    assert found.conflict_examples == (("train[5]", "test[7]"),)
    json.dumps(found.to_json())


def test_duplicates_become_notes_or_an_error_under_strict_splits(spoilt, write_npz):
    path = write_npz(spoilt)
    across, conflict = load_dataset(DataConfig(path)).notes
    assert across.startswith(
        "exact duplicates across splits: 1 of val also in train, 2 of test also in train, 1 of test also in val"
    )
    assert conflict.startswith("equal images with different labels: 1 ")
    with pytest.raises(
        DataError, match="exact duplicates across splits: 1 of val .*--strict-splits"
    ):
        load_dataset(DataConfig(path, strict_splits=True))


def test_strict_splits_pass_without_duplicates_across(arrays, write_npz):
    arrays["train_images"][10] = arrays["train_images"][1]
    assert load_dataset(DataConfig(write_npz(arrays), strict_splits=True)).notes == ()


def test_describe_agrees_with_numpy(arrays, write_npz):
    summary = describe(load_dataset(DataConfig(write_npz(arrays))), sample=1000)
    train = arrays["train_images"].reshape(-1, 3)
    stats = summary.pixels["train"]
    assert summary.counts == {"train": (20, 20, 20), "val": (4, 4, 4), "test": (5, 5, 5)}
    assert summary.imbalance == 1.0
    assert (stats.sampled, stats.total) == (60, 60)
    np.testing.assert_allclose(stats.mean, train.mean(axis=0), atol=0.006)
    np.testing.assert_allclose(stats.sd, train.std(axis=0), atol=0.006)
    assert (stats.low, stats.high) == (train.min(), train.max())
    assert summary.sizes["test"].heights == (12, 12)
    assert summary.sizes["test"].widths == (10, 10)
    assert json.loads(json.dumps(summary.to_json()))["pixels"]["val"]["total"] == 12


def test_describe_says_how_many_it_sampled_and_reports_progress(make_folder):
    dataset = load_dataset(DataConfig(str(make_folder({"a": 40, "b": 10}))))
    seen: list[int] = []
    summary = describe(dataset, sample=7, progress=seen.append)
    assert summary.pixels["train"].sampled == 7
    assert summary.sizes["train"].checked == summary.pixels["train"].total == 35
    assert seen[-1] == 50
    assert summary.imbalance == 4.0


def test_a_split_that_is_nearly_black_is_said(arrays, write_npz):
    arrays["val_images"] //= 16
    notes = describe(load_dataset(DataConfig(write_npz(arrays)))).notes
    assert len(notes) == 1
    assert notes[0].startswith("val is nearly black: its brightest pixel is 15 of 255 (12-bit")


def test_the_origin_rebuilds_the_config(make_folder):
    config = DataConfig(str(make_folder({"a": 9, "b": 9})), seed=3, val_fraction=0.2, limit=5)
    origin = json.loads(json.dumps(load_dataset(config).origin))
    assert set(origin) > {"kind", "fingerprint"}
    rebuilt = DataConfig(**{k: v for k, v in origin.items() if k not in ("kind", "fingerprint")})
    assert rebuilt == config


def test_the_grid_has_a_row_per_class(make_folder, tmp_path):
    dataset = load_dataset(DataConfig(str(make_folder({"a": 9, "a long name": 9, "c": 4}))))
    sheet = sample_grid(dataset, per_class=5)
    wider = sample_grid(dataset, per_class=6)
    assert wider.height == sheet.height
    step = wider.width - sheet.width
    assert sheet.height // step == 3
    assert np.array_equal(np.asarray(sheet), np.asarray(sample_grid(dataset, per_class=5)))
    save_grid(sheet, tmp_path / "out" / "grid.png")
    assert (tmp_path / "out" / "grid.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"):
        save_grid(sheet, tmp_path / "file" / "grid.png")


def test_names_beyond_ascii_can_be_told_apart_in_the_grid(make_folder):
    """A font without these letters draws the same box for each of them."""
    counts = {"é": 9, "ö": 9, "я": 9, "λ": 9, "ש": 9}
    dataset = load_dataset(DataConfig(str(make_folder(counts))))
    sheet = np.asarray(sample_grid(dataset, per_class=1).convert("L"))
    step = (len(sheet) - 4) // len(counts)
    names = sheet[4:, : -step - 4].reshape(len(counts), step, -1)
    assert len({name.tobytes() for name in names}) == len(counts)


def test_an_image_that_cannot_be_resized_is_named():
    class Lines:
        def __len__(self) -> int:
            return 2

        def read(self, index: int) -> np.ndarray:
            return np.zeros((2_000_000, 2, 3) if index else (9, 9, 3), np.uint8)

        def name(self, index: int) -> str:
            return f"lines/{index}.png"

    split = Split("train", Lines(), np.array([0, 1]))
    with pytest.raises(DataError, match=r"^lines/1\.png cannot be resized: 2×2000000 pixels"):
        materialize(split, PreprocessSpec(96, 96))
