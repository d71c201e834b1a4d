from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgecell import scratch as scratch_module
from edgecell.errors import DataError
from edgecell.scratch import ScratchRows, cache_folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_rows_come_back_and_the_others_are_missing():
    rows = ScratchRows.where_there_is_room(10, (4, 5))
    values = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    rows.keep(values, np.array([7, 0, 9]))
    out = np.full((4, 4, 5), 99, np.uint8)
    assert rows.fetch(out, np.array([9, 1, 7, 0])).tolist() == [True, False, True, True]
    np.testing.assert_array_equal(out[[0, 2, 3]], values[[2, 0, 1]])
    assert set(out[1].flat) == {99}


def test_threads_may_keep_and_fetch_together():
    rows = ScratchRows.where_there_is_room(400, (50,))

    def work(part: int) -> bool:
        indices = np.arange(part, 400, 8)
        rows.keep(np.repeat(indices.astype(np.uint8)[:, None], 50, 1), indices)
        out = np.empty((len(indices), 50), np.uint8)
        return bool(rows.fetch(out, indices).all() and (out == (indices % 256)[:, None]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_the_file_has_no_name(own_cache):
    rows = ScratchRows.where_there_is_room(10, (4,))
    rows.keep(np.ones((1, 4), np.uint8), np.array([3]))
    assert list((own_cache / "scratch").iterdir()) == []


def test_no_room_and_no_folder_make_none(monkeypatch, tmp_path):
    assert ScratchRows.where_there_is_room(10**9, (10**9,)) is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "file"))
    assert ScratchRows.where_there_is_room(10, (4,)) is None


def test_a_disk_that_fills_up_is_told(monkeypatch):
    rows = ScratchRows.where_there_is_room(10, (4,))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch_module.os, "pwrite", full)
    with pytest.raises(
        DataError, match="cannot keep resized images .*No space left.*EDGECELL_CACHE"
    ):
        rows.keep(np.ones((1, 4), np.uint8), np.array([3]))
    assert not rows.fetch(np.empty((1, 4), np.uint8), np.array([3])).any()


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("EDGECELL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/edgecell")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/edgecell"
    monkeypatch.setenv("EDGECELL_CACHE", "~/c")
    assert cache_folder() == Path.home() / "c"
