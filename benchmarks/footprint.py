"""What a model costs to store and to hold: bytes on disk, deflated, and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.footprint_probe import BUILT_IN
from edgecell.packing import deflated_bytes
from edgecell.record import Measurement
from edgecell.tflite_file import read_bytes

_ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT_SECONDS = 120


def file_sizes(path: Path) -> dict[str, Any]:
    """Measurements in bytes: size, and deflated, which is what an app download carries.

    Raises:
        ArtifactError: the file cannot be read.
    """
    data = read_bytes(path)
    return {
        "size": Measurement(len(data), "bytes").to_json(),
        "deflated": Measurement(deflated_bytes(data), "bytes").to_json(),
    }


def peak_memory(path: Path, *, xnnpack: bool = True) -> dict[str, Any]:
    """Peak resident memory of a fresh process that loads `path` and runs it once, then ten times.

    `baseline` is the process with Python, NumPy and LiteRT loaded and no model; `one` and `ten` the
    peaks after 1 and 10 inferences with one thread; `over_baseline` = ten - baseline is the figure to
    compare models by. One process a call, so n is 1. Without ``xnnpack`` the built-in kernels run.
    """
    command = [sys.executable, "-m", "benchmarks.footprint_probe", str(path.resolve())]
    command += [] if xnnpack else [BUILT_IN]
    known = os.environ.get("PYTHONPATH")
    search = os.pathsep.join([str(_ROOT), known] if known else [str(_ROOT)])
    try:
        done = subprocess.run(
            command,
            # The safe path keeps a user's own folder named benchmarks out.
            env=os.environ | {"PYTHONPATH": search, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return no_memory(f"the probe took more than {_TIMEOUT_SECONDS} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return no_memory(f"the probe ended with code {error.returncode}: {last[:160]}")
    peaks: dict[str, int] = json.loads(done.stdout)
    peaks["over_baseline"] = peaks["ten"] - peaks["baseline"]
    return {key: Measurement(value, "bytes", n=1).to_json() for key, value in peaks.items()}


def no_memory(reason: str) -> dict[str, Any]:
    """What stands in the place of `peak_memory` where it was not measured."""
    missing = Measurement.missing("bytes", reason).to_json()
    return {key: missing for key in ("baseline", "one", "ten", "over_baseline")}
