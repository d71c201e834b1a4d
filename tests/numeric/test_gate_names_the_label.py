"""One of several labels broken in the converted file: the gate must name it, and no other."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import sabotage
import toys_labels

import edgecell.cli as command_line
from converters.audit import audit
from converters.verify import VerifyBudget, verify
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor, TFLitePredictor

COUNT = 1500
BROKEN = 3  # "white frame", an eighth of the images
NAMED = toys_labels.LABELS[BROKEN]


@pytest.fixture(scope="module")
def broken() -> bytes:
    data = sabotage.with_class_broken(toys_labels.converted("int8"), BROKEN)
    assert audit(data, "int8").passed, "the sabotage must leave the structure alone"
    return data


def test_the_gate_names_the_label(broken: bytes):
    x, y = toys_labels.images(COUNT, seed=2)
    reference = KerasPredictor(toys_labels.trained(), "blobs.keras")
    # Budgets that even a label lost altogether does not break: significance alone decides.
    budget = VerifyBudget(max_auc_drop=0.5, max_label_auc_drop=0.02, margin=0.4)
    sound = TFLitePredictor(toys_labels.converted("int8"), name="sound")
    passed = verify(reference, sound, x, y, toys_labels.LABELS, budget)
    assert passed.passed, [check for check in passed.checks if check.passed is False]
    assert passed.gate is not None and passed.gate.worse_classes == ()
    report = verify(reference, TFLitePredictor(broken), x, y, toys_labels.LABELS, budget)
    assert report.gate is not None and report.gate.verdict == "worse"
    assert [row.name for row in report.gate.worse_classes] == [NAMED]
    others = [row.auc_drop for row in report.classes if row.name != NAMED]
    assert all(abs(drop or 0) < 0.01 for drop in others)


def test_the_command_exits_with_5_and_names_it(
    broken: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(command_line.terminal, "quiet_native_output", lambda: sys.stderr)
    toys_labels.trained().save(tmp_path / "blobs.keras")
    counts = {"train": 100, "val": COUNT, "test": 100}
    np.savez(tmp_path / "blobs.npz", **toys_labels.arrays(counts))

    def verdict(name: str, model: bytes, *flags: str) -> tuple[int, str, str, RunDir]:
        (tmp_path / name).write_bytes(model)
        run = tmp_path / f"{name}-verdict"
        command = ["verify", tmp_path / name, "--reference", tmp_path / "blobs.keras"]
        command += ["--data", tmp_path / "blobs.npz", "--output", run, *flags]
        with pytest.raises(SystemExit) as end:
            command_line.main([str(word) for word in command])
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err, RunDir(run)

    code, out, said, run = verdict("broken-int8.tflite", broken)
    assert code == 5
    last = said.strip().splitlines()[-1]
    assert last.startswith("edgecell: broken-int8.tflite is refused by 'mean AUC drop'")
    assert f"'{NAMED}'" in last and "AUC reference" in out
    assert (run.path / "verify" / "broken-int8-auc-drop.png").exists()
    (found,) = run.read_record("verify")["results"]["models"]
    assert found["gate"]["classes"][BROKEN]["worse"]

    code, out, _, run = verdict("sound-int8.tflite", toys_labels.converted("int8"))
    assert code == 0, out
    assert "mean AUC drop" in out and "DeLong one-sided p" in out
    (found,) = run.read_record("verify")["results"]["models"]
    assert found["passed"] and abs(found["measurements"]["auc_drop"]["value"]) < 0.005
