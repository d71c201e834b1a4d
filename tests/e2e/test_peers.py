"""``edgecell peers`` on the toy's run, with whatever peers are installed here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import toy_run
from easy import QUICK, Run

from benchmarks.peers.interface import missing
from edgecell.rundir import RunDir


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run.make(tmp_path_factory.mktemp("toy") / "run")


def test_a_run_beside_its_peers(edgecell: Run, run: Path) -> None:
    told = edgecell("peers", run, *QUICK)
    assert told.code == 0, told.err
    record = RunDir(run).check_outputs("peers")
    results = record["results"]
    names = [model["name"] for model in results["models"]]
    assert names[:2] == ["toy-float32", "toy-int8"]
    assert results["models"][0]["detail"].endswith("; not verified")
    everything = {*names, *(each["name"] for each in results["absent"])}
    assert {"ONNX Runtime int8", "OpenVINO float32", "OpenVINO int8", "Keras float32"} <= everything
    for each in results["absent"]:
        assert f"not measured: {each['name']}: {each['reason']}" in told.out
    if missing("onnxruntime"):
        assert "onnxruntime not installed: pip install" in told.out.replace(", onnx, tf2onnx", "")
    else:
        assert "ONNX Runtime int8" in names
    page = (run / "peers" / "peers.html").read_text()
    assert all(name in page for name in names)
    assert 'id="peers"' in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--peers", "tensorrt"), 2, "no peer 'tensorrt'; allowed: onnxruntime, openvino, keras"),
        (("--threads", "0"), 2, "--threads"),
    ],
)
def test_refusals(edgecell: Run, run: Path, more: tuple[str, ...], code: int, said: str) -> None:
    told = edgecell("peers", run, *more)
    assert told.code == code
    assert said in told.err


def test_other_training_images_are_refused(edgecell: Run, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = copy / "quantize" / "calibration.json"
    told = json.loads(manifest.read_text()) | {"images_sha256": "0" * 64}
    manifest.write_text(json.dumps(told))
    found = edgecell("peers", copy, *QUICK)
    assert found.code == 6  # the file is not what quantize wrote
    assert "calibration.json was altered" in found.err
    alone = shutil.copy(next((run / "quantize").glob("*-int8.tflite")), tmp_path)
    assert edgecell("peers", alone).code == 2
