"""Ctrl-C that arrives where Python or a library loses it."""

from __future__ import annotations

import signal
import sys
from typing import Any

_AGAIN = 0.05
"""Seconds until a lost interrupt is tried again: by then what swallowed it has returned."""


class InterruptsUncovered:
    """A ``with`` block of the main thread that an interrupt ends in KeyboardInterrupt, come what may.

    An interrupt that arrives while TensorFlow traces a function can come out as an AssertionError of the
    tracer's own bookkeeping. An error that was raised from an interrupt, or while one was handled, becomes
    one again; all others pass. One that arrives in a finaliser or in a callback of the garbage collector
    is only printed by Python, and the program goes on: it is raised again a moment later.
    """

    def __enter__(self) -> None:
        """From here on lost interrupts are heard of."""
        self._lost = False
        self._said, self._alarm = sys.unraisablehook, signal.getsignal(signal.SIGALRM)
        sys.unraisablehook = self._unraisable

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """KeyboardInterrupt in the place of what covers it."""
        sys.unraisablehook = self._said
        if self._lost:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm or signal.SIG_DFL)
        ended = error is None or isinstance(error, Exception)
        if ended and (self._lost or (error is not None and _covers_an_interrupt(error))):
            raise KeyboardInterrupt from error

    def _unraisable(self, lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            self._said(lost)
            return
        self._lost = True
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)  # once: clean-up is not to be disturbed


def _covers_an_interrupt(error: BaseException) -> bool:
    seen: set[int] = set()
    below: list[BaseException | None] = [error]
    while below:
        one = below.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, KeyboardInterrupt):
            return True
        seen.add(id(one))
        below += [one.__cause__, one.__context__]
    return False
