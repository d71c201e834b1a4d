"""The terminal: results to stdout, progress to stderr, native libraries' chatter to neither."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table


def quiet_native_output() -> IO[str]:
    """Send file descriptor 2 to a scratch file and return a stream on the real stderr.

    TensorFlow and LiteRT write start-up notices there from C++, past any Python logging. Python's
    own warnings and TensorFlow's loggers are switched off too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    real = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
    sys.stderr = real
    return real


def escape_what_cannot_be_written() -> None:
    """On a stdout that is no UTF-8 a file's name is written with escapes: not the end of all answers."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class Display:
    """Draws a stage's progress with rich; plain lines where stderr is not a terminal."""

    def __init__(self, stream: IO[str]) -> None:
        self.console = Console(file=stream, highlight=False)
        self._bars: Bars | None = None
        self._task: Any = None
        self._total = 0
        self._label = ""

    def begin(self, label: str, total: int) -> None:
        """A new bar; the one before it disappears."""
        self._close()
        self._label, self._total = label, total
        if self.console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bars.start()
            self._task = self._bars.add_task(label, total=total)

    def advance(self, done: int, note: str = "") -> None:
        """Move the bar; a note stays on the screen as a line."""
        if self._bars is not None:
            self._bars.update(self._task, completed=done)
        if note:
            self.say(f"{self._label}: {note}")
        if done >= self._total:
            self._close()

    def say(self, line: str) -> None:
        """A line above the bar."""
        self.console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar, if there is one."""
        self._close()

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def print_json(data: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json_text(data, indent=2) + "\n")


def json_text(data: Any, indent: int | None = None) -> str:
    """``data`` as JSON in characters that stdout can write; others are escaped as JSON does."""
    utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    return printable(json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=not utf8))


def print_table(
    title: str, columns: list[str], rows: list[list[str]], *, numeric_from: int = 1
) -> None:
    """A table on stdout; columns from ``numeric_from`` on are right-aligned."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(
            column, justify="right" if position >= numeric_from else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(printable, row))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False, markup=False).print(table)


def print_line(text: str) -> None:
    """A line of results on stdout."""
    sys.stdout.write(printable(text) + "\n")


def print_next(verb: str, *words: str | Path, label: str = "next: ") -> None:
    """The command to go on with, quoted as a shell takes it: a folder's name may have spaces."""
    print_line(f"{label}edgecell {shlex.join([verb, *map(str, words)])}")


def printable(text: str) -> str:
    """``text`` with the bytes of a file name that are no UTF-8 written as escapes, as JSON writes them."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def display() -> Iterator[Display]:
    """A progress display on stderr that is gone at the end, however it ends."""
    shown = Display(sys.stderr)
    try:
        yield shown
    finally:
        shown.close()
