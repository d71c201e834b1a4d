"""The program that runs files in TFLite Micro: jobs from a folder, answers and arena sizes into it.

A process of its own, because the interpreter ends its process where an operator is wrong, and tells
sizes and complaints on file descriptor 2 alone.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_micro import runtime

from benchmarks.devices.exchange import read_jobs
from benchmarks.devices.on_board import say
from benchmarks.devices.session import Job
from benchmarks.devices.tflm import RESULTS
from edgecell.native_log import overheard
from edgecell.runtime import TFLitePredictor

_ARENA = 128 << 20  # room to allocate from; what is used of it is what counts
_TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")
_CHUNK = 16  # images between two signs of life


def main(folder: Path) -> None:
    """Answers of each job as raw-N.npy, and one entry each in arena.json: its arena, or a reason."""
    jobs, _ = read_jobs(folder)
    entries = []
    for i, job in enumerate(jobs):
        entry, raw = _run(job, lambda done, i=i, job=job: say(job.name, (i + done) / len(jobs)))
        if raw is not None:
            np.save(folder / f"raw-{i}.npy", raw)
        entries.append(entry)
    (folder / RESULTS).write_text(json.dumps(entries), encoding="utf-8")


def _run(job: Job, progress: Any) -> tuple[dict[str, Any], NDArray[Any] | None]:
    values = TFLitePredictor(job.path).pixel_values()
    lines: list[bytes] = []
    try:
        with overheard(lines):
            micro = runtime.Interpreter.from_bytes(job.path.read_bytes(), arena_size=_ARENA)
            micro.print_allocations()
    except RuntimeError as error:
        return {"reason": _first(lines) or str(error)}, None
    total = _TOTAL.search(b"".join(lines))
    if total is None:
        return {"reason": "it did not tell its arena"}, None
    raw = []
    for at, image in enumerate(job.images):
        if at % _CHUNK == 0:
            progress(at / len(job.images))
        micro.set_input(values[image][None], 0)
        try:
            micro.invoke()
        except RuntimeError as error:  # an operator that was not refused before
            return {"reason": _complaint(micro) or str(error)}, None
        raw.append(micro.get_output(0)[0].copy())
    return {"arena_bytes": int(total[1])}, np.array(raw)


def _complaint(micro: Any) -> str:
    """What an inference that fails says: once more, and listened to."""
    lines: list[bytes] = []
    with suppress(RuntimeError), overheard(lines):
        micro.invoke()
    return _first(lines)


def _first(lines: list[bytes]) -> str:
    """The first thing that was said."""
    said = (line.decode(errors="replace").strip() for line in lines)
    return next(filter(None, said), "")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
