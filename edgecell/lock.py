"""One writer to a stage: a lock that the system takes from a process when it dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from edgecell.disk import cannot_write
from edgecell.errors import BusyError
from edgecell.rundir import utc_now

_PAUSE = 0.05  # seconds between two tries


@contextmanager
def claimed(folder: Path, verb: str, patience: float = 0.0) -> Iterator[None]:
    """Be the only process that writes stage ``verb`` of the run at ``folder`` while the block runs.

    One that is at it already is waited for, ``patience`` seconds at most. Held is
    ``.VERB.lock`` with flock. Its text only says who holds it: a file without a living holder
    keeps nobody out. It is removed at the end.

    Raises:
        BusyError: another process is still at that stage. ArtifactError: the folder cannot be written.
    """
    path = _path(folder, verb)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = _hold(path, patience)
    except BlockingIOError as error:
        raise BusyError(
            f"another process is at '{verb}' in {folder}: {_holder(path)}; wait until it has ended, end it,"
            " or choose another folder"
        ) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    with stream:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def left_behind(folder: Path, verb: str) -> bool:
    """Whether there is a lock's file, be its holder at work or killed."""
    return _path(folder, verb).exists()


def _path(folder: Path, verb: str) -> Path:
    return folder / f".{verb.replace('/', '-')}.lock"


def _hold(path: Path, patience: float) -> IO[bytes]:
    """The locked file; BlockingIOError where another process has it for ``patience`` seconds more."""
    end = time.monotonic() + patience
    while True:
        with ExitStack() as opened:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stream = opened.enter_context(os.fdopen(number, "r+b"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
                time.sleep(_PAUSE)
                continue
            if not _is_at(stream, path):
                continue  # its holder has just removed it: hold the next one
            try:
                stream.truncate()
                stream.write(json.dumps(_me()).encode())
                stream.flush()
            except OSError:  # a full disk
                path.unlink(missing_ok=True)
                raise
            opened.pop_all()
            return stream


def _is_at(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, object]:
    return {"pid": os.getpid(), "host": platform.node(), "since": utc_now()}


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_bytes()[:1000])
        return f"pid {said['pid']} on {said['host']} since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has only just begun, or just ended"
