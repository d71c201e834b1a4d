"""A training killed at any moment goes on, and ends with the weights of one that was never killed.

One small training of two stages with everything that has a state of its own: BatchNorm, dropout, a
weight average, the optimizer, a schedule, mixing. It is killed twenty times with SIGKILL, half of
them at a random second, half at a random access to a file of the run: those land in the writing
of the state, of the model and of the record, which a random second hardly ever meets.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.models.registry import HEAD, build_model
from edgecell.rundir import RunDir

KILLS = 20
EPOCHS = {"head": 2, "fine-tune": 8}

# Counts what the training does to files under its run folder and dies at the n-th.
RUNNER = """
import os, signal, sys

run, left = sys.argv.pop(1), int(sys.argv.pop(1))

def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        if any(isinstance(a, str) and a.startswith(run) for a in map(os.fsdecode, filter(
            lambda a: isinstance(a, (str, bytes, os.PathLike)), arguments
        ))):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
from edgecell.cli import main
main()
"""


@pytest.fixture(scope="module")
def flags(easy_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The training; with weights to start from, so that there is a frozen stage before the other."""
    network = build_model(ModelConfig("deeper_cnn", image_size=32, weights="none"), 3, 0.9)
    path = tmp_path_factory.mktemp("weights") / "deeper_cnn.h5"
    keras.Model(network.input, network.get_layer(HEAD[0]).input).save_weights(path)
    return [
        *("--data", str(easy_npz), "--limit", "96", "--model", "deeper_cnn", "--image-size", "32"),
        *("--weights", str(path), "--head-epochs", str(EPOCHS["head"])),
        *("--epochs", str(EPOCHS["fine-tune"]), "--batch-size", "24", "--deterministic"),
        *("--dropout", "0.3", "--ema", "0.9", "--mixup", "0.2", "--learning-rate", "3e-3"),
    ]


def command(run: Path, words: list[str], accesses: int = 0) -> list[str]:
    """``edgecell train`` that dies at its n-th access to a file of the run; 0: never."""
    return [sys.executable, "-c", RUNNER, str(run), str(accesses), "train", *words]


def complete(run: Path, words: list[str]) -> str:
    """Train to the end; what was said on stderr."""
    done = subprocess.run(
        command(run, words), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def next_words(run: Path, flags: list[str]) -> list[str]:
    """What a user types next: --resume, or the first command again where it had not begun."""
    begun = (run / "config.toml").is_file()
    return ["--resume", str(run)] if begun else [*flags, "--output", str(run)]


def outcome(run: Path) -> tuple[list[np.ndarray], list[dict]]:
    """The weights of the finished model, and its history but for the times."""
    RunDir(run).check_outputs("train")
    model = keras.models.load_model(run / "train" / "model.keras", compile=False)
    history = json.loads((run / "train" / "history.json").read_text())
    return model.get_weights(), [{k: v for k, v in e.items() if k != "seconds"} for e in history]


def phase(run: Path) -> str:
    """Where a killed training stood, from what it left."""
    train = run / "train"
    if (train / "record.json").is_file():
        return "finished"
    if (train / "state" / "state.json").is_file():
        done = json.loads((train / "state" / "state.json").read_text())["progression"]
        whole = done["epochs_done"] == sum(EPOCHS.values())
        return "all epochs" if whole else f"epoch {done['epochs_done']}"
    return "no epoch" if (run / "config.toml").is_file() else "nothing"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_and_the_weights_are_the_same(flags: list[str], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    begun = time.monotonic()
    complete(whole, [*flags, "--output", str(whole)])
    duration = time.monotonic() - begun
    weights, history = outcome(whole)
    assert [entry["stage"] for entry in history] == [s for s, n in EPOCHS.items() for _ in range(n)]
    assert len({entry["val_loss"] for entry in history}) > 5  # it moved, so there is much to lose

    random_moment = random.Random(7)
    killed_in: list[str] = []
    runs = 0
    while len(killed_in) < KILLS:
        run, runs, complete_now = tmp_path / f"killed-{runs}", runs + 1, False
        while len(killed_in) < KILLS and not complete_now:
            by_access = len(killed_in) % 2 == 0
            worker = subprocess.Popen(
                command(run, next_words(run, flags), random_moment.randint(1, 60) * by_access),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                worker.wait(300 if by_access else random_moment.uniform(0, duration))
            except subprocess.TimeoutExpired:
                worker.kill()
            _, said = worker.communicate()
            complete_now = worker.returncode == 0  # came to its end before its moment
            if not complete_now:
                assert worker.returncode == -signal.SIGKILL, said
                killed_in.append(phase(run))
        if not complete_now:
            complete(run, next_words(run, flags))
        again, told = outcome(run)
        assert told == history, killed_in
        for one, other in zip(weights, again, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(killed_in))
        assert not list(run.rglob(".*")) and not (run / "train" / "state").exists()
    # The moments were all over the training, not all in its beginning.
    assert len(set(killed_in)) >= 5, killed_in
