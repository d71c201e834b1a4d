"""The command line of the fuzzer: one kind, or all of them one after the other.

Exit code 1 where an input crashed the program, hung it, filled the memory, or was taken although its
recorded hash is another one. Such inputs are kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from . import harness
from .kinds import KINDS, PLANTED, Planted


def main() -> int:
    """Fuzz, print progress to stderr and results as JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=[*KINDS, PLANTED, "all"], default="all")
    parser.add_argument("--count", type=int, default=300, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="index of the first input")
    parser.add_argument("--hang-seconds", type=float, default=harness.HANG_SECONDS)
    parser.add_argument("--memory-mb", type=int, default=harness.MEMORY // 1_000_000)
    parser.add_argument("--folder", type=Path, help="where findings are kept")
    parser.add_argument("--json", type=Path, help="also write the results here")
    given = parser.parse_args()
    results = []
    for name in KINDS if given.kind == "all" else [given.kind]:
        base = given.folder or Path(tempfile.mkdtemp(prefix="edgecell-fuzz-"))
        folder = base / name
        folder.mkdir(parents=True, exist_ok=True)
        kind = Planted() if name == PLANTED else KINDS[name]()
        kind.prepare(folder)
        shown = time.monotonic()

        def progress(tally: harness.Tally) -> None:
            nonlocal shown
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                bad = f"{len(tally.crashes)} crashes, {len(tally.hangs)} hangs"
                sys.stderr.write(
                    f"{tally.kind}: {tally.tried} tried, {tally.accepted} taken, {bad}\n"
                )
                sys.stderr.flush()

        tally = harness.run(
            kind,
            given.count,
            given.seed,
            folder,
            first=given.first,
            hang_seconds=given.hang_seconds,
            memory=given.memory_mb * 1_000_000,
            progress=progress,
        )
        results.append(tally)
        sys.stdout.write(json.dumps(tally.to_json(), indent=1) + "\n")
        sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps([tally.to_json() for tally in results], indent=1) + "\n")
    return 0 if all(tally.clean for tally in results) else 1


if __name__ == "__main__":
    sys.exit(main())
