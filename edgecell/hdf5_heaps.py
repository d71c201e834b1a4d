"""Whether HDF5 would walk without end through a heap of a file.

A global heap holds texts of variable length, one after the other, and last the free space as an object
with number 0, whose length says where the next begins. With a length of 0 the library's loop stands still.
Layout: HDF5 File Format Specification 3.0, III.E; lengths of 8 bytes, as all writers of today have them.
"""

from __future__ import annotations

import struct
from typing import Protocol

_SIGNATURE = b"GCOL"
_HEADER = 16
_OBJECT = struct.Struct("<HHIQ")
"""Number, references, reserved, length."""


class Bytes(Protocol):
    """What a file's content comes as: bytes, or a map of the file."""

    def find(self, sub: bytes, start: int = ..., /) -> int:
        """As of bytes."""
        ...

    def __getitem__(self, key: slice, /) -> bytes: ...

    def __len__(self) -> int: ...


def never_ends(data: Bytes) -> bool:
    """Whether one of the heaps in ``data`` stands still."""
    at = data.find(_SIGNATURE, 0)
    while at >= 0:
        if _stands_still(data, at):
            return True
        at = data.find(_SIGNATURE, at + len(_SIGNATURE))
    return False


def _stands_still(data: Bytes, start: int) -> bool:
    header = data[start : start + _HEADER]
    if len(header) < _HEADER or header[4] != 1:
        return False  # not such a heap: HDF5 says so itself
    end = min(start + int.from_bytes(header[8:], "little"), len(data))
    at = start + _HEADER
    while at + _OBJECT.size <= end:
        number, _, _, length = _OBJECT.unpack(data[at : at + _OBJECT.size])
        if number:
            at += _OBJECT.size + (length + 7) // 8 * 8
        elif length < _OBJECT.size:  # free space counts its own header
            return True
        else:
            at += length
    return False
