"""``edgecell quantize --prune --cluster``: what they write, record and show, and which calls are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from easy import LENIENT, QUICK, Run

from edgecell.packing import deflated_bytes, summary
from edgecell.rundir import RunDir
from edgecell.tflite_file import read

PRUNE = ["--prune", "0.5", "--prune-epochs", "1", "--prune-batch-size", "24"]
CLUSTER = ["--cluster", "16", "--cluster-epochs", "1", "--cluster-batch-size", "24"]
QAT = ["--qat", "--qat-epochs", "1", "--qat-batch-size", "24"]


def entries(run: Path) -> dict[str, dict]:
    """The record's entries by what their file name ends in, behind the model's own."""
    models = RunDir(run).read_record("quantize")["results"]["models"]
    return {Path(each["file"]).stem.split("-32-", 1)[1]: each for each in models}


def test_pruned_files_are_written_shown_verified_and_benched(edgecell: Run, run_copy: Path) -> None:
    done = edgecell("quantize", run_copy, *PRUNE, "--float32", "--int8")
    assert done.code == 0, done.err
    assert "-int8-pruned0.5.tflite" in done.out and "most values" in done.out
    found = entries(run_copy)
    assert {"float32", "float16", "int8", "float32-pruned0.5", "int8-pruned0.5"} == set(found)
    for precision in ("float32", "int8"):
        slim, plain = found[f"{precision}-pruned0.5"], found[precision]
        path = run_copy / "quantize" / slim["file"]
        assert slim["packed_bytes"] == deflated_bytes(path.read_bytes()) < plain["packed_bytes"]
        assert slim["weights"] == json.loads(json.dumps(summary(read(path))))
        assert slim["weights"]["kernels"]["least_sparsity"] >= 0.5 and slim["audit"]["passed"]
        assert slim["prune"]["settings"]["sparsity"] == 0.5 and slim["prune"]["sparsity"] >= 0.5
    outputs = set(RunDir(run_copy).check_outputs("quantize")["outputs"])
    assert {"quantize/pruned0.5.png", "quantize/pruned0.5-history.json"} <= outputs
    assert "quantize/sizes.png" in outputs
    report = (run_copy / "report.html").read_text(encoding="utf-8")
    assert "Pruned and clustered" in report and "Packed, saved" in report

    # The state is kept: another precision needs no training. The file of before stays.
    again = edgecell("quantize", run_copy, *PRUNE, "--float16")
    assert again.code == 0, again.err
    assert "going on after epoch 1" in again.err and "epoch 1/1" not in again.err
    assert {"int8-pruned0.5", "float16-pruned0.5"} <= set(entries(run_copy))
    # Another pruning replaces the model: files of the one before are files of no model any more.
    other = edgecell("quantize", run_copy, *PRUNE, "--prune-learning-rate", "1e-4", "--float16")
    assert other.code == 0, other.err
    assert "float16-pruned0.5" in entries(run_copy)
    assert "int8-pruned0.5" not in entries(run_copy) and "int8" in entries(run_copy)

    easy = ["--max-accuracy-drop", "1", "--max-f1-drop", "1", *LENIENT[4:]]
    assert edgecell("verify", run_copy, *easy).code == 0
    file = run_copy / "quantize" / entries(run_copy)["float16-pruned0.5"]["file"]
    assert edgecell("bench", "--model", file, *QUICK).code == 0
    assert "float16-pruned0.5" in (run_copy / "report.html").read_text(encoding="utf-8")


def test_entries_of_older_records_get_what_they_lack(edgecell: Run, run_copy: Path) -> None:
    path = run_copy / "quantize" / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for entry in record["results"]["models"]:
        del entry["packed_bytes"]
        if entry["precision"] == "int8":  # as if it came from --qat, whose table was removed since
            entry["method"] = "qat"
    path.write_text(json.dumps(record), encoding="utf-8")
    (run_copy / "quantize" / "qat.png").write_bytes(
        (run_copy / "quantize" / "sizes.png").read_bytes()
    )
    done = edgecell("quantize", run_copy, "--float16")
    assert done.code == 0, done.err
    found = entries(run_copy)
    for entry in found.values():
        data = (run_copy / "quantize" / entry["file"]).read_bytes()
        assert entry["packed_bytes"] == deflated_bytes(data)
    assert found["int8"]["made_with"] == ["qat.png"] and "made_with" not in found["float32"]
    assert "quantize/qat.png" in RunDir(run_copy).check_outputs("quantize")["outputs"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--int8", "--search", "--prune", "0.5"], "--search works on the model as it was trained"),
        (["--keep-float", "2", "--cluster", "16"], "not on one that is clustered16"),
        (["--prune", "1.5"], "prune.sparsity is 1.5; allowed: 0.0 to 0.99"),
        (["--cluster", "1"], "cluster.clusters is 1; allowed: 3 to 256"),
    ],
)
def test_calls_that_are_refused(edgecell: Run, run_copy: Path, flags: list, said: str) -> None:
    done = edgecell("quantize", run_copy, *flags)
    assert done.code == 2
    assert said in done.err


@pytest.mark.slow
def test_every_combination_with_training_for_int8(edgecell: Run, run_copy: Path) -> None:
    calls = {
        "clustered16": [*CLUSTER, "--int8", "--dynamic", "--int16x8"],
        "pruned0.5-clustered16": [*PRUNE, *CLUSTER, "--int8"],
        "pruned0.5-qat": [*PRUNE, *QAT, "--int8"],
        "clustered16-qat": [*CLUSTER, *QAT, "--int8"],
        "pruned0.5-clustered16-qat": [*PRUNE, *CLUSTER, *QAT, "--int8"],
    }
    for name, flags in calls.items():
        done = edgecell("quantize", run_copy, *flags)
        assert done.code == 0, done.err
        found = entries(run_copy)[f"int8-{name}"]
        kernels = found["weights"]["kernels"]
        assert found["method"] == name and found["audit"]["passed"]
        if "pruned" in name:
            assert kernels["least_sparsity"] >= 0.5
        if "clustered" in name:
            assert kernels["most_values"] <= 32
            assert found["packed_bytes"] < 0.6 * found["size_bytes"]
        if "qat" in name:
            assert found["qat"]["settings"]["epochs"] == 1
    assert {f"{p}-clustered16" for p in ("dynamic", "int16x8")} <= set(entries(run_copy))
    # Nothing was trained twice: PCQAT's pruning is that of PQAT.
    assert len(list((run_copy / "quantize" / "pruned0.5-state").iterdir())) == 1
    assert edgecell("report", run_copy).code == 0
