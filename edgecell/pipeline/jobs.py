"""Worker processes on one machine, each with its share of the cores, and what they say."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from edgecell.errors import EdgecellError
from edgecell.progress import Progress

_CHATTY = ("tensorflow", "absl")
_PATIENCE_SECONDS = 60.0
"""How long a worker has to put its work down after an interrupt."""


def run_jobs(
    count: int, work: Callable[..., None], arguments: tuple[Any, ...], progress: Progress
) -> list[str]:
    """Call ``work(*arguments, progress)`` in ``count`` processes; what became of those that died.

    ``work`` is a function of a module. An interrupt of this process, and its death, reach the workers.

    Raises:
        EdgecellError: the first that a worker raised; the others are interrupted.
    """
    context = get_context("spawn")  # TensorFlow does not survive a fork
    cores = _cores()
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    processes: list[BaseProcess] = []
    lines: dict[Connection, str] = {}
    try:
        for position in range(count):
            name = f"worker {position + 1}"
            ours, theirs = context.Pipe(duplex=False)
            share = cores[position::count] or cores
            process = context.Process(
                target=_worker, args=(theirs, work, arguments, share, levels), name=name
            )
            process.start()
            theirs.close()
            processes.append(process)
            lines[ours] = name
        _listen(lines, progress)
    finally:
        _stop(processes)
    return [f"{each.name} {_death(each.exitcode)}" for each in processes if each.exitcode]


def _listen(lines: dict[Connection, str], progress: Progress) -> None:
    """Pass on what workers say until all have ended."""
    while lines:
        for connection in wait(list(lines)):
            assert isinstance(connection, Connection)
            try:
                told = connection.recv()
            except (EOFError, OSError):
                del lines[connection]
                continue
            if isinstance(told, EdgecellError):
                raise told
            progress.say(f"{lines[connection]}: {told}")


def _stop(processes: Sequence[BaseProcess]) -> None:
    """Interrupt those that still run, so that they put their work down; end those that do not."""
    try:
        for process in processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        for process in processes:
            process.join(_PATIENCE_SECONDS)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with code {code}"


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


# --------------------------------------------------------------------- in the worker's process


def _worker(
    connection: Connection,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    cores: Sequence[int],
    levels: dict[str, int],
) -> None:
    for name, level in levels.items():  # a new process does not know what the parent keeps quiet
        logging.getLogger(name).setLevel(level)
    os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the parent alone, which passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    _keep_to(cores)
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.stderr = _Lines(connection)  # where a traceback goes
    try:
        work(*arguments, _Told(connection))
    except EdgecellError as error:
        connection.send(type(error)(str(error)))
    except KeyboardInterrupt:
        return


def _keep_to(cores: Sequence[int]) -> None:
    """Use these cores only; where a process cannot be pinned, as many threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    else:
        for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            os.environ[variable] = str(max(1, len(cores)))


def _follow_parent() -> None:
    """A parent that was killed cannot pass anything on: take its death for an interrupt."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)


class _Told:
    """Progress of a worker: its lines go to the parent, bars would overwrite one another."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, label: str, total: int) -> None:
        """Show nothing."""

    def advance(self, done: int, note: str = "") -> None:
        """Pass on the note, if there is one."""
        if note:
            self.say(note)

    def say(self, line: str) -> None:
        """Pass on the line."""
        self._connection.send(line)


class _Lines(io.TextIOBase):
    """A stream whose whole lines go to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._begun = connection, ""

    def write(self, text: str) -> int:
        """Keep what is no whole line yet."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._connection.send(line)
        return len(text)
