"""predict against evaluate: two ways to the same probabilities."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from easy import CLASSES, Run
from PIL import Image


@pytest.fixture
def pictures(easy_npz: Path, tmp_path: Path) -> Path:
    """The test split as PNG files in one folder, in its order."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(np.load(easy_npz)["test_images"]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("precision", ["int8", "float16", None])
def test_predict_says_what_evaluate_measured(
    edgecell: Run, run_copy: Path, pictures: Path, tmp_path: Path, precision: str | None
) -> None:
    model = run_copy
    if precision is not None:
        (model,) = (run_copy / "quantize").glob(f"*-{precision}.tflite")
    assert edgecell("evaluate", model, "--split", "test").code == 0
    shown = edgecell("predict", pictures, "--model", model, "--csv", tmp_path / "answers.csv")
    assert shown.code == 0, shown.err
    [measured] = run_copy.glob("evaluate/*-test/predictions.csv")
    expected = list(csv.DictReader(measured.read_text().splitlines()))
    found = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [Path(row["image"]).stem for row in found] == [str(n) for n in range(36)]
    for name in CLASSES:
        column = f"p({name})"
        assert [row[column] for row in found] == [row[column] for row in expected]
    assert [row["answer"] for row in found] == [row["predicted"] for row in expected]
    assert len({row["answer"] for row in found}) == 3


def test_from_calibrate_over_the_bundle_to_the_answer(
    edgecell: Run, run_copy: Path, pictures: Path, tmp_path: Path
) -> None:
    (model,) = (run_copy / "quantize").glob("*-int8.tflite")
    flags = ("--target-accuracy", "0.8", "--coverage", "0.9")
    assert edgecell("calibrate", run_copy, *flags).code == 0
    bundled = edgecell("bundle", model, "--golden", "synthetic", "--output", tmp_path / "out")
    assert bundled.code == 0, bundled.err
    (archive,) = (tmp_path / "out").glob("*.zip")
    answers = []
    for subject in (model, archive):
        shown = edgecell("predict", pictures, "--model", subject, "--json")
        assert (shown.code, shown.err) == (0, "")
        answers.append(json.loads(shown.out))
    assert answers[0]["images"] == answers[1]["images"]
    assert answers[0]["coverage"] == 0.9 and answers[0]["abstain_below"] is not None
    assert all(isinstance(row["set"], list) for row in answers[0]["images"])
