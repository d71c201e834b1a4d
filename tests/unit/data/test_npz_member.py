from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data import SPLITS, describe, load_dataset, npz_member
from edgecell.data.npz_member import FileArray
from edgecell.errors import DataError


@pytest.fixture
def on_disk(monkeypatch, tmp_path):
    """Arrays of more than a few bytes count as large; the cache is the test's own."""
    monkeypatch.setattr(npz_member, "IN_MEMORY", 1000)
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(path, **settings):
    return load_dataset(DataConfig(str(path), **settings))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_from_disk_comes_what_comes_from_memory(
    arrays, tmp_path, on_disk, monkeypatch, save, channels
):
    for name in SPLITS:
        if channels != 3:
            arrays[f"{name}_images"] = arrays[f"{name}_images"][
                ..., 0 if channels is None else slice(1)
            ]
            arrays[f"{name}_images"] = np.ascontiguousarray(arrays[f"{name}_images"])
    del arrays["val_images"], arrays["val_labels"]  # its rows are a subset of train's
    save(tmp_path / "big.npz", **arrays)
    lazy = load(tmp_path / "big.npz")
    assert isinstance(lazy.train.source.source.images, FileArray)
    monkeypatch.setattr(npz_member, "IN_MEMORY", 10**9)
    held = load(tmp_path / "big.npz")
    assert isinstance(held.train.source.source.images, np.ndarray)
    assert lazy.fingerprint == held.fingerprint
    for name in SPLITS:
        one, other = lazy.split(name), held.split(name)
        np.testing.assert_array_equal(one.labels, other.labels)
        for i in range(len(one)):
            np.testing.assert_array_equal(one.source.read(i), other.source.read(i))
    assert describe(lazy).to_json()["pixels"] == describe(held).to_json()["pixels"]
    assert lazy.notes == held.notes


def test_duplicates_are_found_on_disk_too(arrays, tmp_path, on_disk):
    arrays["test_images"][3] = arrays["train_images"][7]
    np.savez(tmp_path / "big.npz", **arrays)
    assert "1 of test also in train" in " ".join(load(tmp_path / "big.npz").notes)


def test_a_stored_array_is_read_where_it_is_and_a_packed_one_unpacked_once(
    arrays, tmp_path, on_disk
):
    np.savez(tmp_path / "stored.npz", **arrays)
    load(tmp_path / "stored.npz")
    assert not on_disk.exists()
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    load(tmp_path / "packed.npz")
    files = {path: path.stat().st_mtime_ns for path in (on_disk / "npz").iterdir()}
    assert len(files) == 3
    assert all(path.name.startswith(("train_", "val_", "test_")) for path in files)
    load(tmp_path / "packed.npz")
    assert {path: path.stat().st_mtime_ns for path in (on_disk / "npz").iterdir()} == files
    victim = next(iter(files))
    victim.write_bytes(victim.read_bytes()[:-1])  # cut short: unpacked again
    load(tmp_path / "packed.npz")
    assert len({path.stat().st_size for path in files if path.name == victim.name}) == 1
    assert victim.stat().st_mtime_ns != files[victim]


