"""Train, evaluate and report, from the command line, where an image has several labels and where classes are grades."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import toys
import toys_labels
from easy import Run
from openpyxl import load_workbook
from sklearn import metrics as sk

from edgecell.pipeline.training import save_keras
from edgecell.rundir import RunDir
from edgecell.tasks import MULTI_LABEL, ORDINAL

QUICK = (
    *("--model", "simple_cnn", "--image-size", "28", "--weights", "none", "--head-epochs", "0"),
    *("--epochs", "6", "--batch-size", "16"),
)


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    path = tmp_path / "blobs.npz"
    np.savez(path, **toys_labels.arrays({"train": 160, "val": 80, "test": 90}, side=20))
    return path


@pytest.fixture
def grades(tmp_path: Path) -> Path:
    arrays = {"task": np.array(ORDINAL), "class_names": np.array(list("abcd"))}
    for seed, (split, count) in enumerate({"train": 80, "val": 40, "test": 48}.items()):
        arrays[f"{split}_images"], labels = toys.images(count, seed)
        arrays[f"{split}_labels"] = labels[:, None]
    path = tmp_path / "grades.npz"
    np.savez(path, **arrays)
    return path


def test_several_labels_from_training_to_report(edgecell: Run, blobs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = edgecell("train", "--data", blobs, *QUICK, "--output", run)
    assert trained.code == 0, trained.err
    results = RunDir(run).check_outputs("train")["results"]
    history = json.loads((run / "train/history.json").read_text())
    best = history[results["best_epoch"] - 1]
    assert results["val_auc"]["value"] == best["val_auc"] == max(e["val_auc"] for e in history)
    assert results["val_accuracy"]["value"] == best["val_accuracy"]
    line = f"val mean AUC {best['val_auc']:.4f}, label accuracy {best['val_accuracy']:.4f} (n=80)"
    assert trained.out.startswith(line)

    shown = edgecell("evaluate", run, "--split", "test", "--xlsx", "--csv")
    assert shown.code == 0, shown.err
    record = RunDir(run).check_outputs("evaluate/model-test")
    found = record["results"]
    assert found["task"] == MULTI_LABEL and found["n"] == 90 and "confusion" not in found
    folder = run / "evaluate/model-test"
    said = json.loads((folder / "predictions.json").read_text())["images"]
    probabilities = np.array([row["probabilities"] for row in said])
    with np.load(blobs) as kept:
        labels = kept["test_labels"]
    auc, accuracy = (
        sk.roc_auc_score(labels, probabilities),
        ((probabilities > 0.5) == labels).mean(),
    )
    assert found["auc"]["value"] == pytest.approx(auc, abs=1e-6)
    assert found["accuracy"]["value"] == pytest.approx(accuracy)
    assert re.search(rf"^  mean AUC +{auc:.4f} \[", shown.out, re.MULTILINE)
    assert all(name in shown.out for name in toys_labels.LABELS)
    written = {Path(name).name for name in record["outputs"]}
    assert {"auc.png", "labels.png", "mistakes.png", "evaluation.xlsx"} <= written
    assert not any("confusion" in name for name in written)
    assert f"blobs_test_[AUC]{auc:.3f}_[ACC]{accuracy:.3f}@" in "".join(written)

    head, *rows = load_workbook(folder / "evaluation.xlsx", read_only=True)["Labels"].values
    hits = [row[head.index("hits")] for row in rows]
    assert hits == ((probabilities > 0.5) & (labels == 1)).sum(axis=0).tolist()

    views = edgecell("evaluate", run, "--tta", "--json")
    assert views.code == 0, views.err
    averaged = json.loads(views.out)
    assert averaged["split"] == "val" and averaged["auc"]["value"] != best["val_auc"]
    plain = json.loads(edgecell("evaluate", run, "--json").out)
    assert plain["auc"]["value"] == pytest.approx(best["val_auc"], abs=1e-6)

    reported = edgecell("report", run, "--xlsx")
    assert reported.code == 0, reported.err
    page = (run / "report.html").read_text(encoding="utf-8")
    for part in ("evaluate-model-test", "evaluate-model-val", "evaluate-model-tta-val"):
        assert f'id="{part}"' in page
    assert f"<dt>mean AUC</dt><dd>{auc:.3f} [" in page and "Validation mean AUC" in page
    assert "Confusion" not in page and "Validation accuracy" not in page

    single = tmp_path / "single.npz"
    with np.load(blobs) as kept:
        arrays = {key: kept[key] for key in kept if not key.endswith("labels")}
        arrays |= {key: kept[key].argmax(1)[:, None] for key in kept if key.endswith("labels")}
    np.savez(single, **arrays)
    lone = shutil.copy(run / "train/model.keras", tmp_path / "lone.keras")
    for model in (run, lone):
        refused = edgecell("evaluate", model, "--data", single, "--output", tmp_path / "other")
        assert refused.code == 3
        assert "ends in a sigmoid and decides each label by itself" in refused.err
    softmax = tmp_path / "softmax.keras"
    save_keras(toys_labels.model("softmax"), softmax)
    refused = edgecell("evaluate", softmax, "--data", blobs, "--output", tmp_path / "other")
    assert refused.code == 3 and "softmax.keras ends in a softmax" in refused.err


def test_grades_from_training_to_report(edgecell: Run, grades: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = edgecell("train", "--data", grades, *QUICK, "--output", run)
    assert trained.code == 0, trained.err
    results = RunDir(run).check_outputs("train")["results"]
    kappa = results["val_kappa"]["value"]
    assert f", quadratic kappa {kappa:.4f} (n=40) in epoch" in trained.out

    shown = edgecell("evaluate", run, "--split", "test", "--xlsx")
    assert shown.code == 0, shown.err
    found = json.loads((run / "evaluate/model-test/evaluation.json").read_text())
    confusion = np.array(found["confusion"])
    truth, said = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices((4, 4)))
    expected = sk.cohen_kappa_score(truth, said, weights="quadratic")
    assert found["kappa"]["value"] == pytest.approx(expected)
    assert f"quadratic kappa {expected:.4f} [" in shown.out
    book = load_workbook(run / "evaluate/model-test/evaluation.xlsx", read_only=True)
    row = next(row for row in book["Summary"].values if row[0] == "kappa")
    assert row[1] == pytest.approx(expected) and row[-1] == "quadratic kappa"
    assert "Confusion" in book.sheetnames
    assert edgecell("report", run).code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"<dt>quadratic kappa</dt><dd>{expected:.3f} [" in page
    val = json.loads(edgecell("evaluate", run, "--json").out)
    assert val["kappa"]["value"] == pytest.approx(kappa)
