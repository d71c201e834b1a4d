"""Every fault that the fuzzer is there for, planted: a fuzzer that misses one of them is none."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecell.errors import DataError

from .harness import CONTAINED, SilentAcceptance

FAULTS = ("taken", "refused", "error", "signal", "contained", "hang", "silent", "memory", "exit")


class Planted:
    """Inputs that are the name of one of FAULTS, drawn at random."""

    name = "planted"

    def prepare(self, folder: Path) -> None:
        """Nothing to prepare."""

    def make(self, rand: random.Random) -> bytes:
        """One of them."""
        return rand.choice(FAULTS).encode()

    def feed(self, data: bytes, folder: Path, say: Callable[[str], None]) -> None:
        """Do what was planted."""
        fault = data.decode()
        if fault == "refused":
            raise DataError("refused as it should be")
        if fault == "error":
            raise KeyError("an error that is none of edgecell's")
        if fault in ("signal", "contained"):
            say(CONTAINED if fault == "contained" else "")
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "hang":
            while True:
                pass
        if fault == "silent":
            raise SilentAcceptance("another hash")
        if fault == "memory":
            np.ones(1 << 25)  # 268 MB
        if fault == "exit":
            os._exit(7)
