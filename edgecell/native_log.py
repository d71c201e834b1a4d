"""Holding back lines that native libraries print on stderr and that tell a user nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = (
    b"INFO: Created TensorFlow Lite XNNPACK delegate",
    b"fully_quantize: ",
)


@contextmanager
def known_chatter_held_back() -> Iterator[None]:
    """Keep the known lines of native code off stderr; everything else is passed on at the end.

    The libraries write to file descriptor 2 and have no switch for it. Use around short calls only:
    what other threads write meanwhile appears when the call ends.
    """
    lines: list[bytes] = []
    try:
        with overheard(lines):
            yield
    finally:
        rest = b"".join(line for line in lines if not line.startswith(_CHATTER))
        if rest:
            os.write(2, rest)


@contextmanager
def overheard(lines: list[bytes]) -> Iterator[None]:
    """Collect in ``lines`` what is written to file descriptor 2 meanwhile, instead of its being shown."""
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (OSError, ValueError):  # no stderr (closed, or a windowed host): nothing to collect
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            lines += held
