"""Peak memory of a whole training: python -m benchmarks.training_memory --data D [flags of train].

Trains in a process of its own, one epoch of random weights unless the flags say otherwise, and reports
the largest resident size that the system counted for it. Nothing heavy is imported here: on Linux
a process's peak starts at that of the process that started it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TRAIN = ("--weights", "none", "--head-epochs", "0", "--epochs", "1")


def peak_of(command: Sequence[str]) -> int:
    """Run ``command`` to its end; the peak resident size of its process in bytes.

    Raises:
        subprocess.CalledProcessError: it ended with another exit code than 0.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Train, and print the peak in GB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgecell", "train", "--data", arguments.data, *TRAIN]
        peak = peak_of([*command, "--output", str(Path(folder) / "run"), *flags])
    shown = " ".join(flags) or "no flags"
    sys.stdout.write(f"{arguments.data} ({shown}): peak memory {peak / 1e9:.2f} GB\n")


if __name__ == "__main__":
    main()
