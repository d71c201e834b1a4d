"""Peak memory of a whole training: python -m benchmarks.training_memory --data D [flags of train].

Trains in a process of its own, one epoch of random weights unless the flags say otherwise, and reports
the largest resident size that the system counted for it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TRAIN = ("--weights", "none", "--head-epochs", "0", "--epochs", "1")


# On Linux a process's peak starts at the size of the process that started it, so that a small one in
# between starts the one that is measured.
_BETWEEN = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
code = os.waitstatus_to_exitcode(status)
print(code, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_of(command: Sequence[str]) -> int:
    """Run ``command`` to its end; the peak resident size of its process in bytes.

    Raises:
        subprocess.CalledProcessError: it ended with another exit code than 0.
    """
    between = [sys.executable, "-S", "-c", _BETWEEN, *command]
    printed = subprocess.run(between, stdout=subprocess.PIPE, text=True, check=True).stdout
    code, peak = (int(word) for word in printed.split())
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return peak


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
