"""Documents that somebody else may have written: bounded in size and depth, or refused.

The parsers of the standard library recurse: without a bound a file of brackets ends in a RecursionError,
and what is nested less deeply in one of whoever walks it later.
"""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any, NoReturn

MOST_JSON = 512_000_000
MOST_DEPTH = 64
"""Our own records are nested ten deep."""


class DocumentError(ValueError):
    """A document that is not read: damaged, too large or nested too deeply."""


def read_regular(path: Path, most: int) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        DocumentError: a pipe, a device or a larger file. OSError: as ``Path.read_bytes``.
    """
    check_regular(path, most)
    with path.open("rb") as stream:  # for a folder the system has its own words
        data = stream.read(most + 1)
    if len(data) > most:
        raise DocumentError(f"it has more than {most:,} bytes")
    return data


def check_regular(path: Path, most: int) -> None:
    """What :func:`read_regular` refuses, before anything is read; a folder passes.

    Raises:
        DocumentError: a pipe, a device or a larger file. OSError: it is not there, or cannot be looked at.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise DocumentError("it is not a regular file")
    if found.st_size > most:
        raise DocumentError(f"it has {found.st_size:,} bytes; allowed: {most:,}")


def json_of(data: bytes | str) -> Any:
    """The value of a JSON text; numbers are finite, texts can be written as UTF-8.

    Raises:
        DocumentError: not JSON, not UTF-8, not finite, or nested deeper than MOST_DEPTH.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=_not_finite, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character has no bytes
    except RecursionError as error:
        raise DocumentError("it is nested too deeply") from error
    except ValueError as error:  # also of bytes that are no UTF-8, and of numbers of 5,000 digits
        raise DocumentError(str(error)) from error
    check_depth(value)
    return value


def _not_finite(name: str) -> NoReturn:
    raise DocumentError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise DocumentError(f"{text[:20]} is larger than any number")
    return number


def check_depth(value: Any) -> None:
    """DocumentError for a value nested deeper than MOST_DEPTH."""
    level, depth = [value], 0
    while level:
        if depth > MOST_DEPTH:
            raise DocumentError(f"it is nested more than {MOST_DEPTH} deep")
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(v for v in each.values() if isinstance(v, dict | list))
            elif isinstance(each, list):
                below.extend(v for v in each if isinstance(v, dict | list))
        level, depth = below, depth + 1
