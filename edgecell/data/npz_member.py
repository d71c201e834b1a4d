"""Arrays of an .npz that are too large for the memory, read image by image from disk.

A member that is stored as it is is read in place, inside the .npz; a compressed one is unpacked
once into a cache folder. Images are read with ``pread``, not mapped: mapped pages would count as
memory of the process.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import DataError
from edgecell.scratch import cache_folder

IN_MEMORY = 256_000_000
"""Bytes up to which an array is read into memory as a whole."""
MOST_WHOLE = 2_000_000_000
"""Bytes up to which an array is read as a whole that cannot be read image by image."""
BOMB = 64_000_000
MOST_RATIO = 100
"""An array beyond BOMB bytes that unpacks to more than so many times its packed bytes is refused."""
_PIECE = 1 << 22
_LOCAL_HEADER = struct.Struct("<26xHH")
"""The lengths of the name and of the extra field, at the end of a zip member's own header."""


class FileArray:
    """An array in C order that starts at ``offset`` of a file; indexed by its first axis."""

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.path, self.offset, self.shape, self.dtype = path, offset, shape, dtype
        self._row = math.prod(shape[1:]) * dtype.itemsize
        self._file = path.open("rb", buffering=0)  # closed with this object

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice) -> NDArray[Any]:
        """One row, or a slice of rows in steps of 1, as an array in memory.

        Raises:
            DataError: the file has become shorter or cannot be read.
        """
        rows = slice(index, index + 1) if not isinstance(index, slice) else index
        if not isinstance(index, slice) and not 0 <= index < len(self):
            raise IndexError(index)
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError(f"rows are read in steps of 1, not {step}")
        count = max(0, stop - start)
        data = self._read(self.offset + start * self._row, count * self._row)
        array = np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
        return array if isinstance(index, slice) else array[0]

    def _read(self, at: int, length: int) -> bytes:
        pieces = []
        try:
            while length > 0:
                piece = os.pread(self._file.fileno(), length, at)
                if not piece:
                    raise DataError(
                        f"{self.path} has become shorter while it was read; copy it again"
                    )
                pieces.append(piece)
                at, length = at + len(piece), length - len(piece)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror}") from error
        return b"".join(pieces)


def read_member(path: Path, archive: np.lib.npyio.NpzFile, key: str) -> NDArray[Any] | FileArray:
    """The array ``key`` of the open ``archive`` at ``path``: in memory, or a FileArray if it is large.

    Either way its checksum is checked.

    Raises:
        DataError: no space to unpack it, or it unpacks to more than it can hold.
        zipfile.BadZipFile, ValueError, OSError: as ``np.load``.
    """
    members = archive.zip
    assert members is not None, "the archive is open"
    names = members.namelist()  # np.savez appends .npy, other writers may not
    info = members.getinfo(f"{key}.npy" if f"{key}.npy" in names else key)
    if info.file_size > BOMB and info.file_size > MOST_RATIO * info.compress_size:
        raise DataError(
            f"{path}: {key} has {info.compress_size:,} bytes and unpacks to {info.file_size:,}; allowed:"
            f" {MOST_RATIO} times as many; images never pack so well, so this is no data set"
        )
    with members.open(info) as stream:
        shape, fortran_order, dtype = _header(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if any(length < 0 for length in shape) or (dtype.itemsize == 0 and math.prod(shape) > 0):
        raise ValueError(
            f"{key} has the shape {shape} of {dtype}"
        )  # as many as one likes in no bytes
    # Before anything is allocated: NumPy makes room for what a header says, whatever is behind it.
    if start + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"{key} has {info.file_size} bytes, its header says {shape} of {dtype}")
    if info.file_size <= IN_MEMORY:
        return _whole(members, info)
    if fortran_order or len(shape) < 2:
        if info.file_size > MOST_WHOLE:
            raise DataError(
                f"{path}: {key} has {info.file_size:,} bytes in one piece; allowed: {MOST_WHOLE:,}; save"
                " numpy.ascontiguousarray of it, which is read image by image"
            )
        return _whole(members, info)
    if info.compress_type == zipfile.ZIP_STORED:
        with members.open(info) as stream:
            while stream.read(_PIECE):
                pass  # to the end, where zipfile compares the checksum
        with path.open("rb") as plain:
            plain.seek(info.header_offset)
            lengths = _LOCAL_HEADER.unpack(plain.read(_LOCAL_HEADER.size))
        inside = info.header_offset + _LOCAL_HEADER.size + sum(lengths)
        return FileArray(path, inside + start, shape, dtype)
    return FileArray(_unpacked(members, info, key), start, shape, dtype)


def _whole(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"its array format {version} is not known")


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str) -> Path:
    """The member as a file in the cache, named by its checksum and size; written there only once."""
    target = cache_folder() / "npz" / f"{key}-{info.CRC:08x}-{info.file_size}.npy"
    if target.is_file() and target.stat().st_size == info.file_size:
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    advice = "make room, or name another folder in the environment variable EDGECELL_CACHE"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < info.file_size:
            raise DataError(
                f"{key} takes {info.file_size / 1e9:.1f} GB unpacked, {target.parent} has"
                f" {free / 1e9:.1f} GB; {advice}"
            )
        with archive.open(info) as packed, temporary.open("xb") as plain:
            shutil.copyfileobj(packed, plain, _PIECE)
        temporary.replace(target)
    except OSError as error:
        raise DataError(
            f"cannot unpack {key} to {target.parent}: {error.strerror or error}; {advice}"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return target
