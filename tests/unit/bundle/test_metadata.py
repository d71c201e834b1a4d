"""What a bundled file says of itself, and that a client nobody here wrote takes it so."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image

from edgecell.bundle import manifest
from edgecell.bundle.metadata import CALIBRATION_FILE, metadata, normalization
from edgecell.preprocess import PreprocessSpec
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import BINARY, MULTI_CLASS, TASKS
from edgecell.tflite_metadata import attach

CLIENT = Path(__file__).resolve().parents[2] / "mediapipe_client.py"


def subject(precision: str = "int8", input_type: str | None = None) -> manifest.Subject:
    data = toys.converted(precision, input_type)
    return manifest.Subject(
        name="toy",
        source=data,
        predictor=TFLitePredictor(data, name="toy.tflite"),
        spec=PreprocessSpec(toys.SIZE, toys.SIZE),
        labels=toys.CLASSES,
        task=TASKS[MULTI_CLASS],
        verdict="passed",
        precision=precision,
        calibration=None,
        records={},
        record_hashes={},
        licence="Apache-2.0",
    )


def described(of: manifest.Subject):
    return metadata(of, manifest.model_json(of, 32))


@pytest.mark.parametrize(
    ("precision", "input_type", "expected"),
    [
        ("float16", None, (0.0, 1.0)),
        ("int8", "uint8", (128.0, 128.0)),
        ("int8", "int8", (128.0, 128.0)),
        ("int8", "float32", (128.0, 128.0)),
        ("int16x8", "int16", (128.0, 128.0)),
    ],
)
def test_the_normalisation_is_what_a_pixel_stands_for(precision, input_type, expected):
    entry = manifest.model_json(subject(precision, input_type), 32)["input"]
    assert normalization(entry) == pytest.approx(expected, rel=1e-6)


def output(found) -> dict:
    return found.model["subgraph_metadata"][0]["output_tensor_metadata"][0]


def test_labels_are_an_axis_of_the_output():
    found = described(subject())
    assert found.files["labels.txt"].decode().split("\n") == [*toys.CLASSES, ""]
    [file] = output(found)["associated_files"]
    assert (file["name"], file["type"]) == ("labels.txt", "TENSOR_AXIS_LABELS")
    assert found.model["license"] == "Apache-2.0"
    assert "Not for clinical use" in found.model["description"]


def tempered(labels: tuple[str, ...], kept: bool) -> manifest.Subject:
    calibration = {
        "temperature": {"value": 2.0, "kept": kept},
        "abstention": {"threshold": None, "threshold_quanta": None, "reason": "few"},
        "conformal": {
            "coverage": 0.9,
            "threshold": 0.1,
            "threshold_quanta": 26,
            "class_thresholds": dict.fromkeys(labels, 0.1),
        },
    }
    return replace(subject(), labels=labels, task=TASKS[BINARY], calibration=calibration)


def test_a_temperature_of_two_classes_is_a_sigmoid_of_the_logit():
    found = described(tempered(("no", "yes"), kept=True))
    lines = found.files[CALIBRATION_FILE].decode().splitlines()
    assert len(lines) == 2
    scale, slope, offset = map(float, lines[0].split(","))
    p = np.array([0.01, 0.3, 0.9])
    theirs = scale / (1 + np.exp(-(slope * np.log(p / (1 - p)) + offset)))
    ours = p**0.5 / (p**0.5 + (1 - p) ** 0.5)  # softmax(ln p / 2) of two
    np.testing.assert_allclose(theirs, ours, rtol=1e-12)
    [unit] = output(found)["process_units"]
    assert unit["options"]["score_transformation"] == "INVERSE_LOGISTIC"


@pytest.mark.parametrize(
    ("labels", "kept"), [(toys.CLASSES, True), (("no", "yes"), False)], ids=["four", "not kept"]
)
def test_no_other_temperature_is_written(labels, kept):
    found = described(tempered(labels, kept))
    assert CALIBRATION_FILE not in found.files
    assert "process_units" not in output(found)


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_mediapipe_s_classifier_agrees(mediapipe_python, precision, tmp_path):
    of = subject(precision)
    found = described(of)
    (tmp_path / "model.tflite").write_bytes(attach(of.source, found))
    images, _ = toys.images(100, seed=7)
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for file, pixels in zip(files, images, strict=True):
        Image.fromarray(pixels).save(file)
    (tmp_path / "files.txt").write_text("\n".join(map(str, files)))
    command = [mediapipe_python, CLIENT, tmp_path / "model.tflite", tmp_path / "files.txt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    theirs = np.array([[row[name] for name in toys.CLASSES] for row in answer["scores"]])
    ours = of.predictor.predict(images)
    assert (theirs.argmax(1) == ours.argmax(1)).all()
    # The same integers of the same runtime; float kernels of another build may differ in the last bits.
    np.testing.assert_allclose(theirs, ours, atol=0 if precision == "int8" else 1e-5)
    mean = {"int8": 128.0, "float16": 0.0}[precision]
    std = {"int8": 128.0, "float16": 1.0}[precision]
    assert answer["metadata"] == {
        "name": "toy",
        "license": "Apache-2.0",
        "input": "image",
        "color_space": 1,
        "mean": [mean],
        "std": [std],
        "max": [(255 - mean) / std],
        "output": "probability",
        "range": [2, 2],
        "files": [["labels.txt", 2]],
    }
