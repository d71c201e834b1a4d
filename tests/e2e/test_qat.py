"""``edgecell quantize --qat``: what it writes, that it can be resumed, and what it is worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from easy import Run

from edgecell.rundir import RunDir

SHORT = ["--qat-epochs", "1", "--qat-batch-size", "24", "--qat-learning-rate", "1e-4"]


def entry(run: Path, suffix: str) -> dict:
    """The record's entry for a file; fails where there is not exactly one."""
    models = RunDir(run).read_record("quantize")["results"]["models"]
    (found,) = [each for each in models if each["file"].endswith(f"-{suffix}.tflite")]
    return found


def test_qat_writes_a_file_beside_the_plain_one_and_does_not_train_twice(
    edgecell: Run, run_copy: Path
) -> None:
    done = edgecell("quantize", run_copy, "--int8", "--qat", *SHORT)
    assert done.code == 0, done.err
    assert "-int8-qat.tflite" in done.out
    found = entry(run_copy, "int8-qat")
    assert found["method"] == "qat" and found["audit"]["passed"]
    assert found["audit"]["input"]["scale"] == 1 / 128
    assert found["qat"]["settings"]["epochs"] == 1
    assert entry(run_copy, "int8")["precision"] == found["precision"] == "int8"
    history = json.loads((run_copy / "quantize" / "qat-history.json").read_text(encoding="utf-8"))
    assert [each["epoch"] for each in history] == [0, 1]
    outputs = RunDir(run_copy).check_outputs("quantize")["outputs"]
    assert {"quantize/qat.png", "quantize/qat-history.json"} <= set(outputs)
    assert "int8-qat" in (run_copy / "report.html").read_text(encoding="utf-8")

    # The state is kept: other input, same training.
    again = edgecell("quantize", run_copy, "--int8", "--qat", *SHORT, "--input-type", "int8")
    assert again.code == 0, again.err
    assert "going on after epoch 1" in again.err and "epoch 1/1" not in again.err
    assert entry(run_copy, "int8-qat")["input_type"] == "int8"

    # A later call for another precision keeps the file and what belongs to it.
    before = entry(run_copy, "int8-qat")["qat"]
    assert edgecell("quantize", run_copy, "--float16").code == 0
    assert entry(run_copy, "int8-qat")["qat"] == before
    assert "quantize/qat.png" in RunDir(run_copy).check_outputs("quantize")["outputs"]


def test_qat_without_int8_is_refused(edgecell: Run, run_copy: Path) -> None:
    done = edgecell("quantize", run_copy, "--float16", "--qat")
    assert done.code == 2
    assert "add --int8" in done.err


@pytest.mark.slow
@pytest.mark.needs_shared
def test_qat_removes_the_loss_on_real_cells(edgecell: Run, shared: Path, tmp_path: Path) -> None:
    weights = next((shared / "weights").glob("mobilenet_v2*_0.35_*_no_top.h5"))
    run = tmp_path / "run"
    trained = edgecell(
        *("train", "--data", shared / "data" / "pbc28.npz", "--limit", "1600", "--output", run),
        *("--image-size", "48", "--weights", weights, "--epochs", "8", "--batch-size", "64"),
    )
    assert trained.code == 0, trained.err
    done = edgecell(
        *("quantize", run, "--int8", "--qat", "--qat-epochs", "4", "--qat-batch-size", "64")
    )
    assert done.code == 0, done.err
    history = json.loads((run / "quantize" / "qat-history.json").read_text(encoding="utf-8"))
    found = entry(run, "int8-qat")
    assert found["size_bytes"] <= 640_000
    # Epoch 0 is the plainly calibrated file: it disagrees on some images, and on fewer afterwards.
    assert history[0]["val_agreement"] < 1.0
    assert 1 - found["qat"]["val_agreement"] <= 0.75 * (1 - history[0]["val_agreement"])
    # What twin and file differ in is integer kernels' last bits, which flip near-ties: two kernel
    # sets of LiteRT differ so from one another. It must stay below what plain rounding costs.
    assert found["qat"]["twin_agreement"] > history[0]["val_agreement"]
