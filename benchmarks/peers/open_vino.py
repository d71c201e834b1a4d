"""OpenVINO: float32, bf16 where the CPU runs it, and NNCF's int8."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.interface import Absent, Candidate, Material, missing, version
from benchmarks.peers.onnx_model import float_model

RUNTIME = "OpenVINO"
_SHORT = {"f32": "float32", "bf16": "bf16", "f16": "float16"}
_INTEGER = ("u8", "i8")


def candidates(material: Material) -> list[Candidate | Absent]:
    """Every precision that this CPU has, or why there is none."""
    gone = missing("openvino", "onnx", "tf2onnx")
    if gone:
        return [Absent(f"{RUNTIME} {precision}", gone) for precision in ("float32", "bf16", "int8")]
    core = _core()
    model = core.read_model(str(float_model(material)))
    real = _save(model, material.folder / "openvino-float32.xml")
    found: list[Candidate | Absent] = [_candidate("float32", real, material.threads, hint="f32")]
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found.append(_candidate("bf16", real, material.threads, hint="bf16"))
    else:
        found.append(Absent(f"{RUNTIME} bf16", "this CPU has no bf16 instructions"))
    gone = missing("nncf")
    if gone:
        return [*found, Absent(f"{RUNTIME} int8", gone)]
    integer = _save(quantize(model, material.calibration), material.folder / "openvino-int8.xml")
    return [*found, _candidate("int8", integer, material.threads)]


def _candidate(precision: str, path: Path, threads: int, hint: str = "") -> Candidate:
    opener = partial(Request, path, threads, hint)
    files = (path, path.with_suffix(".bin"))
    detail, faithful = operators(opener()), precision == "float32"
    name, runtime = f"{RUNTIME} {precision}", f"{RUNTIME} {version('openvino')}"
    return Candidate(name, runtime, precision, opener, files, detail, faithful)


class Request:
    """A model compiled for the CPU, tuned for latency, one stream.

    ``hint`` f32 or bf16 says what float operators compute in; empty leaves it to OpenVINO, which takes
    bf16 on CPUs that have it.
    """

    def __init__(self, path: Path, threads: int, hint: str = "") -> None:
        wanted = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        } | ({"INFERENCE_PRECISION_HINT": hint} if hint else {})
        self.compiled = _core().compile_model(str(path), "CPU", wanted)
        self._request = self.compiled.create_infer_request()
        self._pixels = self._request.get_input_tensor().data
        self._answer = self._request.get_output_tensor().data

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """See :class:`benchmarks.peers.interface.Runner`."""
        self._pixels[0] = image
        self._request.infer()

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :class:`benchmarks.peers.interface.Runner`."""
        out = np.empty((len(images), self._answer.shape[1]), np.float32)
        for row, image in zip(out, images, strict=True):
            self.invoke_once(image)
            row[:] = self._answer[0]
        return out


def quantize(model: Any, calibration: NDArray[np.uint8]) -> Any:
    """``model`` by NNCF's post-training quantization with its defaults, on all of ``calibration``."""
    silence_telemetry()
    # Its progress bars would stand among the results.
    with contextlib.redirect_stdout(io.StringIO()):
        import nncf

        nncf.set_log_level(logging.ERROR)
        images = nncf.Dataset([image[None] for image in calibration])
        return nncf.quantize(model, images, subset_size=len(calibration))


def operators(request: Request) -> str:
    """In which precision convolutions really run, read from the graph that was compiled."""
    counts: Counter[str] = Counter()
    for operator in request.compiled.get_runtime_model().get_ops():
        facts = operator.get_rt_info()
        if "layerType" in facts and facts["layerType"].astype(str) == "Convolution":
            counts[facts["runtimePrecision"].astype(str)] += 1
    integer = sum(counts[kind] for kind in _INTEGER)
    rest = _SHORT[request.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()]
    if not integer:
        return rest
    others = sum(counts.values()) - integer
    return f"{integer} of {integer + others} convolutions in int8" + (
        f", {others} in {rest}" if others else ""
    )


def _core() -> Any:
    silence_telemetry()
    import openvino

    return openvino.Core()


def _save(model: Any, path: Path) -> Path:
    """``path`` and the .bin beside it, weights as they are: the default would make them float16."""
    import openvino

    openvino.save_model(model, str(path), compress_to_fp16=False)
    return path


def silence_telemetry() -> None:
    """Keep OpenVINO's packages from importing the one that reports their use to their maker.

    It does so without being asked; where it is not found, they are silent. Call it before their import.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
