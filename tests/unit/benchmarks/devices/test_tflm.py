"""TFLite Micro: a scripted package for the exchange, and the real one where it is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import toys

from benchmarks.devices import tflm as tflm_module
from benchmarks.devices.interface import DeviceError
from benchmarks.devices.registry import open_device
from benchmarks.run import bench

from .conftest import BRIEF, silent

# Answers with pixels, tells its arena as the real one does, refuses float files.
SCRIPTED = """
import os, sys
import numpy as np
class Interpreter:
    @classmethod
    def from_bytes(cls, data, arena_size):
        if len(data) > 10_000:
            os.write(2, b"kernels/conv.cc Hybrid models are not supported\\nNode CONV_2D failed\\n")
            raise RuntimeError("TFLM failed to allocate tensors")
        if len(data) == 0:
            os.abort()
        return cls()
    def print_allocations(self):
        os.write(2, b"[RecordingMicroAllocator] Arena allocation total 20720 bytes\\n")
        os.write(2, b"[RecordingMicroAllocator] Arena allocation head 18000 bytes\\n")
    def set_input(self, data, index):
        assert data.dtype == np.uint8 and data.shape == (1, 32, 32, 3)
        self.row = np.array([[data[0, 0, 0, 0], 1, 2]], np.uint8)
    def invoke(self):
        {act}
    def get_output(self, index):
        return self.row
"""


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """A package named tflite_micro, found here and by the process that runs it."""

    def install(act: str = "pass"):
        (tmp_path / "tflite_micro").mkdir(exist_ok=True)
        (tmp_path / "tflite_micro" / "__init__.py").touch()
        text = SCRIPTED.replace("{act}", act)
        (tmp_path / "tflite_micro" / "runtime.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.syspath_prepend(str(tmp_path))
        return open_device("tflm")

    return install


def test_outputs_and_an_estimated_arena(scripted, jobs):
    paths, labels = [job.path for job in jobs], np.arange(70) % 3
    found = bench(paths, jobs[0].images, labels, ["a", "b", "c"], BRIEF, device=scripted())
    int8, float32 = found.models
    told = np.c_[jobs[0].images[:, 0, 0, 0], [1] * 70, [2] * 70]
    right = float((told.argmax(axis=1) == labels).mean())
    assert int8["quality"]["accuracy"]["value"] == right
    arena = int8["footprint"]["memory"]["over_baseline"]
    assert (arena["value"], arena["kind"]) == (20720, "estimated")
    assert int8["latency"][0]["p50"]["reason"] == tflm_module._UNTIMED
    assert int8["latency"][0]["delegate"]["label"] == "built-in kernels"
    reason = float32["quality"]["accuracy"]["reason"]
    assert reason == "TFLite Micro cannot run it: kernels/conv.cc Hybrid models are not supported"
    assert [row["arena kB, estimated"] for row in found.rows()] == ["20.7", "–"]
    assert found.host["versions"]["tflite-micro"]


def test_a_file_that_fails_in_its_first_inference_has_a_reason(scripted, jobs):
    act = 'os.write(2, b"kernels/add.cc Type INT16 (7) not supported.\\n"); raise RuntimeError("TFLM failed")'
    found = scripted(act).measure(jobs, BRIEF, None, silent)
    reasons = [answer.raw for answer in found.answers]
    assert reasons[0] == "TFLite Micro cannot run it: kernels/add.cc Type INT16 (7) not supported."
    assert reasons[1].endswith("Hybrid models are not supported")
    assert "reason" in found.answers[0].memory["over_baseline"]


def test_a_process_that_dies(scripted, jobs, monkeypatch):
    with pytest.raises(DeviceError, match="TFLite Micro ended with code -6"):
        scripted("os.abort()").measure(jobs, BRIEF, None, silent)
    monkeypatch.setattr(tflm_module, "_SILENCE_SECONDS", 5.0)
    with pytest.raises(DeviceError, match="TFLite Micro gave no sign of life"):
        scripted("import time; time.sleep(600)").measure(jobs, BRIEF, None, silent)


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(tflm_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"pip install -c constraints.txt -e '.\[tflm\]'"):
        open_device("tflm")


needs_tflm = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="tflite-micro is not installed: pip install -c constraints.txt -e '.[tflm]'",
)


@pytest.mark.slow
@needs_tflm
def test_the_real_interpreter_answers_as_litert_does(tmp_path):
    paths = []
    for precision in ("int8", "float32"):
        paths.append(tmp_path / f"{precision}.tflite")
        paths[-1].write_bytes(toys.converted(precision))
    images, labels = toys.images(40, seed=8)
    options = replace(BRIEF, batches=())
    found = bench(paths, images, labels, toys.CLASSES, options, device=open_device("tflm"))
    int8, float32 = found.models
    # Requantization rounds otherwise than in XNNPACK, in the integers of each of three layers by one step;
    # pooling and softmax, whose slope is at most 1/4, leave less than one of each.
    assert int8["agreement"]["largest_difference"]["value"] <= 2
    assert float32["agreement"]["largest_difference"]["value"] <= 1e-5
    for model in (int8, float32):
        assert model["agreement"]["top1"]["value"] == 1.0
        assert model["quality"]["accuracy"]["value"] > 0.9
    # Activations are 1 byte for 4, and they are most of an arena.
    arenas = [m["footprint"]["memory"]["over_baseline"]["value"] for m in (int8, float32)]
    assert arenas[0] < 0.6 * arenas[1]


@pytest.mark.slow
@needs_tflm
@pytest.mark.parametrize("precision", ["dynamic", "float16"])
def test_what_microcontrollers_cannot_run_has_a_reason(tiny_files, jobs, precision):
    job = replace(jobs[0], path=tiny_files[precision])
    found = open_device("tflm").measure([job], BRIEF, None, silent)
    assert found.answers[0].raw.startswith(
        "TFLite Micro cannot run it: tensorflow/lite/micro/kernels"
    )
    assert "reason" in found.answers[0].memory["over_baseline"]
