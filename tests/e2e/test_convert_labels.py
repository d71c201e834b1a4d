"""``edgecell quantize`` of a model that decides several labels of an image."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys_labels
from easy import Run

from converters.scoring import LABELS
from converters.search import METHODS
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor, TFLitePredictor

COUNTS = {"train": 400, "val": 120, "test": 40}
TRAINING = [
    *("--model", "simple_cnn", "--image-size", "28", "--weights", "none", "--head-epochs", "0"),
    *("--epochs", "4", "--batch-size", "32"),
]
FEW = ("--calibration-images", "32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of four epochs on blobs, and its data; do not change them."""
    folder = tmp_path_factory.mktemp("blobs")
    np.savez(folder / "blobs.npz", **toys_labels.arrays(COUNTS, side=28))
    command = [sys.executable, "-m", "edgecell", "train", "--data", folder / "blobs.npz"]
    done = subprocess.run(
        [*command, *TRAINING, "--output", folder / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", folder / "blobs.npz"


@pytest.fixture
def blobs(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(trained[0], tmp_path / "blobs-run"))


def test_all_precisions(edgecell: Run, blobs: Path) -> None:
    done = edgecell("quantize", blobs, "--float16", "--dynamic", "--int8", "--int16x8", *FEW)
    assert done.code == 0, done.err
    models = RunDir(blobs).check_outputs("quantize")["results"]["models"]
    assert [each["precision"] for each in models] == ["float16", "dynamic", "int8", "int16x8"]
    assert all(each["audit"]["operators"]["LOGISTIC"] == 1 for each in models)
    manifest = json.loads((blobs / "quantize" / "calibration.json").read_text("utf-8"))
    assert set(manifest["per_class"]) == {"0", "1", "2", "3", "none"}
    labels = toys_labels.images(COUNTS["train"], 0, side=28)[1][manifest["indices"]]
    assert [manifest["per_class"][str(k)] for k in range(4)] == labels.sum(axis=0).tolist()


def test_search_keeps_the_file_that_is_nearest(edgecell: Run, blobs: Path) -> None:
    done = edgecell("quantize", blobs, "--int8", "--search", *FEW)
    assert done.code == 0, done.err
    record = RunDir(blobs).check_outputs("search")
    results = record["results"]
    assert record["config"]["split_channels"] is True
    tried = {each["method"] for each in results["candidates"]} | set(results["skipped"])
    assert tried == set(METHODS)
    assert results["rule"] == LABELS.rule and f"kept by: {LABELS.rule}" in done.out
    assert (results["n"], results["n_unseen"]) == (120, 400 - 32)
    by_method = {each["method"]: each for each in results["candidates"]}
    least = {m: e["probability_error"] + max(e["auc_drop"], 0) for m, e in by_method.items()}
    assert results["chosen"] == min(least, key=least.__getitem__)
    assert len(set(least.values())) > 1
    page = (blobs / "report.html").read_text("utf-8")
    for column in ("AUC drop", "noise"):
        assert column in done.out and column in page.replace("Noise", "noise")
    assert f"{by_method[results['chosen']]['probability_error']:.2%}" in done.out
    # The record's figures are those of the file beside it.
    images, labels = toys_labels.images(120, 1, side=28)
    (file,) = (blobs / "quantize").glob("*-int8-search.tflite")
    reference = KerasPredictor(blobs / "train" / "model.keras").predict(images)
    found = TFLitePredictor(file).predict(images)
    kept = by_method[results["chosen"]]
    assert kept["agreement"] == pytest.approx(((reference > 0.5) == (found > 0.5)).mean())
    assert kept["accuracy"] == pytest.approx(((found > 0.5) == labels).mean())


def test_analyze(edgecell: Run, blobs: Path) -> None:
    done = edgecell("quantize", blobs, "--analyze", "--json", *FEW)
    assert done.code == 0, done.err
    results = json.loads(done.out)["results"]
    assert results["rule"] == LABELS.layer_rule and results["n"] == 120
    errors = [layer["probability_error"] for layer in results["layers"]]
    assert errors == sorted(errors, reverse=True) and 0 < errors[0] < 1


def test_fine_tuning(edgecell: Run, blobs: Path) -> None:
    done = edgecell(
        *("quantize", blobs, "--int8", "--prune", "0.5", "--cluster", "8", "--qat", *FEW),
        *("--prune-epochs", "2", "--cluster-epochs", "1", "--qat-epochs", "1"),
    )
    assert done.code == 0, done.err
    (entry,) = RunDir(blobs).check_outputs("quantize")["results"]["models"]
    assert entry["file"].endswith("-int8-pruned0.5-clustered8-qat.tflite")
    for key in ("prune", "cluster", "qat"):
        facts = entry[key]
        assert 0.5 < facts["val_auc"] <= 1 and 0 < facts["val_probability_error"] < 1, key


def test_a_model_and_data_of_another_kind_are_refused(
    edgecell: Run, blobs: Path, trained: tuple[Path, Path], easy_npz: Path, run_copy: Path
) -> None:
    with np.load(trained[1]) as held:
        arrays = dict(held)
    single = {k: v.argmax(axis=1) if k.endswith("_labels") else v for k, v in arrays.items()}
    np.savez(blobs.parent / "single.npz", **single)
    done = edgecell("quantize", blobs, "--int8", "--data", blobs.parent / "single.npz")
    assert done.code == 3
    assert "ends in a sigmoid and decides each label by itself" in done.err
    assert "has one of 4 classes" in done.err and "--data" in done.err
    with np.load(easy_npz) as held:
        easy = dict(held)
    for key in [key for key in easy if key.endswith("_labels")]:
        easy[key] = (np.arange(3) != easy[key]).astype(np.uint8)
    np.savez(blobs.parent / "several.npz", **easy)
    done = edgecell("quantize", run_copy, "--int8", "--data", blobs.parent / "several.npz")
    assert done.code == 3
    assert "ends in a softmax and finds one class" in done.err
    assert "can have several of 3 labels" in done.err


def test_layers_in_float(edgecell: Run, blobs: Path) -> None:
    done = edgecell("quantize", blobs, "--int8", "--keep-float", "1", *FEW)
    assert done.code == 0, done.err
    models = RunDir(blobs).check_outputs("quantize")["results"]["models"]
    (entry,) = [each for each in models if each["precision"] == "mixed"]
    layers = RunDir(blobs).read_record("analyze")["results"]["layers"]
    assert entry["float_layers"] == [next(e["label"] for e in layers if e["weights"])]
    rows = entry["trade"]["rows"]
    assert [row["float_layers"] for row in rows] == [0, 1]
    assert all(abs(row["auc_drop"]) < 0.02 for row in rows)
    assert entry["audit"]["passed"]
    assert f"{rows[1]['auc_drop']:+.4f}" in done.out
