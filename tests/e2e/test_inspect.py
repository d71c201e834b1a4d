"""``edgecell inspect`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toys
from easy import Run

from edgecell.tflite_metadata import Metadata, attach

MODEL = {
    "name": "toy \x1b[2J",
    "description": "four colours",
    "subgraph_metadata": [
        {
            "input_tensor_metadata": [
                {
                    "name": "image",
                    "content": {
                        "content_properties": {"table": "ImageProperties", "color_space": "RGB"}
                    },
                    "process_units": [
                        {
                            "options": {
                                "table": "NormalizationOptions",
                                "mean": [128.0],
                                "std": [128.0],
                            }
                        }
                    ],
                }
            ],
            "output_tensor_metadata": [
                {
                    "name": "probability",
                    "associated_files": [{"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}],
                }
            ],
        }
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    labels = "\n".join(toys.CLASSES).encode()
    path = tmp_path / "toy.tflite"
    path.write_bytes(attach(toys.converted("int8"), Metadata(MODEL, {"labels.txt": labels})))
    return path


def test_tables(edgecell: Run, file: Path) -> None:
    shown = edgecell("inspect", file)
    assert shown.code == 0, shown.err
    for words in (
        "integer: weights and activations quantized",
        "1 × 16 × 16 × 3",
        "0.0078125",
        "DEPTHWISE_CONV_2D",
        "description: four colours",
        "input image: color space RGB; NormalizationOptions mean [128.0], std [128.0]",
        "labels of probability: dark red, bright red, dark blue, bright blue",
    ):
        assert words in shown.out
    assert "\x1b" not in shown.out
    assert "layers, each" not in shown.out
    assert "layers, each with what it writes" in edgecell("inspect", file, "--layers").out


def test_json(edgecell: Run, file: Path) -> None:
    shown = edgecell("inspect", file, "--json")
    found = json.loads(shown.out)
    assert found["labels"] == {"probability": list(toys.CLASSES)}
    assert [layer["operator"] for layer in found["layers"]][0] == "QUANTIZE"


def test_what_is_no_model(edgecell: Run, file: Path, tmp_path: Path) -> None:
    assert edgecell("inspect", tmp_path / "none.tflite").code == 6
    assert edgecell("inspect", tmp_path).code == 6
    (tmp_path / "cut.tflite").write_bytes(file.read_bytes()[:2000])
    broken = edgecell("inspect", tmp_path / "cut.tflite")
    assert broken.code == 6
    assert broken.err.startswith("edgecell: cut.tflite is a damaged TFLite file (2000 bytes: ")
    assert broken.err.count("\n") == 1
    plain = file.with_name("plain.tflite")
    plain.write_bytes(toys.converted("float16"))
    assert "TFLite metadata: none" in edgecell("inspect", plain).out
