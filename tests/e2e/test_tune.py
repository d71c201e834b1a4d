"""``edgecell tune`` with real trainings of a small CNN, alone, beside another, killed, interrupted."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toys_labels
from easy import Run
from sklearn.metrics import roc_auc_score

from edgecell.config import DataConfig
from edgecell.config_file import load_config
from edgecell.data import load_dataset, materialize
from edgecell.preprocess import PreprocessSpec
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor
from edgecell.tuning.space import default_space_text

SPACE = """[space]
"train.learning_rate" = {low = 1e-4, high = 1e-1, log = true}
"model.dropout" = {low = 0.0, high = 0.4, step = 0.1}
"""
SPEC = PreprocessSpec(28, 28, "stretch")
SMALL = [
    *("--model", "simple_cnn", "--image-size", "28", "--weights", "none", "--head-epochs", "0"),
    *("--batch-size", "24", "--limit", "96", "--deterministic"),
]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


def trials(folder: Path) -> list[dict]:
    found: list[dict] = json.loads((folder / "tune" / "trials.json").read_text())["trials"]
    return found


def states(folder: Path) -> list[str]:
    return [trial["state"] for trial in trials(folder)]


def test_a_search_leaves_tables_a_report_and_a_recipe(
    edgecell: Run, easy_npz: Path, space: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    flags = ["tune", space, "--data", easy_npz, *SMALL, "--epochs", "2", "--output", folder]
    done = edgecell(*flags, "--trials", "2")
    assert done.code == 0, done.err
    assert states(folder) == ["finished"] * 2
    # The recipe's own values come first.
    assert trials(folder)[0]["values"] == {"train.learning_rate": 2e-3, "model.dropout": 0.2}
    record = RunDir(folder).check_outputs("tune")
    assert {Path(name).name for name in record["outputs"]} == {
        *("trials.json", "trials.csv", "best.toml"),
        *("history.png", "epochs.png", "slice.png", "parallel.png"),
    }
    assert record["results"]["counts"]["finished"] == 2
    assert "data:easy:test" not in record["inputs"] and "data:easy:val" in record["inputs"]

    best = record["results"]["best"]
    recipe = load_config(folder / "tune" / "best.toml")
    assert recipe.train.learning_rate == best["values"]["train.learning_rate"]
    assert recipe.model.dropout == best["values"]["model.dropout"]
    assert recipe.expected == {"val_accuracy": best["score"]["value"]}
    header = (folder / "tune" / "best.toml").read_text().splitlines()[:2]
    assert f"trial {best['number']}, the best of 2 on val" in header[0]
    assert f"{best['score']['value']:.4f}" in header[1]
    assert f"edgecell train --recipe {folder / 'tune' / 'best.toml'}" in done.out

    own = json.loads((folder / "trials" / "0001" / "trial.json").read_text())
    assert own == trials(folder)[1]
    trained = RunDir(folder / "trials" / "0001").check_outputs("train")
    assert trained["results"]["val_accuracy"]["value"] == own["score"]["value"]
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Search for settings" in html and "train.learning_rate" in html
    with (folder / "tune" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["val_accuracy"]) for row in rows] == [
        trial["score"]["value"] for trial in trials(folder)
    ]

    # The same command goes on; here there is nothing left, and a third trial when asked for.
    again = edgecell(*flags, "--trials", "2")
    assert again.code == 0, again.err
    assert "trial 2" not in again.err
    more = edgecell(*flags, "--trials", "3")
    assert more.code == 0, more.err
    assert states(folder) == ["finished"] * 3

    # Other settings are another study.
    refused = edgecell(*flags, "--trials", "3", "--weight-decay", "0.03")
    assert refused.code == 2
    assert "was begun with another recipe" in refused.err
    # The recipe is one that train takes; with the same seed it gives the trial's figure again.
    repeated = edgecell(
        *("train", "--recipe", folder / "tune" / "best.toml", "--output", tmp_path / "again")
    )
    assert repeated.code == 0, repeated.err
    best = RunDir(folder).read_record("tune")["results"]["best"]
    train = RunDir(tmp_path / "again").read_record("train")["results"]
    assert train["val_accuracy"]["value"] == best["score"]["value"]


def test_several_labels_are_searched_by_their_mean_auc(
    edgecell: Run, space: Path, tmp_path: Path
) -> None:
    arrays = toys_labels.arrays({"train": 96, "val": 60, "test": 24})
    np.savez(tmp_path / "blobs.npz", **arrays)
    folder = tmp_path / "search"
    flags = ("--data", tmp_path / "blobs.npz", *SMALL, "--epochs", "2", "--trials", "2")
    done = edgecell("tune", space, *flags, "--output", folder)
    assert done.code == 0, done.err
    assert "mean AUC" in done.out and "accuracy" not in done.out
    for trial in trials(folder):
        # What chose the trial is what scikit-learn makes of the model that the trial kept.
        kept = folder / "trials" / f"{trial['number']:04d}" / "train" / "model.keras"
        model = KerasPredictor(kept)
        images = materialize(load_dataset(DataConfig(source=str(tmp_path / "blobs.npz"))).val, SPEC)
        expected = roc_auc_score(arrays["val_labels"], model.predict(images))
        assert trial["score"]["value"] == pytest.approx(expected, abs=1e-6)
        assert trial["epochs"][str(trial["best_epoch"])] == max(trial["epochs"].values())
    best = max(trials(folder), key=lambda trial: trial["score"]["value"])
    recipe = load_config(folder / "tune" / "best.toml")
    assert recipe.expected == {"val_auc": best["score"]["value"]}
    assert recipe.train.learning_rate == best["values"]["train.learning_rate"]
    assert "Best val mean AUC" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_trial_that_diverges_or_cannot_be_is_given_up_and_says_why(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    space = tmp_path / "space.toml"
    space.write_text('[space]\n"train.learning_rate" = [1e-3, 10.0]\n"model.alpha" = [0.35, 0.5]\n')
    folder = tmp_path / "search"
    done = edgecell(
        *("tune", space, "--data", easy_npz, *SMALL, "--epochs", "1", "--output", folder),
        *("--optimizer", "sgd", "--momentum", "0.99", "--trials", "12", "--sampler", "random"),
    )
    assert done.code == 0, done.err
    reasons = {
        (t["values"]["train.learning_rate"], t["values"]["model.alpha"]): t.get("reason", "")
        for t in reversed(trials(folder))  # the first of equals
    }
    assert reasons[10.0, 0.35] == "the loss is no longer finite"
    assert "not allowed together: model.alpha is 0.5" in reasons[1e-3, 0.5]
    assert reasons[1e-3, 0.35] == ""
    assert not list(folder.glob("trials/*/train/state/*"))


def test_bad_input_is_refused_before_anything_is_written(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    space = tmp_path / "space.toml"
    for line, said in (
        ('"train.learning_rat" = [1e-3, 1e-2]', "did you mean 'train.learning_rate'?"),
        ('"train.learning_rate" = {low = 1e-3, high = 20.0}', "allowed: 1e-08 to 10.0"),
        ('"model.name" = ["mobilenet_v2", "mobilnet"]', "unknown model 'mobilnet' in the space"),
        ('"model.weights" = ["none", "gone.h5"]', "no weights file at gone.h5"),
    ):
        space.write_text(f"[space]\n{line}\n")
        refused = edgecell("tune", space, "--data", easy_npz, "--output", tmp_path / "new")
        assert refused.code in (2, 6), line
        assert said in refused.err
        assert refused.err.count("\n") == 1
        assert not (tmp_path / "new").exists()
    gone = edgecell("tune", tmp_path / "gone.toml", "--data", easy_npz)
    assert gone.code == 2 and "cannot read the search space" in gone.err


def test_the_default_space_can_be_printed(edgecell: Run) -> None:
    shown = edgecell("tune", "--print-space")
    assert shown.code == 0
    assert shown.out.strip() == default_space_text().strip()


def test_the_folder_of_a_training_is_not_taken_for_a_search(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "train").mkdir(parents=True)
    (tmp_path / "run" / "config.toml").write_text("")
    refused = edgecell("tune", "--data", easy_npz, "--output", tmp_path / "run")
    assert refused.code == 2
    assert "holds a training" in refused.err


# ------------------------------------------------------------- processes that share a study


def start(space: Path, data: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgecell", "tune", str(space), "--data", str(data)]
    command += [*SMALL, "--output", str(folder), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(worker: subprocess.Popen[str]) -> str:
    """What a worker that ended well wrote to stderr."""
    _, said = worker.communicate(timeout=500)
    assert worker.returncode == 0, said
    return said


def trained_in(said: str) -> list[int]:
    """The numbers of the trials that a worker says it finished."""
    lines = [line for line in said.splitlines() if ": finished, " in line]
    return [int(line.split(":")[0].removeprefix("trial ")) for line in lines]


def wait_for(path: Path, worker: subprocess.Popen[str]) -> None:
    for _ in range(3000):
        if path.exists():
            return
        assert worker.poll() is None, worker.communicate()[1]
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_two_processes_make_n_trials_in_all_and_none_twice(
    space: Path, easy_npz: Path, tmp_path: Path, storage: str
) -> None:
    folder, url = tmp_path / "search", tmp_path / "meeting-place"
    where = f"sqlite:///{url}" if storage == "sqlite" else str(url)
    flags = ["--epochs", "2", "--trials", "6", "--storage", where]
    workers = [start(space, easy_npz, folder, *flags) for _ in range(2)]
    made = [trained_in(finish(worker)) for worker in workers]
    assert sorted(made[0] + made[1]) == list(range(6))
    assert states(folder) == ["finished"] * 6
    assert len({tuple(trial["values"].values()) for trial in trials(folder)}) == 6
    record = RunDir(folder).check_outputs("tune")  # its hashes are those of the files there now
    assert record["results"]["storage"] == storage
    assert len(list(folder.glob("trials/*/trial.json"))) == 6


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_that_is_killed_or_interrupted_loses_no_trial(
    space: Path, easy_npz: Path, tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "search"
    flags = ["--epochs", "12", "--trials", "2", "--pruner", "none", "--heartbeat", "2"]
    worker = start(space, easy_npz, folder, *flags)
    wait_for(folder / "trials" / "0000" / "train" / "state" / "state.json", worker)
    os.kill(worker.pid, how)
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[how], said
    if how == signal.SIGINT:
        assert said.strip().splitlines()[-1].startswith("edgecell: interrupted; the same command")
    said = finish(start(space, easy_npz, folder, *flags))
    assert sorted(states(folder)) == ["broken off", "finished", "finished"]
    broken = trials(folder)[0]
    (again,) = [trial for trial in trials(folder) if trial.get("another_attempt_at") == 0]
    assert broken["state"] == "broken off" and again["state"] == "finished"
    assert again["values"] == broken["values"]
    # It went on where the broken one was, and knows the figures of its first epochs.
    assert f"trial {again['number']}: going on after epoch" in said
    assert [int(epoch) for epoch in again["epochs"]] == list(range(1, 13))
    assert broken["epochs"].items() <= again["epochs"].items()
