"""ONNX Runtime: float32, and its own static int8 (QDQ, per channel)."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.interface import Absent, Candidate, Material, missing, version
from benchmarks.peers.onnx_model import INPUT, OUTPUT, SCALED, float_model

RUNTIME = "ONNX Runtime"
_NAMES = (f"{RUNTIME} float32", f"{RUNTIME} int8")
_QUIET = 3  # errors alone


def candidates(material: Material) -> list[Candidate | Absent]:
    """Both precisions, or why there is none."""
    gone = missing("onnxruntime", "onnx", "tf2onnx")
    if gone:
        return [Absent(name, gone) for name in _NAMES]
    real = float_model(material)
    integer = material.folder / "onnxruntime-int8.onnx"
    quantize(real, integer, material.calibration)
    return [
        _candidate(_NAMES[0], "float32", real, material.threads, faithful=True),
        _candidate(_NAMES[1], "int8", integer, material.threads),
    ]


def _candidate(
    name: str, precision: str, path: Path, threads: int, *, faithful: bool = False
) -> Candidate:
    opener = partial(Session, path, threads)
    runtime = f"{RUNTIME} {version('onnxruntime')}"
    return Candidate(name, runtime, precision, opener, (path,), operators(path), faithful)


class Session:
    """A model in ONNX Runtime's CPU provider; input and output stay bound to the same memory.

    Its threads do not spin while they wait: they would take the cores of whoever has the next turn.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            str(path), _options(threads), providers=["CPUExecutionProvider"]
        )
        entry, leave = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._pixels = np.zeros(entry.shape, np.uint8)
        self._answer = np.zeros(leave.shape, np.float32)
        self._binding = self._session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, INPUT, self._pixels),
            (self._binding.bind_output, OUTPUT, self._answer),
        ):
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """See :class:`benchmarks.peers.interface.Runner`."""
        self._pixels[0] = image
        self._session.run_with_iobinding(self._binding)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :class:`benchmarks.peers.interface.Runner`."""
        out = np.empty((len(images), self._answer.shape[1]), np.float32)
        for row, image in zip(out, images, strict=True):
            self.invoke_once(image)
            row[:] = self._answer[0]
        return out


def quantize(model: Path, target: Path, calibration: NDArray[np.uint8]) -> None:
    """``model`` as static int8 in QDQ form: weights int8 per channel, activations uint8, min-max ranges.

    These are the settings that ONNX Runtime recommends for x86-64 with VNNI. The input keeps scale 1/128
    and zero point 128, so that its bytes are quantized already.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    exact = {
        "scale": np.array(1 / 128, np.float32),
        "zero_point": np.array(128, np.uint8),
        "quant_type": QuantType.QUInt8,
    }
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": {SCALED: [exact]}},
        )


def _reader(calibration: NDArray[np.uint8]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """One image after the other."""

        def __init__(self) -> None:
            self._images = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            """The next input, None at the end."""
            image = next(self._images, None)
            return None if image is None else {INPUT: image[None]}

    return Reader()


def operators(path: Path) -> str:
    """In which precision convolutions really run, read from the graph that the runtime made of it."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = _options(1)
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    counts = Counter(node.op_type for node in graph.node)
    integer, real = counts["QLinearConv"], counts["Conv"] + counts["FusedConv"]
    return f"{integer} of {integer + real} convolutions in int8" if integer else "float32"


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
