"""A program whose lines on stderr are signs of life, stopped where they cease."""

from __future__ import annotations

import os
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_KEPT = 40  # last lines on stderr


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``code`` is None where it was stopped, silent for too long."""

    code: int | None
    lines: list[str]

    @property
    def last_line(self) -> str:
        """The last thing it said on stderr, short enough for a message."""
        return (self.lines or ["no message"])[-1][:200]


def run(
    command: Sequence[str],
    *,
    silence: float,
    stdin: Path | None = None,
    stdout: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hear: Callable[[str], bool] = lambda line: False,
) -> Ended:
    """Run ``command`` with files for stdin and stdout until it ends.

    ``hear`` gets each line of stderr; those it returns True for are not kept. Without a line, and
    without reading on in ``stdin``, for ``silence`` seconds the program is killed.

    Raises:
        OSError: it cannot be started.
    """
    with (
        Path(stdin or os.devnull).open("rb") as entry,
        Path(stdout or os.devnull).open("wb") as leave,
        subprocess.Popen(
            command, stdin=entry, stdout=leave, stderr=subprocess.PIPE, env=environment
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stderr is not None
        selector.register(process.stderr, selectors.EVENT_READ)
        kept: deque[str] = deque(maxlen=_KEPT)
        rest = b""
        taken = 0
        try:
            while True:
                if not selector.select(silence):
                    # The program reads through this very open file, so that its place is told here.
                    before, taken = taken, os.lseek(entry.fileno(), 0, os.SEEK_CUR)
                    if taken > before:
                        continue
                    return Ended(None, list(kept))
                data = os.read(process.stderr.fileno(), 65536)
                *lines, rest = (rest + data).split(b"\n")
                for raw in [*lines, *([rest] if rest and not data else [])]:
                    line = raw.decode(errors="replace").strip()
                    if line and not hear(line):
                        kept.append(line)
                if not data:
                    return Ended(process.wait(), list(kept))
        finally:
            if process.poll() is None:
                process.kill()


class ToolError(Exception):
    """A tool that failed; the text says how."""


def call(
    command: Sequence[str],
    *,
    seconds: int,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    complaint: str = "error",
) -> None:
    """Run a tool to its end.

    Raises:
        ToolError: it took longer than ``seconds``, or ended with a code; with the first line on stderr that
        has ``complaint`` in it, in any case.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"it took more than {seconds} s; is the network there?") from error
    if done.returncode:
        lines = done.stderr.splitlines()
        said = [line for line in lines if complaint.lower() in line.lower()]
        raise ToolError((said or lines or ["no message"])[0].strip()[:200])
