"""Predictors: uint8 images in, class probabilities out. The only home of an interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgecell import tflite_file
from edgecell.delegation import XNNPACK, Delegation, Node, delegation
from edgecell.errors import ArtifactError, DataError
from edgecell.keras_file import first_line, load_keras
from edgecell.native_log import known_chatter_held_back
from edgecell.pixels import (
    Filler,
    Normalization,
    integer_filler,
    normalized_filler,
    raw_filler,
    scaled_filler,
)
from edgecell.tflite_file import TFLiteFile

_BATCH = 256


class Predictor(Protocol):
    """What verify, evaluate and bench know of a model.

    ``image_size`` is (height, width). ``output_scale`` is one step of a quantized output as a
    probability (1/256 for int8 files), None where the output is float.
    """

    name: str
    image_size: tuple[int, int]
    class_count: int
    output_scale: float | None

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB (N, H, W, 3) → float32 probabilities (N, C)."""
        ...


def load_predictor(path: Path, *, threads: int = 1) -> KerasPredictor | TFLitePredictor:
    """A predictor for a ``.tflite``, ``.keras`` or ``.h5`` file or a SavedModel folder.

    Raises:
        ArtifactError: missing, of another kind, damaged, or not an RGB image classifier.
    """
    if path.suffix == ".tflite" or (path.is_file() and path.suffix not in (".keras", ".h5")):
        return TFLitePredictor(path, threads=threads)
    return KerasPredictor(path)


def check_images(images: NDArray[Any], size: tuple[int, int], name: str) -> None:
    """DataError unless ``images`` is uint8 (N, height, width, 3) of the model's size."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (*size, 3):
        raise DataError(
            f"{name} takes uint8 images of shape (N, {size[0]}, {size[1]}, 3),"
            f" got {images.dtype} {images.shape}"
        )


class KerasPredictor:
    """A Keras model on uint8 images; its graph takes pixels as float32 0..255.

    Raises:
        ArtifactError: the file cannot be loaded, or the model is not (1 RGB image → classes).
    """

    output_scale: float | None = None

    def __init__(self, model: Path | str | Any, name: str | None = None) -> None:
        """Load a file (path) or take a tf_keras model; ``name`` is for messages and tables."""
        import tensorflow as tf

        if isinstance(model, str | Path):
            name = name or Path(model).name
            model = load_keras(Path(model))
        self.model = model
        self.name = name or str(model.name)
        shape, out = model.input_shape, model.output_shape
        if not _is_classifier(shape, out):
            raise ArtifactError(
                f"{self.name} maps {shape} to {out}; allowed: one RGB image of fixed size"
                " (None, H, W, 3) to class probabilities (None, C)"
            )
        self.image_size: tuple[int, int] = (shape[1], shape[2])
        self.class_count: int = out[1]

        @tf.function(input_signature=[tf.TensorSpec([None, *shape[1:]], tf.uint8)])
        def run(images: Any) -> Any:
            return tf.cast(model(tf.cast(images, tf.float32), training=False), tf.float32)

        self._run = run

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) → float32 (N, C), in batches of 256; DataError on other input."""
        check_images(images, self.image_size, self.name)
        out = np.empty((len(images), self.class_count), np.float32)
        for start in range(0, len(images), _BATCH):
            out[start : start + _BATCH] = self._run(images[start : start + _BATCH]).numpy()
        return out


def _is_classifier(shape: Any, out: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and isinstance(out, tuple)
        and len(shape) == 4
        and len(out) == 2
        and shape[3] == 3
        and None not in (*shape[1:], out[1])
    )


@dataclass(frozen=True)
class _Numbers:
    """How a tensor encodes real numbers: ``real = (q - zero_point) * scale``; scale 0 = as it is."""

    dtype: np.dtype[Any]
    scale: float
    zero_point: int


