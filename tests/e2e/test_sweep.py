"""``edgecell sweep`` with real trainings: alone, killed, interrupted, beside another."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys_labels
from easy import LENIENT, QUICK, Result, Run
from sklearn.metrics import roc_auc_score

from edgecell.rundir import RunDir
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL
from edgecell.tuning.claims import Claims
from edgecell.tuning.storage import Storage

TINY = [
    *("--model", "simple_cnn", "--weights", "none", "--head-epochs", "0", "--batch-size", "24"),
    *("--calibration-images", "32", "--max-accuracy-drop", "0.3", "--max-f1-drop", "0.5"),
    *("--runs", "10", "--seconds", "0"),
]


def results(folder: Path) -> dict[str, Any]:
    """The record's, whose files are those on the disk."""
    found: dict[str, Any] = RunDir(folder).check_outputs("sweep")["results"]
    return found


def oracle(cells: list[dict[str, Any]], score: str = "macro_f1") -> set[str]:
    """The names on the front, pair by pair."""
    able = [cell for cell in cells if cell["passed"]]

    def costs(cell: dict[str, Any]) -> tuple[float, ...]:
        return (-cell[score]["value"], cell["size"]["value"], cell["p50"]["value"])

    def beaten(cell: dict[str, Any]) -> bool:
        mine = costs(cell)
        others = [costs(other) for other in able]
        return any(o != mine and all(a <= b for a, b in zip(o, mine, strict=True)) for o in others)

    return {cell["name"] for cell in able if not beaten(cell)}


