"""Explain, from the command line, on one label, several labels and grades."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import toys
import toys_labels
from easy import COUNTS, Run

from edgecell.pipeline.training import save_keras
from edgecell.rundir import RunDir


def test_explain_a_run(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("explain", run_copy, "--images", "2", "--json")
    assert shown.code == 0, shown.err
    record = json.loads(shown.out)
    assert record == RunDir(run_copy).check_outputs("explain/model-val")
    results = record["results"]
    assert results["layer"] == "block_13_expand_relu" and results["map_size"] == [2, 2]
    assert (results["n"], results["split"]) == (COUNTS["val"], "val")
    assert not any(name.endswith(":test") for name in record["inputs"])
    assert "train/model.keras" in record["inputs"]
    with np.load(run_copy / "explain/model-val/maps.npz") as kept:
        maps, index, number = kept["maps"], kept["index"], kept["class_number"]
    assert len(maps) == results["maps"] == len(index) == len(number)
    for each in results["classes"]:
        assert each["right"] + each["wrong"] == COUNTS["val"] // 3
        for row in (*each["surest"], *each["least_sure"]):
            here = (index == row["index"]) & (
                number == ["red", "green", "blue"].index(each["name"])
            )
            assert maps[here].max() == pytest.approx(row["peak"], rel=1e-6)
    assert 'id="explain-model-val"' in (run_copy / "report.html").read_text(encoding="utf-8")


def test_explain_one_class_on_test_at_a_layer(edgecell: Run, run_copy: Path) -> None:
    flags = ("--class", "green", "--split", "test", "--layer", "block_6_expand_relu")
    shown = edgecell("explain", run_copy, *flags)
    assert shown.code == 0, shown.err
    assert "4 × 4 cells, layer block_6_expand_relu" in shown.out and "red" not in shown.out
    record = RunDir(run_copy).check_outputs("explain/model-test-class1")
    assert [each["name"] for each in record["results"]["classes"]] == ["green"]
    for row in record["results"]["mistakes"]:
        assert "green" in (row["label"], row["predicted"])


def test_what_cannot_be_explained_is_refused(edgecell: Run, run_copy: Path) -> None:
    (converted,) = (run_copy / "quantize").glob("*-int8.tflite")
    for words, said in (
        ((converted,), "looks inside the network"),
        ((run_copy, "--class", "gren"), "no class 'gren'; did you mean green?"),
        ((run_copy, "--layer", "out_relu"), "1×1, which cannot say where; --layer takes"),
        ((run_copy, "--images", "0"), "0 is not in the range"),
    ):
        refused = edgecell("explain", *words)
        assert refused.code == 2 and said in refused.err, refused.err


@pytest.fixture
def blobs(tmp_path: Path) -> tuple[Path, Path]:
    """An untrained model of four labels and its images."""
    model, data = tmp_path / "blobs.keras", tmp_path / "blobs.npz"
    save_keras(toys_labels.model(), model)
    np.savez(data, **toys_labels.arrays({"train": 12, "val": 30, "test": 12}))
    return model, data


def test_explain_several_labels(edgecell: Run, blobs: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = blobs
    shown = edgecell("explain", model, "--data", data, "--output", tmp_path / "x", "--json")
    assert shown.code == 0, shown.err
    results = json.loads(shown.out)["results"]
    assert results["task"] == "multi-label, binary-class" and results["wrong"] > 0
    assert [each["name"] for each in results["classes"]] == list(toys_labels.LABELS)
    for row in results["mistakes"]:
        assert row["about"] in toys_labels.LABELS
        assert {row["label"], row["predicted"]} == {row["about"], f"no {row['about']}"}


def test_explain_grades(edgecell: Run, tmp_path: Path) -> None:
    grades = {"task": np.array("ordinal-regression")}
    for seed, split in enumerate(("train", "val", "test")):
        grades[f"{split}_images"], labels = toys.images(24, seed)
        grades[f"{split}_labels"] = labels[:, None]
    np.savez(tmp_path / "grades.npz", **grades)
    save_keras(toys.model(), tmp_path / "toy.keras")
    where = ("--data", tmp_path / "grades.npz", "--output", tmp_path / "x")
    shown = edgecell("explain", tmp_path / "toy.keras", *where, "--json")
    assert shown.code == 0, shown.err
    results = json.loads(shown.out)["results"]
    assert results["task"] == "ordinal-regression"
    assert all({"label", "predicted"} <= set(row) for row in results["mistakes"])


def test_embed_a_run(edgecell: Run, run_copy: Path) -> None:
    shown = edgecell("embed", run_copy, "--images", "30", "--neighbors", "4", "--json")
    assert shown.code == 0, shown.err
    record = json.loads(shown.out)
    run = RunDir(run_copy)
    assert record == run.check_outputs("embed/model-val")
    results = record["results"]
    assert (results["n"], results["of"], results["neighbours"]) == (30, COUNTS["val"], 4)
    assert results["plane"]["perplexity"] == pytest.approx(29 / 3)
    assert results["purity"]["value"] > results["chance"] + 0.1  # a third is chance
    folder = run_copy / "embed/model-val"
    with np.load(folder / "embedding.npz") as kept:
        assert kept["features"].shape == (30, results["features"])
        rows = (folder / "embedding.csv").read_text(encoding="utf-8").splitlines()
        assert rows[0] == "index,image,label,predicted,confidence,right,x,y" and len(rows) == 31
        assert [int(row.split(",")[0]) for row in rows[1:]] == kept["index"].tolist()
        first = [float(value) for value in rows[1].split(",")[-2:]]
        assert first == pytest.approx(kept["coordinates"][0].tolist())
        wrong = int((kept["labels"] != kept["predicted"]).sum())
    assert wrong == results["wrong"] == sum(row.split(",")[5] == "0" for row in rows[1:])
    assert 'id="embed-model-val"' in (run_copy / "report.html").read_text(encoding="utf-8")


def test_embed_several_labels_on_test(
    edgecell: Run, blobs: tuple[Path, Path], tmp_path: Path
) -> None:
    where = ("--data", blobs[1], "--output", tmp_path / "x", "--split", "test")
    shown = edgecell("embed", blobs[0], *where)
    assert shown.code == 0, shown.err
    assert "16 last features of blobs.keras on test, 12 of 12 images" in shown.out
    record = RunDir(tmp_path / "x").check_outputs("embed/blobs-test")
    assert any(name.endswith(":test") for name in record["inputs"])


def test_what_cannot_be_embedded_is_refused(edgecell: Run, run_copy: Path) -> None:
    (converted,) = (run_copy / "quantize").glob("*-int8.tflite")
    refused = edgecell("embed", converted)
    assert refused.code == 2 and "looks inside the network" in refused.err
    few = edgecell("embed", run_copy, "--images", "5")
    assert few.code == 3 and "5 images are too few" in few.err