class TFLitePredictor:
    """A .tflite classifier in LiteRT's interpreter, one image at a time as on a device.

    Takes files with float32 (0..255, or scaled where a QUANTIZE operator follows), uint8, int8 or
    int16 input and any of these as output. ``threads`` 0 means all cores. A ``batch`` above 1 resizes
    the input, for throughput; not every file allows it.

    Attributes:
        input_dtype, input_scale, input_zero_point: how the input tensor encodes numbers; scale 0.0
            for a float32 input.
        output_dtype: the element type of the output tensor.
        output_scale: one output step as a probability, None for a float graph.
        output_dtype, output_zero_point: how the output tensor encodes them.

    Raises:
        ArtifactError: not a TFLite file, damaged, not (1 RGB image → classes), or not of this batch.
    """

    def __init__(
        self,
        model: Path | str | bytes,
        *,
        threads: int = 1,
        xnnpack: bool = True,
        batch: int = 1,
        name: str | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        """Read (a path) or take (bytes) the model, check it, and allocate its tensors.

        ``normalization`` is what a float32 input takes where the graph does not scale by itself.
        """
        if isinstance(model, bytes):
            data, self.name = model, name or "the model"
        else:
            data, self.name = tflite_file.read_bytes(Path(model)), name or Path(model).name
        self.file = tflite_file.parse(data, self.name)
        self.threads = threads if threads > 0 else available_cores()
        self.xnnpack = xnnpack
        self.image_size, self.class_count = _classifier_shape(self.file, self.name)
        self.batch = batch
        self._interpreter = _open_interpreter(data, self.threads, xnnpack, self.name)
        if batch > 1:
            _resize(self._interpreter, batch, (batch, self.class_count), self.name)
        entry = self._interpreter.get_input_details()[0]
        exit_ = self._interpreter.get_output_details()[0]
        self._input = _numbers(entry)
        self._output = _numbers(exit_)
        self.input_dtype = self._input.dtype
        self.input_scale = self._input.scale
        self.input_zero_point = self._input.zero_point
        self.output_dtype = self._output.dtype
        self.output_scale = _output_quantum(self.file)
        self.output_dtype = self._output.dtype
        self.output_zero_point = self._output.zero_point
        # Functions that make a view of the tensor's memory; a view must not outlive the invoke.
        self._input_view: Callable[[], NDArray[Any]] = self._interpreter.tensor(entry["index"])
        self._output_view: Callable[[], NDArray[Any]] = self._interpreter.tensor(exit_["index"])
        self._fill = _input_filler(self.file, self._input, self.name, normalization)

    @classmethod
    def open(
        cls, path: Path, *, threads: int = 1, xnnpack: bool = True, batch: int = 1
    ) -> TFLitePredictor:
        """Read, check and allocate: what an app does at start; the benchmark times this call."""
        return cls(path, threads=threads, xnnpack=xnnpack, batch=batch)

    def entry(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """What the input tensor holds for ``pixels`` uint8 of any shape: its type, the same shape."""
        values = np.empty(pixels.shape, self.input_dtype)
        self._fill(values, pixels)
        return values

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """One inference of one image uint8 (H, W, 3), result left in the interpreter."""
        self._fill(self._input_view()[0], image)
        self._interpreter.invoke()

    def invoke_batch(self, images: NDArray[np.uint8]) -> None:
        """One inference of ``batch`` images uint8 (batch, H, W, 3), results left in the interpreter."""
        self._fill_batch(images)  # of its own: no view of the input must be left when it runs
        self._interpreter.invoke()

    def _fill_batch(self, images: NDArray[np.uint8]) -> None:
        for slot, image in zip(self._input_view(), images, strict=True):
            self._fill(slot, image)

    def pixel_values(self) -> NDArray[Any]:
        """What the input tensor holds for each pixel value: (256,) of ``input_dtype``."""
        values = np.empty(256, self.input_dtype)
        self._fill(values, np.arange(256, dtype=np.uint8))
        return values

    def delegation(self) -> Delegation:
        """Which operators XNNPACK took, and which it left to the built-in kernels."""
        nodes = [
            Node(node["op_name"], node["inputs"].tolist(), node["outputs"].tolist())
            for node in self._interpreter._get_ops_details()
        ]
        return delegation(self.file, nodes, XNNPACK if self.xnnpack else None)

    def invoke_only(self) -> None:
        """One inference of whatever the input holds: the pure invoke, for overhead figures."""
        self._interpreter.invoke()

    def raw(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 (N, H, W, 3) → the output tensor's own values (N, C), not dequantized."""
        check_images(images, self.image_size, self.name)
        out = np.empty((len(images), self.class_count), self._output.dtype)
        if self.batch > 1:
            return self._raw_batches(images, out)
        # Local names: attribute look-ups count in a loop of 0.1 ms a turn.
        fill, entry, leave = self._fill, self._input_view, self._output_view
        invoke = self._interpreter.invoke
        for row, image in zip(out, images, strict=True):
            fill(entry()[0], image)
            invoke()
            row[:] = leave()[0]
        return out

    def _raw_batches(self, images: NDArray[np.uint8], out: NDArray[Any]) -> NDArray[Any]:
        """Fill ``out``, the last batch made full with the last image."""
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            missing = self.batch - len(part)
            self.invoke_batch(np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]))
            out[start : start + self.batch] = self._output_view()[: len(part)]
        return out

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) → float32 (N, C) probabilities; DataError on other input."""
        return self.probabilities(self.raw(images))

    def probabilities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """The output tensor's own values (N, C), wherever they were computed, as probabilities.

        Raises:
            DataError: another shape or element type than this file's output has.
        """
        if raw.dtype != self._output.dtype or raw.ndim != 2 or raw.shape[1] != self.class_count:
            raise DataError(
                f"{self.name} answers {self._output.dtype} (N, {self.class_count}),"
                f" got {raw.dtype} {raw.shape}"
            )
        if self._output.scale == 0.0:
            return raw.astype(np.float32, copy=False)
        steps = raw.astype(np.float32) - np.float32(self._output.zero_point)
        return steps * np.float32(self._output.scale)


class ActivationProbe:
    """All tensors of a .tflite file after an inference: for studying its layers, not for timing.

    Runs without XNNPACK, which keeps what is between its operators to itself.

    Raises:
        ArtifactError: not a TFLite file, or damaged.
    """

    def __init__(self, model: bytes, *, threads: int = 1, name: str = "the model") -> None:
        self.file = tflite_file.parse(model, name)
        self._interpreter = _open_interpreter(model, threads, False, name, preserve_all=True)
        self._entry = self._interpreter.get_input_details()[0]["index"]

    def run(self, entry: NDArray[Any]) -> None:
        """One inference; ``entry`` has the input tensor's own shape and element type."""
        self._interpreter.set_tensor(self._entry, entry)
        self._interpreter.invoke()

    def value(self, index: int) -> NDArray[Any]:
        """A copy of tensor ``index`` (of ``file.tensors``) as the last inference left it."""
        return self._interpreter.get_tensor(index)


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _classifier_shape(file: TFLiteFile, name: str) -> tuple[tuple[int, int], int]:
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        raise ArtifactError(
            f"{name} has {len(file.inputs)} inputs and {len(file.outputs)} outputs;"
            " allowed: one image in, one row of class probabilities out"
        )
    entry, leave = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
    allowed = ("FLOAT32", "UINT8", "INT8", "INT16")
    shapes_fit = (
        len(entry.shape) == 4
        and entry.shape[0] == 1
        and entry.shape[3] == 3
        and min(entry.shape) >= 1
        and len(leave.shape) == 2
        and leave.shape[0] == 1
        and leave.shape[1] >= 2
    )
    if not shapes_fit or entry.dtype not in allowed or leave.dtype not in allowed:
        raise ArtifactError(
            f"{name} maps {entry.dtype} {entry.shape} to {leave.dtype} {leave.shape};"
            " allowed: (1, H, W, 3) to (1, classes) in float32, uint8, int8 or int16"
        )
    return (entry.shape[1], entry.shape[2]), leave.shape[1]