def test_other_content_of_the_same_size_is_unpacked_beside_it(arrays, tmp_path, on_disk):
    np.savez_compressed(tmp_path / "one.npz", **arrays)
    first = load(tmp_path / "one.npz").train.source.read(0)
    arrays["train_images"] ^= 255
    np.savez_compressed(tmp_path / "one.npz", **arrays)
    np.testing.assert_array_equal(load(tmp_path / "one.npz").train.source.read(0), first ^ 255)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_byte_of_a_large_array_is_noticed(arrays, tmp_path, on_disk, save):
    path = tmp_path / "big.npz"
    save(path, **arrays)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("train_images.npy")
    spoilt = bytearray(path.read_bytes())
    spoilt[info.header_offset + info.compress_size // 2] ^= 0xFF
    path.write_bytes(spoilt)
    with pytest.raises(DataError, match=r"big\.npz (is a damaged|cannot be read)"):
        load(path)
    assert not list(on_disk.rglob("*.tmp")) and not list(on_disk.rglob("train_*"))


def test_no_room_to_unpack_is_said_with_the_way_out(arrays, tmp_path, on_disk, monkeypatch):
    np.savez_compressed(tmp_path / "big.npz", **arrays)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(npz_member.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"train_images takes 0.0 GB unpacked, .* EDGECELL_CACHE"):
        load(tmp_path / "big.npz")


def test_a_cache_that_cannot_be_written_is_said(arrays, tmp_path, on_disk, monkeypatch):
    np.savez_compressed(tmp_path / "big.npz", **arrays)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot unpack train_images to .*EDGECELL_CACHE") as caught:
        load(tmp_path / "big.npz")
    assert "\n" not in str(caught.value)


def test_columns_first_in_memory_and_wrong_types_are_still_told(arrays, tmp_path, on_disk):
    turned = {k: np.asfortranarray(v) for k, v in arrays.items()}
    np.savez(tmp_path / "fortran.npz", **turned)
    image = load(tmp_path / "fortran.npz").train.source.read(5)
    np.testing.assert_array_equal(image, arrays["train_images"][5])
    arrays["train_images"] = arrays["train_images"] / np.float32(255)
    np.savez(tmp_path / "float.npz", **arrays)
    with pytest.raises(DataError, match=r"dtype float32.*images \* 255\)\.round"):
        load(tmp_path / "float.npz")


def test_a_file_that_shrinks_while_it_is_read_is_told(arrays, tmp_path, on_disk):
    np.savez(tmp_path / "big.npz", **arrays)
    dataset = load(tmp_path / "big.npz")
    with (tmp_path / "big.npz").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(DataError, match="has become shorter"):
        dataset.train.source.read(3)


def test_rows_are_indexed_as_those_of_an_array(tmp_path):
    values = np.arange(5 * 3 * 2, dtype=np.uint16).reshape(5, 3, 2)
    (tmp_path / "x").write_bytes(b"head" + values.tobytes())
    array = FileArray(tmp_path / "x", 4, values.shape, values.dtype)
    assert (len(array), array.ndim, array.size) == (5, 3, 30)
    np.testing.assert_array_equal(np.stack(list(array)), values)
    np.testing.assert_array_equal(array[1:3], values[1:3])
    np.testing.assert_array_equal(array[:99], values)
    assert array[3:3].shape == (0, 3, 2)
    for wrong in (5, -1, slice(0, 4, 2)):
        with pytest.raises(IndexError):
            array[wrong]


MEASURE = """
import sys
from benchmarks.footprint_probe import peak_bytes  # of this program: ru_maxrss counts its parent
from edgecell.config import DataConfig
from edgecell.data import load_dataset, npz_member
npz_member.IN_MEMORY = int(sys.argv[2])
before = peak_bytes()
dataset = load_dataset(DataConfig(sys.argv[1]))
for i in range(len(dataset.train)):
    dataset.train.source.read(i)
print(peak_bytes() - before)
"""


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_file_does_not_come_into_memory(tmp_path, monkeypatch, save):
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    arrays = {}
    for name, count in (("train", 6000), ("val", 60), ("test", 60)):
        images = np.tile(tile, (count // 60, 1, 1, 1))
        images[:, 0, 0] = np.arange(count)[:, None] // [1, 256, 7]
        arrays |= {f"{name}_images": images, f"{name}_labels": np.arange(count) % 2}
    size = arrays["train_images"].nbytes
    assert size > 70_000_000
    save(tmp_path / "big.npz", **arrays)
    grown = {}
    for limit in (1_000_000, 10**9):
        command = [sys.executable, "-c", MEASURE, tmp_path / "big.npz", str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown[limit] = int(done.stdout)
    assert grown[1_000_000] < size / 3
    assert grown[10**9] > size  # the partner: all of it in memory
