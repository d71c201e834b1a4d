"""Files that are whole or not there, and their hashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edgecell import former
from edgecell.documents import MOST_JSON, DocumentError, json_of, read_regular
from edgecell.errors import ArtifactError

ELSEWHERE = "choose another folder with --output"
TEMPORARY = ".tmp"
"""How the name of a file or folder ends that is still being written; it begins with a dot."""


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, or of a folder's relative names and contents (a SavedModel).

    Raises:
        ArtifactError: the path does not exist, cannot be read, or is a pipe or a device.
    """
    try:
        if path.is_dir():
            digest = hashlib.sha256()
            for child in sorted(p for p in path.rglob("*") if p.is_file()):
                digest.update(
                    f"{child.relative_to(path).as_posix()}\0{sha256_file(child)}\n".encode()
                )
            return digest.hexdigest()
        if path.exists() and not path.is_file():
            raise ArtifactError(f"cannot read {path}: it is not a regular file")
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def atomic_writer(path: Path, advice: str = ELSEWHERE) -> Iterator[IO[bytes]]:
    """A stream whose content becomes ``path`` as a whole at the end, if all goes well.

    ``advice`` is what to do where it cannot be written.

    Raises:
        ArtifactError: the folder cannot be made or written, the disk is full, or ``path`` is a folder,
            a pipe or a device.
    """
    # Not mkstemp: its files are private to the user, those of open() follow the umask.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_special(path, advice)
        try:
            with temporary.open("xb") as stream:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(stream, fcntl.LOCK_SH)  # see remove_leftovers
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            former.keep(path)
            temporary.replace(path)
        finally:  # an interrupt must not leave half a file either
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:  # of the reader of what is printed meanwhile; no file gives it
        raise
    except OSError as error:
        raise cannot_write(path, error, advice) from error


def _refuse_special(path: Path, advice: str) -> None:
    """A folder could not be replaced at the end of all work; a pipe or a device could."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise ArtifactError(f"cannot write {path}: it is {what}; {advice}")


def cannot_write(path: Path, error: OSError, advice: str = ELSEWHERE) -> ArtifactError:
    """What to tell the user where the system does not let us write, and what to do."""
    return ArtifactError(f"cannot write {path}: {error.strerror or error}; {advice}")


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` is either the old file or the whole new one.

    Raises:
        ArtifactError: as :func:`atomic_writer`.
    """
    with atomic_writer(path) as stream:
        stream.write(data)


def atomic_write_text(path: Path, text: str) -> None:
    """:func:`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: Path, data: Any) -> None:
    """:func:`atomic_write_bytes` for JSON; NaN and infinity are refused (ValueError)."""
    atomic_write_text(path, json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        ArtifactError: missing, unreadable or not JSON.
    """
    try:
        return json_of(read_regular(path, MOST_JSON))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist") from error
    except (OSError, DocumentError) as error:
        raise ArtifactError(f"{path} is not a readable JSON file: {error}") from error
