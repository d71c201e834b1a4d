"""TOML that somebody else may have written: bounded in size and depth, or refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from edgecell.documents import MOST_DEPTH, DocumentError, check_depth, read_regular

MOST_TOML = 256_000
"""A recipe has some kilobytes."""
# For a dotted key tomllib takes time with the square of its parts.
_ENDS_A_KEY = set(",=[]{}\n")


def toml_text(path: Path) -> str:
    """The text of a TOML file, without the byte order mark that editors on Windows put first.

    Raises:
        DocumentError: no regular file, too large, or not UTF-8. OSError: as ``Path.read_bytes``.
    """
    try:
        return read_regular(path, MOST_TOML).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(str(error)) from error


def toml_of(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        DocumentError: not TOML, longer than MOST_TOML, or nested deeper than MOST_DEPTH.
    """
    if len(text) > MOST_TOML:
        raise DocumentError(f"it has {len(text):,} characters; allowed: {MOST_TOML:,}")
    if _longest_dotted(text) > MOST_DEPTH:
        raise DocumentError(f"it has a key of more than {MOST_DEPTH} parts")
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise DocumentError("it is nested too deeply") from error
    except ValueError as error:
        raise DocumentError(str(error)) from error
    check_depth(found)
    return found


def _longest_dotted(text: str) -> int:
    """Parts of the longest dotted key, or of what looks like one."""
    longest = run = 0
    for piece in text.split("."):
        run = run + 1 if piece and not _ENDS_A_KEY & set(piece) else 0
        longest = max(longest, run)
    return longest
