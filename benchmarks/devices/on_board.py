"""The program that a board runs: jobs from a folder, the session into it, progress on stderr.

It is the main program of the archive that `archive.py` makes, and runs with Python 3.10 or newer,
NumPy and LiteRT: `python3 bench.pyz FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.devices.exchange import read_jobs, write_session
from benchmarks.devices.session import Say, sample
from edgecell.errors import EdgecellError

PROGRESS = "edgecell-progress "
REFUSED = "edgecell-refused "
RESULTS = "results"


def main(folder: Path) -> None:
    """Measure the jobs in ``folder``; a refusal is a line on stderr and exit code 3."""
    try:
        jobs, options = read_jobs(folder)
        session = sample(jobs, options, say)
    except EdgecellError as error:
        sys.stderr.write(f"{REFUSED}{error}\n")
        sys.exit(3)
    write_session(folder / RESULTS, session)


def say(text: str, share: float) -> None:
    """A line of progress for whoever reads this program's stderr."""
    sys.stderr.write(f"{PROGRESS}{share:.4f} {text}\n")
    sys.stderr.flush()


def listener(say: Say) -> Callable[[str], bool]:
    """What to do with the lines of this program's stderr: progress is passed on to ``say``."""

    def hear(line: str) -> bool:
        if not line.startswith(PROGRESS):
            return False
        share, _, text = line.removeprefix(PROGRESS).partition(" ")
        say(text, float(share))
        return True

    return hear
