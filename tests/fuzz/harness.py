"""Worker processes that outlive what is fed to them: who crashes or hangs is named, and replaced."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import select
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgecell.errors import EdgecellError

HANG_SECONDS = 10.0
"""Of processor time where the worker runs by itself; twelve times that by the clock, on a busy machine."""
ROOM = 8 << 30
"""Address space that an input may take beside what the libraries have."""
MEMORY = 2 << 30
"""Resident memory that no input may make a worker grow by."""


class Kind(Protocol):
    """What is fuzzed. ``prepare`` runs once, before workers are forked, and loads the libraries."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Make the seeds, in ``folder``."""
        ...

    def make(self, rand: random.Random) -> bytes:
        """A mutated input."""
        ...

    def feed(self, data: bytes, folder: Path, say: Callable[[str], None]) -> None:
        """Give the input to the program; an EdgecellError is a refusal. ``say`` names the phase."""
        ...


class SilentAcceptance(Exception):
    """A file was taken although its recorded hash is another one."""


@dataclass
class Tally:
    """What came of a run."""

    kind: str
    seed: int
    tried: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    contained: Counter[str] = field(default_factory=Counter)
    crashes: list[dict[str, Any]] = field(default_factory=list)
    hangs: list[dict[str, Any]] = field(default_factory=list)
    silent: list[dict[str, Any]] = field(default_factory=list)
    greedy: list[dict[str, Any]] = field(default_factory=list)
    most_memory: int = MEMORY
    growth: int = 0
    slowest: float = 0.0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """No crash, hang, silent acceptance, or input that took too much memory."""
        return not (self.crashes or self.hangs or self.silent or self.greedy)

    def to_json(self) -> dict[str, Any]:
        """The result in JSON types."""
        return {
            "kind": self.kind,
            "seed": self.seed,
            "tried": self.tried,
            "accepted": self.accepted,
            "refused": dict(self.refused.most_common()),
            "native_crashes_contained": dict(self.contained.most_common()),
            "crashes": self.crashes,
            "hangs": self.hangs,
            "silent_acceptances": self.silent,
            "over_memory": self.greedy,
            "peak_growth_mb": round(self.growth / 1e6),
            "slowest_s": round(self.slowest, 2),
            "seconds": round(self.seconds),
            "reasons": dict(self.reasons.most_common(25)),
        }


def random_of(kind: str, seed: int, index: int) -> random.Random:
    """The random state of one input: it hangs on nothing that came before."""
    return random.Random(hashlib.sha256(f"{kind} {seed} {index}".encode()).digest())


