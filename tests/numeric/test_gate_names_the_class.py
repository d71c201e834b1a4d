"""One class broken in the converted file while accuracy hardly moves: the gate must name it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import sabotage
import toys

import edgecell.cli as command_line
from converters.audit import audit
from converters.verify import VerifyBudget, require, verify
from edgecell.errors import ParityError
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor, TFLitePredictor

RARE = 2  # "dark blue"
COMMON, FEW = 2400, 9  # all of a class of 9 wrong is 0.37 points of 2,409 images


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of four classes of which one has nine."""
    x, y = toys.images(4 * COMMON // 3, seed)
    kept = np.r_[np.flatnonzero(y != RARE), np.flatnonzero(y == RARE)[:FEW]]
    return x[kept], y[kept]


@pytest.fixture(scope="module")
def broken() -> bytes:
    data = sabotage.with_class_broken(toys.converted("int8"), RARE)
    assert audit(data, "int8").passed, "the sabotage must leave the structure alone"
    return data


def test_the_gate_names_it_where_the_budget_of_accuracy_does_not(broken):
    x, y = scene(seed=2)
    reference = KerasPredictor(toys.trained(), "toy.keras")
    # A budget on F1 that even a class lost altogether does not break: significance alone decides.
    budget = VerifyBudget(max_accuracy_drop=0.005, max_f1_drop=0.5)
    sound = TFLitePredictor(toys.converted("int8"), name="sound")
    assert verify(reference, sound, x, y, toys.CLASSES, budget).gate.worse_classes == ()
    report = verify(reference, TFLitePredictor(broken, name="broken"), x, y, toys.CLASSES, budget)
    checks = {check.name: check for check in report.checks}
    assert report.measurements["accuracy_drop"].value < 0.005
    assert checks["accuracy drop"].passed
    assert report.gate.verdict == "worse" and not report.gate.accuracy_worse
    assert [row.name for row in report.gate.worse_classes] == [toys.CLASSES[RARE]]
    assert checks["significance of class drops"].passed is False
    with pytest.raises(ParityError, match="significantly worse: 'dark blue' \\(p = 0.0"):
        require(report)


def test_the_command_exits_with_5_and_names_it(
    broken: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(command_line.terminal, "quiet_native_output", lambda: sys.stderr)
    toys.trained().save(tmp_path / "toy.keras")
    arrays = {"class_names": np.array(toys.CLASSES)}
    for seed, split in enumerate(("train", "test", "val")):
        arrays[f"{split}_images"], labels = scene(seed)
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(tmp_path / "rare.npz", **arrays)

    def verdict(name: str, model: bytes) -> tuple[int, str, dict]:
        (tmp_path / name).write_bytes(model)
        command = ["verify", tmp_path / name, "--reference", tmp_path / "toy.keras"]
        command += ["--data", tmp_path / "rare.npz", "--output", tmp_path / f"{name}-verdict"]
        with pytest.raises(SystemExit) as end:
            command_line.main([str(word) for word in command])
        record = RunDir(tmp_path / f"{name}-verdict").read_record("verify")
        return int(end.value.code or 0), capsys.readouterr().err, record["results"]["models"][0]

    code, said, found = verdict("broken-int8.tflite", broken)
    assert code == 5
    last = said.strip().splitlines()[-1]
    assert last.startswith("edgecell: broken-int8.tflite is refused") and "'dark blue'" in last
    assert abs(found["measurements"]["accuracy_drop"]["value"]) < 0.005
    assert found["gate"]["verdict"] == "worse"
    assert [row["name"] for row in found["gate"]["classes"] if row["worse"]] == ["dark blue"]
    # The partner that must pass: the same file, unbroken.
    code, said, found = verdict("sound-int8.tflite", toys.converted("int8"))
    assert code == 0, said
    assert found["gate"]["verdict"] == "equivalent"