def test_a_sweep_finds_the_file_to_ship_and_does_nothing_twice(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    base = ["sweep", "--data", easy_npz, *TINY, "--epochs", "3", "--output", folder]
    base += ["--image-size", "28", "--precision", "float16,int8"]

    def call(*more: object) -> Result:
        return edgecell(*base, *more)

    first = call()
    assert first.code == 0, first.err
    assert "sweep: 2 cells, 1 trainings, 0 of them done" in first.err
    assert "no limits given: nothing chosen, test not looked at" in first.out
    found = results(folder)
    float16, int8 = found["cells"]
    assert [cell["name"] for cell in found["cells"]] == [
        "simple_cnn-28-float16",
        "simple_cnn-28-int8",
    ]
    assert found["answer"] is None and found["reference"] == "simple_cnn-28-float16"
    assert set(found["front"]) == oracle(found["cells"])
    assert float16["ratio"]["value"] == 1.0 and float16["alpha"] is None
    network = RunDir(folder / "networks" / "simple_cnn-28")
    assert not list(network.stage("evaluate").glob("*"))
    for cell in (float16, int8):
        file = folder / cell["file"]
        assert file.stat().st_size == cell["size"]["value"]
    record = RunDir(folder).read_record("sweep")
    assert [key for key in record["inputs"] if key.startswith("data:")] == ["data:easy:val"]
    trained = network.read_record("train")["created"]
    timed = RunDir(folder).read_record("latency")

    # Other limits need no training and no timing; test is looked at for the chosen file alone.
    limits = ["--max-bytes", int8["size"]["value"], "--min-f1", "0.4"]
    chosen = call(*limits)
    assert chosen.code == 0, chosen.err
    assert "1 trainings, 1 of them done" in chosen.err and "latency: unchanged" in chosen.err
    assert f"next: edgecell bundle {folder / int8['file']}" in chosen.out
    answer = results(folder)["answer"]
    assert answer["cell"] == int8["name"] and answer["test"]["n"] == 36
    assert [p.name for p in network.stage("evaluate").iterdir()] == ["simple_cnn-28-int8-test"]
    missed = call("--max-bytes", 1000)
    assert missed.code == 5
    assert "nearest miss: simple_cnn-28-int8" in missed.out
    assert missed.err.strip().splitlines()[-1].startswith("edgecell: no cell keeps all limits")
    assert results(folder)["answer"]["test"] is None
    assert network.read_record("train")["created"] == trained
    assert RunDir(folder).read_record("latency") == timed

    # A further precision is made from the same training, and all files are timed anew.
    wider = call("--precision", "float16,int8,dynamic", "--json")
    assert wider.code == 0, wider.err
    assert json.loads(wider.out)["results"] == results(folder)
    assert [cell["precision"] for cell in results(folder)["cells"]] == [
        "float16",
        "int8",
        "dynamic",
    ]
    assert network.read_record("train")["created"] == trained
    with (folder / "sweep" / "sweep.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["macro_f1"]) for row in rows] == [
        cell["macro_f1"]["value"] for cell in results(folder)["cells"]
    ]
    assert "The cell to ship" not in (folder / "sweep" / "sweep.html").read_text()
    assert "On the Pareto front" in (folder / "report.html").read_text()

    # A network whose files are gone is made again.
    shutil.rmtree(folder / "networks" / "simple_cnn-28" / "quantize")
    again = call()
    assert again.code == 0, again.err
    assert "0 of them done" in again.err and results(folder)["cells"][0]["state"] == "here"
    assert network.read_record("train")["created"] == trained

    # Other settings are another study.
    refused = call("--weight-decay", "0.03")
    assert refused.code == 2 and "was begun with another recipe" in refused.err


def test_a_sweep_of_several_labels_ships_by_the_mean_auc(edgecell: Run, tmp_path: Path) -> None:
    data, folder = tmp_path / "blobs.npz", tmp_path / "sweep"
    arrays = toys_labels.arrays({"train": 160, "val": 80, "test": 60}, side=28)
    np.savez(data, **arrays)
    base = ["sweep", "--data", data, *TINY, "--max-auc-drop", "0.3", "--max-label-auc-drop", "0.5"]
    base += ["--epochs", "6", "--image-size", "28", "--precision", "float16,int8"]

    def call(*more: object) -> Result:
        return edgecell(*base, "--output", folder, *more)

    refused = call("--min-f1", "0.9")
    assert refused.code == 2 and "can have several of 4 labels" in refused.err
    assert "allowed instead: --min-auc" in refused.err and not folder.exists()

    first = call("--min-auc", "0.51", "--prefer", "bytes")
    assert first.code == 0, first.err
    found = results(folder)
    assert (found["task"], found["by"]) == (MULTI_LABEL, "auc")
    network = RunDir(folder / "networks" / "simple_cnn-28")
    said = {}
    for cell in found["cells"]:
        predictor = TFLitePredictor.open(folder / cell["file"])
        said[cell["name"]] = predictor.predict(arrays["val_images"])
        auc = roc_auc_score(arrays["val_labels"], said[cell["name"]])
        assert cell["auc"]["value"] == pytest.approx(auc, abs=2e-3)
        assert cell["auc"]["low"] < auc < cell["auc"]["high"] and cell["passed"]
    trained = network.read_record("train")
    best = max(cell["auc"]["value"] for cell in found["cells"])
    assert f"simple_cnn-28: done, val mean AUC up to {best:.4f}" in first.err
    float16, int8 = found["cells"]
    assert set(found["front"]) == oracle(found["cells"], "auc")
    with np.load(network.stage("cells") / "answers.npz") as kept:
        assert kept["labels"].tolist() == arrays["val_labels"].tolist()
        assert kept[int8["name"]] == pytest.approx(said[int8["name"]], abs=2e-2)

    # The file that was chosen, and it alone, is looked at on test.
    assert found["answer"]["cell"] == int8["name"]
    assert [p.name for p in network.stage("evaluate").iterdir()] == ["simple_cnn-28-int8-test"]
    predicted = TFLitePredictor.open(folder / int8["file"]).predict(arrays["test_images"])
    auc = roc_auc_score(arrays["test_labels"], predicted)
    assert found["answer"]["test"]["auc"]["value"] == pytest.approx(auc, abs=2e-3)
    assert "on test, n=60: mean AUC" in first.out and "mean AUC at least 0.51" in first.out
    gate = {
        check["name"] for check in network.read_record("verify")["results"]["models"][0]["checks"]
    }
    assert {"mean AUC drop", "AUC drop of each label"} <= gate
    assert "Label accuracy" in (folder / "report.html").read_text("utf-8")
    assert 'id="confusion"' not in (folder / "sweep" / "sweep.html").read_text("utf-8")

    # The same command goes on where it was, and a miss needs no training either.
    missed = call("--min-auc", "0.999")
    assert missed.code == 5 and "1 trainings, 1 of them done" in missed.err
    assert "misses --min-auc" in missed.err and "latency: unchanged" in missed.err
    assert network.read_record("train") == trained


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--alpha", "0.35,0.36"], 2, "'0.36' is not one of '0.35', '0.5'"),
        (["--image-size", "32,28", "--weights", "none"], 2, "mobilenet_v2 takes 32 or more"),
        (["--image-size", "32,x"], 2, "'x' is not a valid integer"),
        (["--model", "mobilnet_v2"], 2, "did you mean mobilenet_v2?"),
        (["--precision", "int4"], 2, "'int4' is not one of"),
        (["--min-f1", "97"], 2, "--min-f1 is 97.0; allowed: more than 0 and less than 1"),
        (["--max-latency-ms", "nan"], 2, "--max-latency-ms is nan; allowed: more than 0"),
        (["--weights", "none", "--min-auc", "0.9"], 2, "allowed instead: --min-f1, --min-accuracy"),
        (["--weights", "gone_{alpha}.h5"], 6, "no weights at gone_0.35.h5"),
        (["--weights", "none", "--jobs", "999"], 2, "--jobs is 999; allowed: 1 to"),
        (["--weights", "none", "--device", "hots"], 2, "did you mean 'host'?"),
        (
            ["--weights", "none", "--storage", "sqlite:////proc/none/s.db"],
            6,
            "cannot open the storage",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    edgecell: Run, easy_npz: Path, tmp_path: Path, flags: list[str], code: int, said: str
) -> None:
    folder = tmp_path / "new"
    refused = edgecell("sweep", "--data", easy_npz, *flags, "--output", folder)
    assert refused.code == code, refused.err
    assert said in refused.err
    assert not folder.exists()


def test_the_folder_of_a_training_is_not_taken_for_a_sweep(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "train").mkdir(parents=True)
    (tmp_path / "run" / "config.toml").write_text("")
    flags = ["--data", easy_npz, "--weights", "none", "--output", tmp_path / "run"]
    refused = edgecell("sweep", *flags)
    assert refused.code == 2 and "holds a 'train'" in refused.err


def test_a_folder_with_the_networks_of_another_study_is_refused(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    folder, storage = tmp_path / "first", tmp_path / "meeting.journal"
    (folder / "networks/x").mkdir(parents=True)
    (folder / "config.toml").write_text("")
    (folder / ".study").write_text('{"study": "a"}')
    Claims(Storage(str(storage), 20), "b", {})
    flags = [*TINY, "--storage", storage, "--study", "b", "--output", folder]
    refused = edgecell("sweep", "--data", easy_npz, *flags)
    assert refused.code == 2 and "holds networks of another study, 'a'" in refused.err


# ------------------------------------------------------------- processes that share a sweep


def start(data: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgecell", "sweep", "--data", str(data)]
    command += ["--output", str(folder), *flags]
    # A background job of a shell ignores Ctrl-C, and what it starts inherits that; not so a handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(worker: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, said = worker.communicate(timeout=3000)
    assert worker.returncode == code, said
    return out, said


def wait_for(pattern: str, folder: Path, worker: subprocess.Popen[str]) -> None:
    for _ in range(30_000):
        if next(folder.glob(pattern), None) is not None:
            return
        assert worker.poll() is None, worker.communicate()[1]
        time.sleep(0.1)
    raise AssertionError(f"{pattern} did not come")


def made_in(said: str) -> list[str]:
    """The networks that a process, or one of its workers, says it made."""
    lines = [line for line in said.splitlines() if ": done, val macro-F1" in line]
    return [line.split(": done")[0].split(": ")[-1] for line in lines]


def claims(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Network → the trials of the study that finished it, as the tool that keeps it reads them."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    [summary] = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(storage=storage, study_name=summary.study_name)
    found: dict[str, list[dict[str, Any]]] = {}
    for trial in study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)):
        found.setdefault(trial.user_attrs["task"]["network"], []).append(trial.user_attrs)
    return found


@pytest.mark.slow
def test_another_machine_lists_what_was_made_elsewhere_and_times_it_once_it_has_the_files(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    flags = ["sweep", "--data", easy_npz, *TINY, "--epochs", "2", "--image-size", "28"]
    flags += ["--precision", "int8", "--storage", tmp_path / "meeting.journal", "--output"]
    made = edgecell(*flags, first)
    assert made.code == 0, made.err
    listed = edgecell(*flags, second)
    assert listed.code == 0, listed.err
    assert "1 trainings, 1 of them done" in listed.err
    [cell], [there] = results(second)["cells"], results(first)["cells"]
    assert (cell["state"], cell["file"]) == ("elsewhere", None)
    assert cell["macro_f1"] == there["macro_f1"] and cell["size"] == there["size"]
    assert "made on another machine" in cell["p50"]["reason"]
    assert "simple_cnn-28: made on another machine, without times" in listed.out
    nothing = edgecell(*flags, second, "--min-f1", "0.1")
    assert nothing.code == 5 and "no cell to ship" in nothing.err
    shutil.copytree(first / "networks", second / "networks")
    timed = edgecell(*flags, second)
    assert timed.code == 0, timed.err
    [cell] = results(second)["cells"]
    assert cell["state"] == "here" and "value" in cell["p50"] and cell["sha256"] == there["sha256"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_share_the_networks_and_make_none_twice(
    easy_npz: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    flags = [*TINY, "--epochs", "4", "--image-size", "28,32,36,40", "--precision", "float16"]
    workers = [start(easy_npz, folder, *flags) for _ in range(2)]
    told = [finish(worker) for worker in workers]
    made = [made_in(said) for _, said in told]
    networks = [f"simple_cnn-{side}" for side in (28, 32, 36, 40)]
    assert sorted(made[0] + made[1]) == networks
    assert made[0] and made[1]
    found = claims(folder)
    assert sorted(found) == networks and {len(trials) for trials in found.values()} == {1}
    by_worker = [{found[name][0]["worker"] for name in names} for names in made]
    assert [len(names) for names in by_worker] == [1, 1] and by_worker[0] != by_worker[1]
    assert all(
        entry["worker"] in by_worker[0] | by_worker[1]
        for entry in results(folder)["workers"].values()
    )
    # Both show the same table of all cells, timed once.
    assert sum("timing" in said or "latency: unchanged" in said for _, said in told) >= 1
    for out, _ in told:
        assert all(f"{name}-float16" in out for name in networks)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_interrupted_sweep_goes_on_where_it_was(easy_npz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    flags = [*TINY, "--epochs", "40", "--image-size", "28,32", "--precision", "float16"]
    worker = start(easy_npz, folder, *flags)
    wait_for("networks/simple_cnn-32/train/state/state.json", folder, worker)
    os.kill(worker.pid, signal.SIGINT)
    _, said = finish(worker, code=130)
    assert said.strip().splitlines()[-1].startswith("edgecell: interrupted; the same command")
    first = (folder / "networks" / "simple_cnn-28" / "cells" / "record.json").read_bytes()
    _, said = finish(start(easy_npz, folder, *flags))
    assert made_in(said) == ["simple_cnn-32"]
    assert "simple_cnn-32: going on after epoch" in said
    assert (folder / "networks" / "simple_cnn-28" / "cells" / "record.json").read_bytes() == first
    assert {len(trials) for trials in claims(folder).values()} == {1}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_3_by_3_by_3_sweep_survives_kill_9_and_picks_the_right_cell(
    edgecell: Run, easy_npz: Path, tmp_path: Path
) -> None:
    """Nine MobileNetV2 on a part of the images, two at a time; the command is killed and given again."""
    folder = tmp_path / "sweep"
    alphas, sides, precisions = (
        ("0.35", "0.5", "0.75"),
        ("32", "40", "48"),
        ("float16", "dynamic", "int8"),
    )
    # 119 steps, after which every width at every size tells the three colours apart. A network that says
    # one class for everything is refused by verify with all its files, and there is nothing to choose.
    flags = [
        *("--alpha", ",".join(alphas), "--image-size", ",".join(sides)),
        *("--precision", ",".join(precisions), "--limit", "200"),
        *("--weights", "none", "--head-epochs", "0", "--epochs", "7", "--batch-size", "12"),
        *("--learning-rate", "2e-3", "--batchnorm-momentum", "0.7", "--calibration-images", "32"),
        *(*LENIENT, *QUICK, "--jobs", str(min(2, os.cpu_count() or 1))),
    ]
    worker = start(easy_npz, folder, *flags)
    wait_for("networks/*/cells/record.json", folder, worker)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    before = {path: path.read_bytes() for path in folder.glob("networks/*/cells/record.json")}
    _, said = finish(start(easy_npz, folder, *flags))
    assert all(path.read_bytes() == data for path, data in before.items())
    networks = [f"mobilenet_v2-{a}-{s}" for a, s in product(alphas, sides)]
    # One that was finished just before the kill, without its trial being told, is looked through again.
    assert set(networks) - {path.parts[-3] for path in before} <= set(made_in(said))
    assert len(made_in(said)) == len(set(made_in(said)))
    found = results(folder)
    names = [f"{n}-{p}" for n, p in product(networks, precisions)]
    assert [cell["name"] for cell in found["cells"]] == names
    assert {len(trials) for trials in claims(folder).values()} == {1}
    assert sorted(claims(folder)) == sorted(networks)
    assert set(found["front"]) == oracle(found["cells"])
    assert all("value" in cell["p50"] and cell["p50"]["n"] >= 10 for cell in found["cells"])

    # Limits in the middle of what was found; the answer is the one that a reader of the table finds.
    able = [cell for cell in found["cells"] if cell["passed"]]
    assert {cell["network"] for cell in able} == set(networks)
    assert {cell["precision"] for cell in able} == set(precisions)
    most = int(np.median([cell["size"]["value"] for cell in able]))
    small = [cell for cell in able if cell["size"]["value"] <= most]
    slowest = float(np.median([cell["p50"]["value"] for cell in small]))
    fitting = [cell for cell in small if cell["p50"]["value"] <= slowest]
    assert 1 < len(fitting) < len(small) < len(able)
    again = ["sweep", "--data", easy_npz, "--output", folder, *flags]
    kept = edgecell(*again, "--max-bytes", most, "--max-latency-ms", slowest)
    assert kept.code == 0, kept.err
    assert "9 trainings, 9 of them done" in kept.err and "latency: unchanged" in kept.err
    answer = results(folder)["answer"]
    assert answer["meeting"] == len(fitting) and answer["eligible"] == len(able)

    def rank(cell: dict[str, Any]) -> tuple[float, ...]:
        return (-cell["macro_f1"]["value"], cell["size"]["value"], cell["p50"]["value"])

    assert answer["cell"] == min(fitting, key=rank)["name"]
    looked = [path.parent.name for path in folder.glob("networks/*/evaluate/*-test/record.json")]
    assert looked == [f"{answer['cell']}-test"]
    missed = edgecell(*again, "--max-bytes", 1000, "--min-f1", 0.999)
    assert missed.code == 5, missed.err
    miss = results(folder)["answer"]

    def distance(cell: dict[str, Any]) -> float:
        return max(cell["size"]["value"] / 1000, (1 - cell["macro_f1"]["value"]) / 0.001) - 1

    nearest = min(distance(cell) for cell in able)
    assert miss["distance"] == pytest.approx(nearest, rel=1e-9)
    assert distance(next(c for c in able if c["name"] == miss["cell"])) == pytest.approx(nearest)