def run(
    kind: Kind,
    count: int,
    seed: int,
    folder: Path,
    *,
    first: int = 0,
    hang_seconds: float = HANG_SECONDS,
    memory: int = MEMORY,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Try ``count`` inputs one after the other; those that are findings are kept in ``folder``."""
    tally = Tally(kind.name, seed, most_memory=memory)
    began, index, end = time.monotonic(), first, first + count
    while index < end:
        worker = _Worker(kind, seed, index, end, folder)
        index = worker.attend(tally, hang_seconds, progress)
    tally.seconds = time.monotonic() - began
    return tally


class _Worker:
    def __init__(self, kind: Kind, seed: int, first: int, end: int, folder: Path) -> None:
        self.kind, self.seed, self.folder = kind, seed, folder
        self.index = first
        self.phase = ""
        reader, writer = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(reader)
            code = 1
            try:
                _work(kind, seed, first, end, folder, writer)
                code = 0
            except BaseException:  # whatever it is, the forked copy of the caller must end here
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writer)
        self.reader = reader
        self.heard, self.spent = time.monotonic(), 0.0

    def attend(self, tally: Tally, hang_seconds: float, progress: Callable[[Tally], None]) -> int:
        """Count what the worker says until it ends; the index to go on from."""
        rest = b""
        while True:
            ready, _, _ = select.select([self.reader], [], [], hang_seconds / 10)
            if not ready and not self._hangs(hang_seconds):
                continue
            piece = os.read(self.reader, 1 << 16) if ready else b""
            if not piece:
                return self._ended(tally, hung=not ready)
            self.heard, self.spent = time.monotonic(), _processor_seconds(self.process)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._count(json.loads(line), tally, hang_seconds, progress)

    def _hangs(self, seconds: float) -> bool:
        return (
            _processor_seconds(self.process) - self.spent > seconds
            or time.monotonic() - self.heard > 12 * seconds
        )

    def _count(
        self,
        said: dict[str, Any],
        tally: Tally,
        hang_seconds: float,
        progress: Callable[[Tally], None],
    ) -> None:
        if "phase" in said:
            self.phase = said["phase"]
            return
        tally.tried += 1
        tally.growth = max(tally.growth, said["growth"])
        tally.slowest = max(tally.slowest, said["seconds"])
        finding = {"index": said["index"], "what": said["what"]}
        if said["outcome"] == "accepted":
            tally.accepted += 1
        elif said["outcome"] == "refused":
            tally.refused[said["error"]] += 1
            tally.reasons[said["what"]] += 1
        elif said["outcome"] == "silent":
            tally.silent.append(finding)
        else:
            tally.crashes.append(finding)
        if said["seconds"] > hang_seconds:
            tally.hangs.append(finding | {"seconds": round(said["seconds"], 1)})
        if said["growth"] > tally.most_memory:
            tally.greedy.append(finding | {"growth_mb": round(said["growth"] / 1e6)})
        self.index, self.phase = said["index"] + 1, ""
        progress(tally)

    def _ended(self, tally: Tally, *, hung: bool) -> int:
        if hung:
            os.kill(self.process, signal.SIGKILL)
        os.close(self.reader)
        _, status = os.waitpid(self.process, 0)
        finding = {"index": self.index, "phase": self.phase}
        if hung:
            tally.tried += 1
            if self.phase == CONTAINED:  # there the time is limited
                tally.contained["time limit"] += 1
            else:
                tally.hangs.append(finding)
        elif status != 0:
            tally.tried += 1
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            what = signal.Signals(number).name if number else f"exit {os.WEXITSTATUS(status)}"
            # In the child that tries a model the program itself is not hurt: it says what happened.
            if self.phase == CONTAINED:
                tally.contained[what] += 1
            else:
                tally.crashes.append(finding | {"what": what})
        else:
            return self.index
        data = self.kind.make(random_of(self.kind.name, self.seed, self.index))
        (self.folder / f"{self.kind.name}-{self.seed}-{self.index}.bin").write_bytes(data)
        return self.index + 1


CONTAINED = "contained"
"""The phase in which the program works in a child process of its own."""


def _work(kind: Kind, seed: int, first: int, end: int, folder: Path, writer: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native libraries say on stderr what ails a file
    limit = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(**facts: Any) -> None:
        os.write(writer, json.dumps(facts).encode() + b"\n")

    for index in range(first, end):
        data = kind.make(random_of(kind.name, seed, index))
        said, kept = _outcome(kind, data, folder, lambda phase: say(phase=phase))
        if kept:
            (folder / f"{kind.name}-{seed}-{index}.bin").write_bytes(data)
        say(index=index, **said)


def _outcome(
    kind: Kind, data: bytes, folder: Path, phase: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this input
    before, began = _status("VmRSS"), time.process_time()
    error: str | None = None
    try:
        kind.feed(data, folder, phase)
        outcome, what = "accepted", ""
    except EdgecellError as refusal:
        outcome, error, what = "refused", type(refusal).__name__, _shape(str(refusal))
    except SilentAcceptance as taken:
        outcome, what = "silent", str(taken)
    except Exception as fault:  # the very finding that this program is looking for
        last = traceback.extract_tb(fault.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        outcome, what = "crash", f"{type(fault).__name__} at {where}: {str(fault)[:160]}"
    seconds = time.process_time() - began
    growth = max(0, _status("VmHWM") - before)
    said = {"outcome": outcome, "error": error, "what": what, "seconds": seconds, "growth": growth}
    return said, outcome in ("crash", "silent") or seconds > HANG_SECONDS or growth > MEMORY


def _shape(message: str) -> str:
    """A message without what differs from input to input."""
    text = "".join("9" if c.isdigit() else c for c in message.split(": ")[-1][:60])
    while "99" in text:
        text = text.replace("99", "9")
    return text.encode("ascii", "replace").decode()


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(key: str) -> int:
    """A figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise LookupError(key)
