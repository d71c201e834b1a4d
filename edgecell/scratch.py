"""Room on disk for what is too large for the memory and costs time to make again."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import DataError

SPARE = 1.1
"""A scratch file is made only where the disk has this many times its size."""


def cache_folder() -> Path:
    """Where large files are kept: $EDGECELL_CACHE, else edgecell in the user's cache folder."""
    if chosen := os.environ.get("EDGECELL_CACHE"):
        return Path(chosen).expanduser()
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(above).expanduser() / "edgecell"


class ScratchRows:
    """``count`` rows of uint8 ``shape`` in a nameless file, each kept once and fetched many times.

    The file has no name and is gone with the process, however that ends. Rows are read and written
    with ``pread`` and ``pwrite``: the pages of a mapped file would count as memory of the process.
    Threads may use it together.
    """

    def __init__(self, count: int, shape: tuple[int, ...], folder: Path) -> None:
        self._shape = shape
        self._row = math.prod(shape)
        self._kept = np.zeros(count, bool)
        # It lives as long as this object does.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    @classmethod
    def where_there_is_room(cls, count: int, shape: tuple[int, ...]) -> ScratchRows | None:
        """A scratch file in the cache folder; None where that has no room or cannot be written."""
        folder = cache_folder() / "scratch"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(folder).free < SPARE * count * math.prod(shape):
                return None
            return cls(count, shape, folder)
        except OSError:
            return None

    def fetch(self, out: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Fill ``out`` (len(indices), *shape) with the rows that are kept; returns which those are."""
        kept: NDArray[np.bool_] = self._kept[indices]
        for place in np.flatnonzero(kept):
            data = os.pread(self._file.fileno(), self._row, int(indices[place]) * self._row)
            out[place] = np.frombuffer(data, np.uint8).reshape(self._shape)
        return kept

    def keep(self, rows: NDArray[np.uint8], indices: NDArray[np.int64]) -> None:
        """Write ``rows`` (len(indices), *shape) to their places.

        Raises:
            DataError: the disk is full.
        """
        try:
            for row, index in zip(rows, indices.tolist(), strict=True):
                data = memoryview(row.tobytes())
                done = 0
                while done < self._row:
                    done += os.pwrite(self._file.fileno(), data[done:], index * self._row + done)
                self._kept[index] = True
        except OSError as error:
            raise DataError(
                f"cannot keep resized images in {cache_folder()}: {error.strerror}; make room, or name"
                " another folder in the environment variable EDGECELL_CACHE"
            ) from error
