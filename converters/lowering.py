"""Keras graph → float flatbuffer → calibrated flatbuffer → integer flatbuffer.

The calibrated model in the middle is where post-training methods differ: whoever chooses other
ranges edits them there and quantizes again, in a twentieth of a second.

The only place that calls TensorFlow's private converter functions (checked with 2.21, which the
constraints file pins): the public converter joins calibration and quantization in one call, exports
a SavedModel on the way (15 s for MobileNetV2 0.35, against 0.7 s from the frozen graph), and takes
the input's range from the sample although it is known: 200 images seldom reach pixels 0 and 255.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.convert_phase import ConverterError
from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

from converters.constants import pack
from converters.scaling import RAW, InputScaling
from edgecell.errors import ConvertError
from edgecell.keras_file import first_line
from edgecell.native_log import known_chatter_held_back

_FAILURES = (ConverterError, ValueError, RuntimeError, TypeError, tf.errors.OpError)
_SIGNATURE, _INPUT, _OUTPUT = "serving_default", "image", "probabilities"


@dataclass(frozen=True)
class CalibratedModel:
    """A float flatbuffer in which every activation carries the range it was seen to take.

    ``ranges`` maps a tensor's name to (min, max) in real numbers, the input included.
    """

    flatbuffer: bytes
    ranges: Mapping[str, tuple[float, float]]
    input_name: str

    def with_ranges(self, changes: Mapping[str, tuple[float, float]]) -> CalibratedModel:
        """The same graph with other ranges for the named tensors.

        Raises:
            ConvertError: a name that is not in ``ranges``, an empty or a non-finite range.
        """
        for name, (low, high) in changes.items():
            if name not in self.ranges:
                raise ConvertError(
                    f"no activation '{name}' among {len(self.ranges)} calibrated ones"
                )
            if not (np.isfinite([low, high]).all() and low < high):
                raise ConvertError(f"range {low} to {high} of '{name}' is empty or not finite")
        model = schema.ModelT.InitFromPackedBuf(self.flatbuffer, 0)
        for tensor in model.subgraphs[0].tensors:
            name = tensor.name.decode()
            if name in changes and _has_range(tensor):
                tensor.quantization.min = np.array([changes[name][0]], np.float32)
                tensor.quantization.max = np.array([changes[name][1]], np.float32)
        return calibrated_model(pack(model))


def strip_scaling(model: keras.Model) -> tuple[keras.Model, InputScaling]:
    """The model behind its first Rescaling layer, and what that layer did.

    A model that does not start with a Rescaling of one scale and one offset comes back as it is, with
    :data:`~converters.scaling.RAW`: its input range is then 0..255.
    """
    layer = _first_rescaling(model)
    if layer is None:
        return model, RAW
    core = keras.Model(layer.output, model.output, name=f"{model.name}_scaled")
    return core, InputScaling(float(layer.scale), float(layer.offset))


def _first_rescaling(model: keras.Model) -> keras.layers.Layer | None:
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not layers or not isinstance(layers[0], keras.layers.Rescaling):
        return None
    layer = layers[0]
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        return None  # one scale per channel: it stays in the graph
    entry = layer.input
    readers = [
        node.layer.name
        for each in layers
        for node in each.inbound_nodes
        if any(tensor is entry for tensor in tf.nest.flatten(node.input_tensors))
    ]
    return layer if readers == [layer.name] else None


def lower(model: keras.Model, optimization: str = "float32") -> bytes:
    """Float flatbuffer of a Keras model with a static batch of 1, from its frozen graph.

    ``optimization``: "float32" as it is, "float16" weights in half precision, "dynamic" weights in
    int8 with activations quantized while running.

    Raises:
        ConvertError: an operator that TFLite's builtin set does not have, or a graph that cannot be
            traced.
    """
    shape = model.input_shape
    try:
        traced = tf.function(lambda image: model(image, training=False)).get_concrete_function(
            tf.TensorSpec([1, *shape[1:]], tf.float32, name=_INPUT)
        )
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], model)
        converter.experimental_lower_to_saved_model = False
        # The metadata would name the settings of this step, not of what the file becomes.
        converter.exclude_conversion_metadata = True
        if optimization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if optimization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return _with_signature(converter.convert())
    except _FAILURES as error:
        raise ConvertError(
            f"{model.name} cannot be converted to TFLite ({first_line(error)});"
            " allowed: layers that TFLite's builtin operators express"
        ) from error


def calibrate(
    model: keras.Model, images: NDArray[np.uint8]
) -> tuple[CalibratedModel, InputScaling]:
    """Run ``images`` uint8 (N, H, W, 3) through the float graph and note every activation's range.

    The scaling layer is taken out, and the input's range is set to what pixels 0 and 255 become
    instead of what the sample reached: a scale of exactly 1/128 for edgecell's own models.

    Raises:
        ConvertError: as :func:`lower`, or the graph cannot be run.
    """
    core, scaling = strip_scaling(model)
    flatbuffer = lower(core)

    def samples() -> Iterator[list[NDArray[np.float32]]]:
        for image in images:
            yield [scaling.apply(image)[None]]

    try:
        calibrator = Calibrator(add_intermediate_tensors(flatbuffer))
        found = calibrated_model(calibrator.calibrate(samples))
    except _FAILURES as error:
        raise ConvertError(f"{model.name} cannot be calibrated ({first_line(error)})") from error
    return found.with_ranges({found.input_name: (scaling.low, scaling.high)}), scaling


def calibrated_model(flatbuffer: bytes) -> CalibratedModel:
    """Read the ranges of a calibrated flatbuffer; ConvertError where two tensors share a name."""
    graph = schema.ModelT.InitFromPackedBuf(flatbuffer, 0).subgraphs[0]
    ranges: dict[str, tuple[float, float]] = {}
    for tensor in graph.tensors:
        if _has_range(tensor):
            name = tensor.name.decode()
            if name in ranges:
                raise ConvertError(f"two activations are called '{name}'; rename one layer")
            ranges[name] = (float(tensor.quantization.min[0]), float(tensor.quantization.max[0]))
    return CalibratedModel(flatbuffer, ranges, graph.tensors[graph.inputs[0]].name.decode())


def quantize_int8(
    calibrated: CalibratedModel,
    input_type: str = "uint8",
    *,
    float_nodes: frozenset[str] = frozenset(),
) -> bytes:
    """int8 activations per tensor, int8 weights per channel, int32 biases.

    ``input_type`` uint8, int8 or float32 is the type of input and output; ``float_nodes`` names
    output tensors of operators that stay in float (the file is then mixed, not int8).

    Raises:
        ConvertError: the quantizer refuses the graph.
    """
    io_type = tf.as_dtype(input_type)
    try:
        with known_chatter_held_back():
            # Not fully_quantize: that flag makes input and output int8 whatever the types say. That
            # nothing stayed in float is the audit's to find out.
            return mlir_quantize(
                calibrated.flatbuffer,
                input_data_type=io_type,
                output_data_type=io_type,
                denylisted_nodes=set(float_nodes) or None,
            )
    except _FAILURES as error:
        raise ConvertError(
            f"the model cannot be quantized to int8 ({first_line(error)})"
        ) from error


def quantize_int16x8(calibrated: CalibratedModel, input_type: str = "float32") -> bytes:
    """int16 activations (symmetric, zero point 0), int8 weights per channel, int64 biases.

    ``input_type`` float32 or int16 is the type of input and output.

    Raises:
        ConvertError: the quantizer refuses the graph.
    """
    numbers = [np.dtype(name).num for name in (input_type, input_type, "int16", "int64")]
    try:
        # The calibrator is not fed here: it then keeps the ranges that the file brings along.
        quantizer = Calibrator(calibrated.flatbuffer)._calibrator
        io_in, io_out, activations, bias = numbers
        with known_chatter_held_back():
            return bytes(
                quantizer.QuantizeModel(io_in, io_out, False, activations, bias, False, False)
            )
    except _FAILURES as error:
        raise ConvertError(
            f"the model cannot be quantized to int16x8 ({first_line(error)})"
        ) from error


def _has_range(tensor: schema.TensorT) -> bool:
    quantization = tensor.quantization
    return quantization is not None and quantization.min is not None and len(quantization.min) > 0


def _with_signature(flatbuffer: bytes) -> bytes:
    """Name input and output, as the converter does on its way over a SavedModel."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = _SIGNATURE
    signature.inputs = [_named(_INPUT, graph.inputs[0])]
    signature.outputs = [_named(_OUTPUT, graph.outputs[0])]
    model.signatureDefs = [signature]
    return pack(model)


def _named(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry
