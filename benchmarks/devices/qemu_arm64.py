"""The arm64 kernels of LiteRT, emulated: do they answer as this host's do? Never how fast.

qemu runs an arm64 Python with the arm64 wheel, which runs the same archive as a board behind ssh.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.devices import on_board, process
from benchmarks.devices.archive import board_archive
from benchmarks.devices.arm64_root import CPU, arm64
from benchmarks.devices.exchange import read_session, write_jobs
from benchmarks.devices.interface import Answer, DeviceError, Measured, no_latency, no_throughput
from benchmarks.devices.session import Job, Say
from benchmarks.footprint import no_memory
from benchmarks.options import BenchOptions
from edgecell.errors import ArtifactError

_SILENCE_SECONDS = 300.0
_UNTIMED = "emulated: how long it takes says nothing of a real processor"
_NOTES = (
    f"LiteRT's arm64 kernels, emulated by qemu as a {CPU}: outputs only. Integer kernels of two kinds of "
    "processor may round one step apart, float kernels by a few units of the last digit.",
)


class QemuArm64:
    """An arm64 Python under qemu-user on this machine.

    Raises:
        DeviceError: this machine is arm64 itself, or no Linux.
    """

    kind = "qemu-arm64"

    def __init__(self) -> None:
        if platform.machine() in ("aarch64", "arm64"):
            raise DeviceError("this machine is arm64 itself; leave --device qemu-arm64 out")
        if platform.system() != "Linux":
            raise DeviceError(f"qemu-user runs on Linux, this is {platform.system()}")

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """See :class:`benchmarks.devices.interface.Device`."""
        say("looking for qemu and an arm64 Python (the first time: a download of 80 MB)", 0.0)
        machine = arm64()
        with tempfile.TemporaryDirectory(prefix="edgecell-") as scratch:
            folder = Path(scratch)
            write_jobs(folder, jobs, replace(options, threads=(), memory=False))
            (folder / "bench.pyz").write_bytes(board_archive())
            ended = process.run(
                [*machine.command, str(folder / "bench.pyz"), str(folder)],
                environment=machine.environment,
                silence=_SILENCE_SECONDS,
                hear=on_board.listener(say),
            )
            _check(ended)
            session = read_session(folder / on_board.RESULTS)
        answers = [
            Answer(
                model.raw,
                [no_latency(_UNTIMED) | {"delegate": model.delegate}],
                no_throughput(_UNTIMED, (1,), options.batches),
                no_memory("emulated: the emulator's own memory is not told apart"),
            )
            for model in session.models
        ]
        # Nothing was timed, so that other work on this machine is no matter.
        idle = {"busy_before": None, "load_average_1min": None}
        facts = session.facts | idle | {"emulator": "qemu-user"}
        return Measured(f"{facts['cpu']}, emulated", facts, answers, notes=_NOTES)


def _check(ended: process.Ended) -> None:
    for line in ended.lines:
        if line.startswith(on_board.REFUSED):
            raise ArtifactError(f"on emulated arm64: {line.removeprefix(on_board.REFUSED)}")
    if ended.code is None:
        raise DeviceError("the emulated Python gave no sign of life for minutes; it was given up")
    if ended.code:
        raise DeviceError(f"the emulated Python ended with code {ended.code}: {ended.last_line}")
