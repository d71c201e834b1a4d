"""What worker processes do in the tests of `edgecell.pipeline.jobs`."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from edgecell.errors import DataError
from edgecell.progress import Progress


def tell_cores(progress: Progress) -> None:
    progress.begin("a bar", 3)
    progress.advance(1)
    progress.say(f"cores {sorted(os.sched_getaffinity(0))}")
    progress.advance(3, "a note")


def tell_levels(progress: Progress) -> None:
    progress.say(", ".join(str(logging.getLogger(name).level) for name in ("tensorflow", "absl")))


def fail_or_wait(folder: Path, progress: Progress) -> None:
    """The first to come fails when the other is there; that one waits to be interrupted."""
    try:
        (folder / "first").mkdir()
    except FileExistsError:
        (folder / "waiting").touch()
        try:
            time.sleep(100)
        finally:
            (folder / "put down").touch()
    while not (folder / "waiting").exists():
        time.sleep(0.01)
    raise DataError("the images are gone")


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def blunder(progress: Progress) -> None:
    raise ZeroDivisionError("a bug")


def linger(folder: Path, progress: Progress) -> None:
    """Work without an end; says so when interrupted."""
    (folder / f"at work {os.getpid()}").touch()
    try:
        time.sleep(200)
    except KeyboardInterrupt:
        (folder / f"put down {os.getpid()}").touch()
        raise
