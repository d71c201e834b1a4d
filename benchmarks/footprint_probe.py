"""The fresh process of `footprint`: loads one model, runs it, writes its peaks to stdout as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from edgecell.runtime import TFLitePredictor

BUILT_IN = "built-in"
"""A second word: LiteRT's own kernels instead of XNNPACK, which keeps a packed copy of the weights."""


def peak_bytes() -> int:
    """Largest resident size of this process so far.

    On Linux the high-water mark of this program's own memory: getrusage's ru_maxrss survives exec,
    so that a child started by a large process reports its parent's size.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(li for li in status.read_text().splitlines() if li.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes here, kB on Linux
    raise SystemExit(f"peak memory is not measured on {sys.platform}")


def main(path: str, kernels: str = "") -> None:
    """Peaks before the model, after 1 and after 10 inferences of a grey image."""
    peaks = {"baseline": peak_bytes()}
    predictor = TFLitePredictor.open(Path(path), threads=1, xnnpack=kernels != BUILT_IN)
    image = np.full((*predictor.image_size, 3), 128, np.uint8)
    predictor.invoke_once(image)
    peaks["one"] = peak_bytes()
    for _ in range(9):
        predictor.invoke_once(image)
    peaks["ten"] = peak_bytes()
    sys.stdout.write(json.dumps(peaks))


if __name__ == "__main__":
    main(*sys.argv[1:])
