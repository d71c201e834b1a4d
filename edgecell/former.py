"""The former content of a file, kept until the record that vouches for the new one is there.

A stage that is done again replaces its files one by one and its record last. Killed in between, it would
leave files that the old record does not know. So the old content stays beside each file as
``.NAME.former``, another name for the same bytes, and comes back to its place when the run is next
looked at. Whoever replaces files holds a lock on what it keeps, which the system releases when it dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from edgecell.documents import MOST_JSON, DocumentError, json_of, read_regular

SUFFIX = ".former"
RECORD = "record.json"

_HELD: dict[Path, int] = {}
"""What this process keeps: the path and the open file that carries the lock."""


def keep(path: Path) -> None:
    """Keep the content of ``path``, which is about to be replaced or removed, if a record is beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    kept = path.absolute().with_name(f".{path.name}{SUFFIX}")
    if path.name == RECORD or not (path.parent / RECORD).is_file():
        return
    if kept in _HELD:
        if kept.exists():
            return
        os.close(_HELD.pop(kept))  # the folder was removed meanwhile
    _settle(kept)
    if not path.is_file():
        return
    opened = None
    while opened is None:  # who opens the run right now may take it for what a dead process left
        try:
            os.link(path, kept)
        except FileExistsError:
            return  # another process is at the same stage
        except OSError:  # a file system without a second name for a file
            shutil.copy2(path, kept)
        opened = _hold(kept)
    _HELD[kept] = opened


def _hold(kept: Path) -> int | None:
    """``kept`` opened and locked; None where somebody removed it before it was."""
    try:
        opened = os.open(kept, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(opened, fcntl.LOCK_SH)
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(opened), kept.stat()):
            return opened
    os.close(opened)
    return None


def is_being_replaced(path: Path) -> bool:
    """Whether a process that lives has replaced ``path`` and not yet written the record of the new one."""
    return is_held(path.absolute().with_name(f".{path.name}{SUFFIX}"))


def is_held(path: Path) -> bool:
    """Whether a process that lives has a lock on the file ``path``."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def drop(folder: Path) -> None:
    """Keep nothing of ``folder`` any longer: its new record is there.

    Raises:
        OSError: the folder cannot be written.
    """
    for kept in [kept for kept in _HELD if kept.parent == folder.absolute()]:
        kept.unlink(missing_ok=True)
        os.close(_HELD.pop(kept))


def put_back(top: Path) -> None:
    """In ``top`` and below, undo what processes that have died had replaced before their record was there.

    Where the folder cannot be written it stays as it is.
    """
    for folder, _, files in os.walk(top):
        for name in files:
            if name.startswith(".") and name.endswith(SUFFIX):
                _settle(Path(folder) / name)


def _settle(kept: Path) -> None:
    """Put a kept file back, or remove it where the record knows the new one."""
    vouched = _vouched(kept.parent) if _is_regular(kept) else None
    if vouched is None:
        return
    path = kept.with_name(kept.name[1 : -len(SUFFIX)])
    recorded = vouched.get(path.name)
    with suppress(OSError), kept.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = _sha256(path) if _is_regular(path) else None
        if there != recorded == _sha256(kept):
            kept.replace(path)
        else:
            kept.unlink()


def _is_regular(path: Path) -> bool:
    """Whether it is a file of its own: no link to elsewhere, and nothing that waits when it is read."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _vouched(folder: Path) -> dict[str, str] | None:
    """File name → sha256 by the record of a folder; None where it cannot be read."""
    try:
        outputs = json_of(read_regular(folder / RECORD, MOST_JSON))["outputs"]
        names = [(PurePosixPath(name), digest) for name, digest in outputs.items()]
    except (OSError, DocumentError, KeyError, TypeError, AttributeError):
        return None
    parts = folder.absolute().parts
    return {
        name.name: digest
        for name, digest in names
        if name.parent.parts == parts[len(parts) - len(name.parent.parts) :]
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
