"""TensorFlow Lite for Microcontrollers on this host: do its kernels answer alike, and in how much memory?

Its Python package runs the reference kernels of a microcontroller build. The tensor arena that it uses
is the figure to choose a chip by. On a chip it differs: addresses of 32 bits, kernels with scratch memory.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.devices import on_board, process
from benchmarks.devices.exchange import write_jobs
from benchmarks.devices.interface import (
    Answer,
    DeviceError,
    Measured,
    no_latency,
    no_throughput,
)
from benchmarks.devices.session import Job, Say
from benchmarks.footprint import no_memory
from benchmarks.host import host
from benchmarks.options import BenchOptions
from edgecell.delegation import BUILT_IN
from edgecell.machine import package_versions
from edgecell.record import Measurement

_PACKAGE = "tflite-micro"
_ROOT = Path(__file__).resolve().parents[2]
_SILENCE_SECONDS = 300.0
RESULTS = "arena.json"
_UNTIMED = "a PC's time for a microcontroller's kernels says nothing of a chip"
_NOTES = (
    "TensorFlow Lite for Microcontrollers with its reference kernels, on this host. Memory is the tensor arena "
    "as the interpreter counts it here, an estimate for a chip: 32-bit addresses take less, a chip's faster kernels "
    "some scratch memory more. The file itself lies in flash, the interpreter's own code beside it.",
)


class Tflm:
    """The interpreter for microcontrollers, from its Python package.

    Raises:
        DeviceError: the package is not installed.
    """

    kind = "tflm"

    def __init__(self) -> None:
        if importlib.util.find_spec("tflite_micro") is None:
            raise DeviceError(
                f"{_PACKAGE} is not installed; run: pip install -c constraints.txt -e '.[tflm]'"
            )

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """See :class:`benchmarks.devices.interface.Device`."""
        facts = host()
        with tempfile.TemporaryDirectory(prefix="edgecell-") as scratch:
            folder = Path(scratch)
            write_jobs(folder, jobs, options)
            ended = process.run(
                [sys.executable, "-m", "benchmarks.devices.tflm_probe", scratch],
                environment=os.environ | _search_path(),
                silence=_SILENCE_SECONDS,
                hear=on_board.listener(say),
            )
            if ended.code != 0:
                how = (
                    "gave no sign of life"
                    if ended.code is None
                    else f"ended with code {ended.code}"
                )
                raise DeviceError(f"TFLite Micro {how}: {ended.last_line}")
            answers = _read(folder, options)
        # Nothing was timed, so that other work on this machine is no matter.
        facts |= {"busy_before": None, "load_average_1min": None}
        facts["versions"] |= package_versions([_PACKAGE])
        return Measured("TFLite Micro on this host", facts, answers, notes=_NOTES)


def _search_path() -> dict[str, str]:
    """This package comes first, and a user's own folder named benchmarks is not looked into."""
    known = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join([str(_ROOT), known] if known else [str(_ROOT)]),
        "PYTHONSAFEPATH": "1",
    }


def _read(folder: Path, options: BenchOptions) -> list[Answer]:
    answers = []
    for i, entry in enumerate(json.loads((folder / RESULTS).read_text(encoding="utf-8"))):
        raw: NDArray[Any] | str
        if "reason" in entry:
            raw = f"TFLite Micro cannot run it: {entry['reason'][:200]}"
            latency, memory = no_latency(raw), no_memory(raw)
        else:
            raw = np.load(folder / f"raw-{i}.npy")
            latency = no_latency(_UNTIMED) | {"delegate": {"label": BUILT_IN, "asked": None}}
            memory = _memory(entry["arena_bytes"])
        answers.append(
            Answer(raw, [latency], no_throughput(_UNTIMED, (1,), options.batches), memory)
        )
    return answers


def _memory(arena_bytes: int) -> dict[str, Any]:
    memory = no_memory("TFLite Micro tells its arena, and no process's memory")
    arena = Measurement(arena_bytes, "bytes", n=1, kind="estimated").to_json()
    return memory | {"over_baseline": arena}
