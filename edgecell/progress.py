"""How long work tells how far it is, without knowing about terminals."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a stage; the command line draws it, tests ignore it."""

    def begin(self, label: str, total: int) -> None:
        """A piece of work of ``total`` steps starts."""
        ...

    def advance(self, done: int, note: str = "") -> None:
        """``done`` steps of the current piece are finished."""
        ...

    def say(self, line: str) -> None:
        """A line that stays visible."""
        ...


class Silent:
    """A Progress that shows nothing."""

    def begin(self, label: str, total: int) -> None:
        """Show nothing."""

    def advance(self, done: int, note: str = "") -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""


class Prefixed:
    """A Progress whose lines and bars bear a name; notes on a bar, such as epochs, are left out."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def begin(self, label: str, total: int) -> None:
        """A bar with the name before the label."""
        self._progress.begin(f"{self._name}, {label}", total)

    def advance(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self._progress.advance(done)

    def say(self, line: str) -> None:
        """A line with the name."""
        self._progress.say(f"{self._name}: {line}")
