"""Mutations of bytes and of JSON-like trees; the same for the same random state."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

INTERESTING = (
    *(0, 1, 2, 3, 4, 7, 8, 16, 64, 100, 127, 128, 255, 256, 1000, 1024, 4096, 32767, 32768),
    *(65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1),
    *(-1, -2, -4, -128, -(2**31), -(2**63)),
)
"""Lengths, offsets and numbers at the edges of types."""

TEXTS = (
    *("", " ", "\0", "\n", "../../etc/passwd", "/dev/zero", "/dev/stdin", "nan", "-1", "1e999"),
    *("=1+1", "\x1b[2J", "٣", "ß", "\u202e", "a" * 5000, "9" * 5000, "é" * 300, "%s%n", "None"),
)


def integer(rand: random.Random, near: int = 0) -> int:
    """A number at an edge, or next to ``near``."""
    return rand.choice((*INTERESTING, near - 1, near + 1, near * 2, rand.randrange(2**32)))


def mutated(
    rand: random.Random, data: bytes, others: Sequence[bytes] = (), words: Sequence[bytes] = ()
) -> bytes:
    """``data`` after one to four changes; ``others`` are spliced in, ``words`` are a dictionary."""
    changed = bytearray(data)
    for _ in range(rand.choice((1, 1, 1, 2, 3, 4))):
        rand.choice(_BYTES)(rand, changed, others, words)
    return bytes(changed)


def _place(rand: random.Random, data: bytearray) -> int:
    # Headers are short and matter most: half of all changes are among the first bytes.
    top = len(data) if rand.random() < 0.5 else min(len(data), 256)
    return rand.randrange(top) if top else 0


def _flip(rand: random.Random, data: bytearray, *_: Any) -> None:
    for _i in range(rand.choice((1, 1, 2, 8))):
        if data:
            data[_place(rand, data)] ^= 1 << rand.randrange(8)


def _byte(rand: random.Random, data: bytearray, *_: Any) -> None:
    if data:
        data[_place(rand, data)] = rand.choice((0, 1, 0x7F, 0x80, 0xFF, rand.randrange(256)))


def _number(rand: random.Random, data: bytearray, *_: Any) -> None:
    """A field of 1, 2, 4 or 8 bytes, aligned, in either order of bytes."""
    size = rand.choice((1, 2, 4, 4, 4, 8))
    at = _place(rand, data) // size * size
    order = rand.choice(("little", "little", "big"))
    old = int.from_bytes(data[at : at + size], order)
    new = integer(rand, rand.choice((old, len(data), len(data) - at))) % 256**size
    data[at : at + size] = new.to_bytes(size, order)


def _truncate(rand: random.Random, data: bytearray, *_: Any) -> None:
    del data[rand.randrange(len(data) + 1) :]


def _delete(rand: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(rand, data)
    del data[at : at + rand.choice((1, 4, 16, 256))]


def _repeat(rand: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(rand, data)
    piece = bytes(data[at : at + rand.choice((1, 4, 16, 256))])
    data[at:at] = piece * rand.choice((1, 2, 50))


def _insert(rand: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(rand, data)
    data[at:at] = rand.randbytes(rand.choice((1, 2, 4, 32)))


def _zero(rand: random.Random, data: bytearray, *_: Any) -> None:
    at, size = _place(rand, data), rand.choice((4, 16, 256))
    data[at : at + size] = bytes([rand.choice((0, 0xFF))]) * len(data[at : at + size])


def _splice(rand: random.Random, data: bytearray, others: Sequence[bytes], *_: Any) -> None:
    other = rand.choice(others) if others else bytes(data)
    if other:
        start, size = rand.randrange(len(other)), rand.choice((8, 64, 1024, len(other)))
        at = _place(rand, data)
        data[at : at + rand.choice((0, size))] = other[start : start + size]


def _word(rand: random.Random, data: bytearray, _others: Any, words: Sequence[bytes]) -> None:
    word = rand.choice(words) if words else rand.choice(TEXTS).encode()
    at = _place(rand, data)
    data[at : at + rand.choice((0, len(word)))] = word


_BYTES: tuple[Callable[..., None], ...] = (
    *(_flip, _byte, _number, _number, _number, _truncate, _delete, _repeat, _insert, _zero),
    *(_splice, _word),
)


# ------------------------------------------------------------------------------------- trees

Path = tuple[Any, ...]


def tree(rand: random.Random, value: Any, words: Sequence[Any] = ()) -> Any:
    """A copy of a JSON-like ``value`` with one to three of its parts changed."""
    changed = copy.deepcopy(value)
    for _ in range(rand.choice((1, 1, 2, 3))):
        changed = _one_part(rand, changed, words)
    return changed


def _one_part(rand: random.Random, value: Any, words: Sequence[Any]) -> Any:
    paths = [path for path in _paths(value) if path]
    if not paths:
        return scalar(rand, value, words)
    path = rand.choice(paths)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    key, what = path[-1], rand.random()
    if what < 0.15:
        del holder[key]
    elif what < 0.25 and isinstance(holder, list):
        holder.extend([holder[key]] * rand.choice((1, 3, 100)))
    elif what < 0.25:
        holder[rand.choice(("", "x", "class_name", "a" * 300, f"{key}_"))] = holder[key]
    elif what < 0.35:
        other = value
        for step in rand.choice(paths):
            other = other[step]
        holder[key] = copy.deepcopy(other)
    elif what < 0.40:
        for _ in range(rand.choice((1, 30, 100, 3000))):
            holder[key] = [holder[key]] if rand.random() < 0.5 else {"config": holder[key]}
    else:
        holder[key] = scalar(rand, holder[key], words)
    return value


def scalar(rand: random.Random, old: Any, words: Sequence[Any] = ()) -> Any:
    """Another value in the place of ``old``: next to it, of another type, or from the dictionary."""
    near = old if isinstance(old, int) and not isinstance(old, bool) else 0
    kinds: list[Callable[[], Any]] = [
        lambda: integer(rand, near),
        lambda: rand.choice((0.0, -1.5, 1e308, 1e-308, float(near))),
        lambda: rand.choice(TEXTS),
        lambda: rand.choice((True, False)),
        lambda: None,
        lambda: rand.choice(([], {}, [None], {"": None}, [[]], [0] * 1000)),
    ]
    if words:
        kinds += [lambda: rand.choice(words)] * 3
    return rand.choice(kinds)()


def _paths(value: Any, at: Path = (), most: int = 4000) -> list[Path]:
    """The places in a tree, breadth first, no more than ``most``."""
    found: list[Path] = [at]
    level = [(at, value)]
    while level and len(found) < most:
        below = []
        for path, each in level:
            entries = (
                each.items()
                if isinstance(each, dict)
                else enumerate(each)
                if isinstance(each, list)
                else ()
            )
            for key, inner in entries:
                below.append(((*path, key), inner))
        found += [path for path, _ in below]
        level = below
    return found[:most]