def _open_interpreter(
    data: bytes, threads: int, xnnpack: bool, name: str, *, preserve_all: bool = False
) -> Interpreter:
    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with known_chatter_held_back():
            interpreter = Interpreter(
                model_content=data,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=preserve_all,
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{name} cannot be run by the TFLite interpreter ({first_line(error)})"
        ) from error
    return interpreter


def _resize(interpreter: Interpreter, batch: int, expected: tuple[int, int], name: str) -> None:
    """Make the input ``batch`` images long, where the graph lets the output follow."""
    entry = interpreter.get_input_details()[0]
    try:
        interpreter.resize_tensor_input(entry["index"], [batch, *entry["shape"][1:]])
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{name} cannot run {batch} images at once ({first_line(error)})"
        ) from error
    found = tuple(interpreter.get_output_details()[0]["shape"].tolist())
    if found != expected:
        raise ArtifactError(
            f"{name} cannot run {batch} images at once: its output becomes {found}, not {expected}"
        )


def _numbers(details: dict[str, Any]) -> _Numbers:
    scale, zero_point = details["quantization"]
    return _Numbers(np.dtype(details["dtype"]), float(scale), int(zero_point))


def _output_quantum(file: TFLiteFile) -> float | None:
    """The step of the output, or of the integers behind it where a DEQUANTIZE ends the graph."""
    leave = file.tensors[file.outputs[0]]
    last = file.producer(leave.index)
    if last is not None and last.name == "DEQUANTIZE":
        leave = file.tensors[last.inputs[0]]
    return leave.scales[0] if leave.scales else None


def _input_filler(
    file: TFLiteFile, numbers: _Numbers, name: str, normalization: Normalization | None
) -> Filler:
    """How pixels get into the input: raw for a float graph, scaled where it quantizes them first."""
    try:
        if numbers.dtype == np.float32 and normalization is not None:
            return normalized_filler(normalization)
        if numbers.dtype == np.uint8 and numbers.scale == 0.0:
            return raw_filler()
        if numbers.dtype != np.float32:
            return integer_filler(numbers.dtype, numbers.scale, numbers.zero_point)
        readers = file.consumers(file.inputs[0])
        if len(readers) != 1 or readers[0].name != "QUANTIZE":
            return raw_filler()
        inner = file.tensors[readers[0].outputs[0]]
        return scaled_filler(np.dtype(inner.dtype.lower()), inner.scales[0], inner.zero_points[0])
    except (IndexError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{name} takes no input that pixels can be written to ({first_line(error)})"
        ) from error
