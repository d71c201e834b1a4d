"""``edgecell quantize --resize-in-graph``: a file for the images' own size, through all that follows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from easy import LENIENT, QUICK, Run
from PIL import Image

STEM = "easy-mobilenet_v2-0.35-32"
INT8 = f"quantize/{STEM}-int8.tflite"
SMALL = f"quantize/{STEM}-int8-20px.tflite"


def entries(run: Path) -> dict[str, dict]:
    record = json.loads((run / "quantize" / "record.json").read_text())
    return {entry["file"]: entry for entry in record["results"]["models"]}


def test_one_file_goes_all_the_way(edgecell: Run, run_copy: Path, tmp_path: Path) -> None:
    done = edgecell("quantize", run_copy / INT8, "--resize-in-graph")
    assert done.code == 0, done.err
    found = entries(run_copy)
    assert set(found) == {
        f"{STEM}-{kind}.tflite" for kind in ("float32", "float16", "int8", "int8-20px")
    }
    entry = found[Path(SMALL).name]
    assert (entry["source_size"], entry["made_from"]["file"]) == ([20, 20], Path(INT8).name)
    assert entry["audit"]["input"]["shape"] == [1, 20, 20, 3]
    assert (run_copy / INT8).read_bytes() in (run_copy / SMALL).read_bytes()
    calibration = json.loads((run_copy / "quantize" / "record.json").read_text())["results"]
    assert calibration["calibration"]["count"] == 32  # of the call before, which made the int8 file

    done = edgecell("verify", run_copy, *LENIENT, "--json")
    assert done.code == 0, done.err
    verdicts = {row["file"]: row for row in json.loads(done.out)["results"]["models"]}
    assert verdicts[Path(SMALL).name]["passed"]
    answers = {}
    for file in (INT8, SMALL):
        done = edgecell("evaluate", run_copy / file)
        assert done.code == 0, done.err
        [said] = run_copy.glob(f"evaluate/{Path(file).stem}-val/predictions.json")
        answers[file] = [row["probabilities"] for row in json.loads(said.read_text())["images"]]
    moved = np.abs(np.subtract(answers[INT8], answers[SMALL]))
    assert np.argmax(answers[INT8], 1).tolist() == np.argmax(answers[SMALL], 1).tolist()
    assert moved.max() < 0.2
    done = edgecell("calibrate", run_copy)
    assert done.code == 0, done.err
    models = [run_copy / INT8, run_copy / SMALL]
    words = [word for model in models for word in ("--model", model)]
    done = edgecell("bench", *words, *QUICK, "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["results"]["models"]
    assert [row["image_size"] for row in rows] == [[32, 32], [20, 20]]

    done = edgecell("bundle", run_copy / SMALL, "--target", "python", "--golden", "synthetic")
    assert done.code == 0, done.err
    folder = run_copy / "bundle" / f"{Path(SMALL).stem}-python"
    card = json.loads((folder / "model.json").read_text())
    assert (card["input"]["shape"], card["input"]["enlarged_to"]) == ([1, 20, 20, 3], [32, 32])
    assert (card["preprocessing"]["resize"]["height"], card["model"]["precision"]) == (20, "int8")
    assert "the model enlarges it to 32×32 by itself" in (folder / "README.md").read_text()
    program = folder / "samples" / "python" / "classify.py"
    tested = subprocess.run(
        [sys.executable, program, "--self-test"], capture_output=True, text=True, check=False
    )
    assert tested.stdout == "PASS decode, resize, scale, inference: 32 images\n", tested.stderr

    done = edgecell("inspect", folder / "model.tflite", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    resizes = [row for row in told["operators"] if row["name"] == "RESIZE_BILINEAR"]
    assert (told["inputs"][0]["shape"], resizes[0]["count"]) == ([1, 20, 20, 3], 2)
    [tensor] = told["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    assert "20 × 20 pixels, enlarged to 32 × 32" in tensor["description"]

    done = edgecell("robustness", run_copy / SMALL)
    assert (done.code, "resizes inside" in done.err) == (2, True)
    done = edgecell("quantize", run_copy / SMALL, "--resize-in-graph")
    assert (done.code, "resizes its input already" in done.err) == (4, True)


def test_a_run_gets_one_beside_each_file_and_stale_ones_go(edgecell: Run, run_copy: Path) -> None:
    done = edgecell("quantize", run_copy, "--float16", "--int8", "--resize-in-graph")
    assert done.code == 0, done.err
    made = set(entries(run_copy))
    assert {f"{STEM}-float16-20px.tflite", Path(SMALL).name} <= made
    # the same int8 file again keeps it; another one, of fewer images, does not
    assert edgecell("quantize", run_copy, "--int8").code == 0
    assert Path(SMALL).name in entries(run_copy)
    done = edgecell("quantize", run_copy, "--int8", "--calibration-images", "9")
    assert done.code == 0, done.err
    assert Path(SMALL).name not in entries(run_copy)
    assert f"{STEM}-float16-20px.tflite" in entries(run_copy)


def test_what_cannot_be_is_refused_in_a_line(edgecell: Run, run_copy: Path, tmp_path: Path) -> None:
    done = edgecell("quantize", run_copy / INT8)
    assert (done.code, "--resize-in-graph" in done.err) == (2, True)
    images = tmp_path / "images"
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("red", "green", "blue"):
            folder = images / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                side = 21 if (split, name, number) == ("test", "blue", 1) else 20
                pixels = rng.integers(0, 256, (side, 20, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    flags = [
        *("--data", images, "--class-names", "red,green,blue"),
        *("--resize-in-graph", "--output", tmp_path / "out"),
    ]
    done = edgecell("quantize", run_copy / INT8, *flags)
    assert (done.code, "the images have several sizes" in done.err) == (3, True), done.err
    for first in (32, 40):  # what is wrong with one of the sizes is not what is wrong
        path = images / "train" / "red" / "0.png"
        Image.fromarray(rng.integers(0, 256, (first, first, 3), np.uint8)).save(path)
        done = edgecell("quantize", run_copy / INT8, *flags)
        assert (done.code, "the images have several sizes" in done.err) == (3, True), done.err
    for path in images.rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    done = edgecell("quantize", run_copy / INT8, *flags)
    assert (done.code, "larger than the model's 32×32" in done.err) == (4, True), done.err
    assert not list((tmp_path / "out").rglob("*.tflite"))
