"""How long two recipes take to an accuracy on val: python -m benchmarks.time_to_accuracy --data D.

Each recipe is trained by a process of its own, ``edgecell train --stop-at ACCURACY``, ours before and
after the other, so that a drift of the machine shows. What counts is the time from the first image read
to the epoch that reached the accuracy, evaluating on val included; starting Python is not. With
``--at-most 12`` the other one is stopped after twelve times our time, and the ratio is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_json
from edgecell.rundir import RunDir

OURS = "fast-mobilenetv2"
THEIRS = "seed-mobilenetv2-bloodmnist"
ACCURACY = 0.9374
"""What the MobileNetV2 project publishes for BloodMNIST's test split."""


@dataclass(frozen=True)
class Timing:
    """One training: did it get there, in how many epochs and seconds, to what."""

    recipe: str
    reached: bool
    val_accuracy: float
    epochs: int
    seconds: float


def measure(
    recipe: str, accuracy: float, flags: list[str], folder: Path, limit: float | None = None
) -> Timing:
    """Train ``recipe`` in a child process until ``accuracy`` on val, to its end, or for ``limit`` seconds.

    Raises:
        SystemExit: the training failed; its own message is on stderr.
    """
    command = [sys.executable, "-m", "edgecell", "train", "--recipe", recipe]
    command += ["--stop-at", str(accuracy), "--output", str(folder), *flags]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return stopped(
            recipe, accuracy, _finished_epochs(folder / "train" / "state" / "state.json")
        )
    if done.returncode:
        sys.exit(f"training {recipe} failed with exit code {done.returncode}")
    return read(recipe, accuracy, RunDir(folder).read_record("train")["results"])


def stopped(recipe: str, accuracy: float, history: list[dict[str, Any]]) -> Timing:
    """What the epochs say that a training had finished when it was stopped."""
    best = max((float(each["val_accuracy"]) for each in history), default=0.0)
    seconds = sum(float(each["seconds"]) for each in history)
    return Timing(recipe, best >= accuracy, best, len(history), seconds)


def _finished_epochs(state: Path) -> list[dict[str, Any]]:
    """What a training that did not end keeps to go on from; none before its first epoch ended."""
    if not state.is_file():
        return []
    history: list[dict[str, Any]] = json.loads(state.read_text("utf-8"))["progression"]["history"]
    return history


def read(recipe: str, accuracy: float, results: dict[str, Any]) -> Timing:
    """What a train record says of the race."""
    best = float(results["val_accuracy"]["value"])
    return Timing(
        recipe, best >= accuracy, best, int(results["epochs"]), float(results["process_seconds"])
    )


def ratio(ours: list[Timing], theirs: Timing) -> tuple[float, float] | None:
    """Their seconds over ours, by our slowest and our fastest round; None where ours failed.

    Where theirs ended without getting there, the ratio is what they took at least.
    """
    if not all(each.reached for each in ours):
        return None
    seconds = [each.seconds for each in ours]
    return theirs.seconds / max(seconds), theirs.seconds / min(seconds)


def table(timings: list[Timing]) -> str:
    """Markdown, one row per training in the order they ran."""
    rows = [
        "| recipe | reached | val accuracy | epochs | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in timings:
        reached = "yes" if each.reached else "no"
        rows.append(
            f"| {each.recipe} | {reached} | {each.val_accuracy:.4f} | {each.epochs}"
            f" | {each.seconds:.0f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Train in turn, print the table and the ratio, write both as JSON with --output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="as edgecell train takes it")
    parser.add_argument("--weights", default="imagenet", help="the backbone's, for both recipes")
    parser.add_argument("--accuracy", type=float, default=ACCURACY)
    parser.add_argument("--ours", default=OURS, help="a recipe's name or path")
    parser.add_argument("--theirs", default=THEIRS, help="a recipe's name or path")
    parser.add_argument("--flag", action="append", default=[], help="a flag for both trainings")
    parser.add_argument("--at-most", type=float, help="stop theirs after so many times our seconds")
    parser.add_argument("--output", type=Path, help="a .json file")
    arguments = parser.parse_args()
    flags = ["--data", arguments.data, "--weights", arguments.weights, *arguments.flag]
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as scratch:
        for position, recipe in enumerate((arguments.ours, arguments.theirs, arguments.ours)):
            folder = Path(scratch) / str(position)
            theirs = position == 1
            limit = arguments.at_most * timings[0].seconds if theirs and arguments.at_most else None
            timings.append(measure(recipe, arguments.accuracy, flags, folder, limit))
            sys.stderr.write(f"{timings[-1]}\n")
    found = ratio([timings[0], timings[2]], timings[1])
    sys.stdout.write(table(timings) + "\n")
    if found is None:
        sys.stdout.write(f"{arguments.ours} did not reach {arguments.accuracy}: no ratio\n")
    else:
        least = "" if timings[1].reached else "at least "
        sys.stdout.write(
            f"{arguments.theirs} takes {least}{found[0]:.1f} to {found[1]:.1f} times as long to"
            f" {arguments.accuracy} on val\n"
        )
    if arguments.output:
        rounds = [asdict(each) for each in timings]
        atomic_write_json(
            arguments.output,
            {
                "accuracy": arguments.accuracy,
                "ratio": found,
                "rounds": json.loads(json.dumps(rounds)),
            },
        )


if __name__ == "__main__":
    main()
