"""A Keras model that rounds where its int8 file will round: the twin that training improves.

Fake quantization after Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", on TFMOT's wrapper and quantizer interfaces. TFMOT's own 8-bit
scheme is not used: it gives depthwise and dense weights one scale for all channels where the file
has one for each, starts every range at ±6, and its layer patterns know a fixed list of layers. Here
the file decides instead: whatever has a range in the calibrated flatbuffer is rounded in the twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from numpy.typing import NDArray

from converters.kept import taken
from converters.lowering import CalibratedModel, calibrate, strip_scaling
from converters.scaling import InputScaling
from edgecell.errors import ConvertError
from edgecell.tflite_file import parse

RANGE_DECAY = 0.99
"""Weight of the old range when a training step in which ranges move has seen a new one."""

# Keras layer → its weights to quantize, and whether output channels are the last axis but one.
_KERNELS = {
    "Conv2D": ("kernel", False),
    "Dense": ("kernel", False),
    "DepthwiseConv2D": ("depthwise_kernel", True),
}
# Operators whose output's scale is not for a range to choose: the input's where values only move, and
# 1/256 behind a sigmoid (see _CURVES).
_FIXED = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "PADV2", "RESHAPE", "LOGISTIC")
_PREFIX = "quant_"
_tfmot: Any = tfmot.quantization.keras  # its modules are made at import time, mypy sees none


def rounded_sigmoid(values: tf.Tensor) -> tf.Tensor:
    """The sigmoid in steps of 1/256, the only scale that TFLite's int8 kernel gives its output."""
    return tf.quantization.fake_quant_with_min_max_args(
        tf.sigmoid(values), min=0.0, max=255 / 256, num_bits=8
    )


def rounded_swish(values: tf.Tensor) -> tf.Tensor:
    """x · sigmoid(x) as a file computes it: the sigmoid is a tensor of its own, and rounded."""
    return values * rounded_sigmoid(values)


_CURVES = {keras.activations.sigmoid: rounded_sigmoid, keras.activations.swish: rounded_swish}


class ChannelQuantizer(_tfmot.quantizers.Quantizer):
    """int8 weights with a scale per output channel, symmetric, −127…127: TFLite's own rule.

    The range is that of the weights of this very step, so there is nothing to store. ``shared``: one
    scale for all channels of the kernel, as :mod:`converters.shared_scales` gives clustered ones.
    """

    def __init__(self, depthwise: bool, shared: bool = False) -> None:
        self.depthwise, self.shared = depthwise, shared

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """No variables."""
        return {}

    def __call__(self, inputs: tf.Tensor, training: Any, weights: Any, **_: Any) -> tf.Tensor:
        """(…, C), or depthwise (h, w, C, m), rounded to each channel's grid."""
        shape = tf.shape(inputs)
        # A depthwise kernel has C·m output channels, as its flatbuffer tensor [1, h, w, C·m] shows.
        channels = inputs.shape[-1] * (inputs.shape[-2] if self.depthwise else 1)
        flat = tf.reshape(inputs, [-1, channels])
        peaks = tf.reduce_max(tf.abs(flat), axis=0)
        if self.shared:
            peaks = tf.fill([channels], tf.reduce_max(peaks))
        limit = tf.stop_gradient(tf.maximum(peaks, 1e-8))
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, -limit, limit, num_bits=8, narrow_range=True
        )
        return tf.reshape(rounded, shape)

    def get_config(self) -> dict[str, Any]:
        """JSON settings."""
        return {"depthwise": self.depthwise, "shared": self.shared}


class RangeQuantizer(_tfmot.quantizers.Quantizer):
    """int8 activations, one range per tensor, kept in two variables; training moves it slowly."""

    def build(self, tensor_shape: Any, name: str, layer: keras.layers.Layer) -> dict[str, Any]:
        """Variables ``<name>_min`` and ``<name>_max`` of ``layer``."""
        # Zeros until the twin's builder writes measured ranges: an empty range would show at once.
        return {
            end: layer.add_weight(f"{name}_{end}", shape=(), initializer="zeros", trainable=False)
            for end in ("min", "max")
        }

    def __call__(self, inputs: tf.Tensor, training: Any, weights: Any, **_: Any) -> tf.Tensor:
        """``inputs`` rounded; with ``training`` the range first moves towards that of ``inputs``."""
        low, high = weights["min"], weights["max"]
        if training:
            for end, seen in (
                (low, tf.minimum(tf.reduce_min(inputs), 0.0)),
                (high, tf.maximum(tf.reduce_max(inputs), 0.0)),
            ):
                end.assign(RANGE_DECAY * end + (1 - RANGE_DECAY) * seen)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """No settings."""
        return {}


class LayerQuantization(_tfmot.QuantizeConfig):
    """What is rounded in one layer: its kernel, what goes into its last activation, or what comes out."""

    def __init__(
        self,
        kernel: str | None,
        depthwise: bool,
        before_last: bool,
        output: bool,
        shared: bool = False,
    ) -> None:
        self.kernel, self.depthwise, self.shared = kernel, depthwise, shared
        self.before_last, self.output = before_last, output

    def get_weights_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """The kernel with its quantizer."""
        if self.kernel is None:
            return []
        return [(getattr(layer, self.kernel), ChannelQuantizer(self.depthwise, self.shared))]

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """The softmax or sigmoid at the end: TFMOT rounds what goes into one."""
        return [(layer.activation, RangeQuantizer())] if self.before_last else []

    def set_quantize_weights(self, layer: keras.layers.Layer, quantize_weights: list[Any]) -> None:
        """Called by TFMOT with the rounded kernel."""
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: keras.layers.Layer, activations: list[Any]) -> None:
        """Called by TFMOT with the wrapped activation."""
        if self.before_last:
            layer.activation = activations[0]

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[Any]:
        """One for the output, or none."""
        return [RangeQuantizer()] if self.output else []

    def get_config(self) -> dict[str, Any]:
        """JSON settings."""
        return {
            "kernel": self.kernel,
            "depthwise": self.depthwise,
            "before_last": self.before_last,
            "output": self.output,
            "shared": self.shared,
        }


@dataclass
class Twin:
    """A fake-quantized copy of a model behind its scaling, and the way back to a file.

    ``model`` takes scaled pixels float32 (N, H, W, 3); ``plain`` is the reference's architecture,
    waiting for weights; ``samples`` uint8 are images for ranges that no layer's output has.
    """

    model: keras.Model
    scaling: InputScaling
    plain: keras.Model
    samples: NDArray[np.uint8]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of every rounded activation, by layer."""
        variables = _range_variables(self.model)
        return {name: (float(low), float(high)) for name, (low, high) in variables}

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Write ranges by layer; ConvertError where the layers are not the twin's."""
        variables = dict(_range_variables(self.model))
        if set(ranges) != set(variables):
            odd = sorted(set(ranges) ^ set(variables))
            raise ConvertError(f"ranges and rounded layers differ in {', '.join(odd[:3])}")
        for name, (low, high) in ranges.items():
            variables[name][0].assign(low)
            variables[name][1].assign(high)

    def kernels(self) -> dict[str, tf.Variable]:
        """The kernels of convolutions and dense layers, by layer."""
        found = {layer.name.removeprefix(_PREFIX): layer for layer in self.model.layers}
        return {name: _same_weights(layer, found[name])[0] for name, layer in taken(self.plain)}

    def tuned(self) -> keras.Model:
        """The reference's architecture, scaling included, with the twin's weights (float)."""
        found = {layer.name.removeprefix(_PREFIX): layer for layer in self.model.layers}
        for layer in self.plain.layers:
            if layer.weights:
                layer.set_weights([v.numpy() for v in _same_weights(layer, found[layer.name])])
        return self.plain

    def calibrated(self) -> CalibratedModel:
        """A calibrated flatbuffer of the twin's weights that carries the twin's ranges."""
        calibrated, _ = calibrate(self.tuned(), self.samples)
        ranges = self.ranges()
        # Matched anew: names of fused tensors hang on the weights, a bias of zeros drops out of them.
        tensors, _ = match_layers(self.plain, calibrated)
        if set(tensors) != set(ranges):
            odd = sorted(set(tensors) ^ set(ranges))
            raise ConvertError(
                f"the file does not round where training did ({', '.join(odd[:3])}): weights of a"
                " layer have died; start again with a lower --qat-learning-rate"
            )
        return calibrated.with_ranges({tensors[layer]: r for layer, r in ranges.items()})


def build_twin(reference: keras.Model, images: NDArray[np.uint8], *, shared: bool = False) -> Twin:
    """The twin of ``reference``, its ranges those that ``images`` uint8 (N, H, W, 3) reach.

    ``shared``: a kernel that can be clustered is rounded on one scale for all its channels.

    The reference is left as it is. Weights start equal, so before any training the twin does what a
    plainly calibrated int8 file does.

    Raises:
        ConvertError: nested layers, or a graph that TFLite or the matching of layers does not know.
    """
    plain = keras.models.clone_model(reference)
    plain.set_weights(reference.get_weights())
    calibrated, scaling = calibrate(reference, images)
    core, _ = strip_scaling(plain)
    nested = [layer.name for layer in core.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ConvertError(
            f"'{nested[0]}' is a model inside the model; quantization-aware training takes flat ones"
        )
    tensors, unmatched = match_layers(core, calibrated)
    model = _wrapped(core, set(tensors), shared)
    # Tensors inside a layer (the halves of a swish) have no layer whose output they are: their
    # ranges are measured again on all images, the others' come from the twin.
    twin = Twin(model, scaling, plain, images if unmatched else images[:1])
    twin.set_ranges({layer: calibrated.ranges[name] for layer, name in tensors.items()})
    return twin


def match_layers(
    model: keras.Model, calibrated: CalibratedModel
) -> tuple[dict[str, str], list[str]]:
    """Layer → tensor that is its output, and the tensors with a range that are no layer's output.

    A tensor is named after the layers that were fused into its operator: "…/relu/Relu6;…/bn/…". Its
    layer is the one furthest down the model; of several tensors in a layer the last is its output.
    """
    position = {layer.name: i for i, layer in enumerate(model.layers)}
    file = parse(calibrated.flatbuffer)
    ports = {file.tensors[i].name for i in (*file.inputs, *file.outputs)}
    tensors: dict[str, str] = {}
    unmatched = []
    for op in file.operators:
        name = file.tensors[op.outputs[0]].name
        if name not in calibrated.ranges or name in ports or op.name in _FIXED:
            continue
        known = [p for segment in name.split(";") for p in segment.split("/") if p in position]
        if not known:
            unmatched.append(name)
            continue
        layer = max(known, key=lambda each: position[each])
        if layer in tensors:
            unmatched.append(tensors[layer])
        tensors[layer] = name
    return tensors, unmatched


def _wrapped(core: keras.Model, rounded: set[str], shared: bool) -> keras.Model:
    clusterable = {name for name, _ in taken(core)} if shared else set()

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = layer.__class__.from_config(layer.get_config())
        kernel, depthwise = _KERNELS.get(type(layer).__name__, (None, False))
        activation = getattr(layer, "activation", None)
        # A dense or convolution layer that ends in one of these rounds before it: the file's output
        # tensor behind it has a scale of its own kind.
        before = kernel is not None and activation in (
            keras.activations.softmax,
            keras.activations.sigmoid,
        )
        # The last sigmoid stays smooth: where it rounds to 0 no gradient would come back.
        if activation in _CURVES and not before and layer.name not in core.output_names:
            copy.activation = _CURVES[activation]
        output = layer.name in rounded
        if kernel is None and not output:
            return copy
        how = LayerQuantization(
            *(kernel, depthwise, before and output, output and not before),
            shared=layer.name in clusterable,
        )
        # float32 even where a GPU has set another policy: the grids of int8 are not half precision's.
        return _tfmot.QuantizeWrapperV2(copy, how, name_prefix=_PREFIX, dtype="float32")

    model = keras.models.clone_model(core, clone_function=wrap)
    found = {layer.name.removeprefix(_PREFIX): layer for layer in model.layers}
    for layer in core.layers:
        twins = _same_weights(layer, found[layer.name])
        for target, source in zip(twins, layer.weights, strict=True):
            target.assign(source)
    return model


def _same_weights(plain: keras.layers.Layer, wrapped: keras.layers.Layer) -> list[tf.Variable]:
    """The variables of ``wrapped`` that stand for ``plain.weights``, in that order."""
    by_name = {_last(v.name): v for v in wrapped.weights}
    return [by_name[_last(v.name)] for v in plain.weights]


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1].split(":")[0]


def _range_variables(model: keras.Model) -> list[tuple[str, tuple[tf.Variable, tf.Variable]]]:
    found = []
    for layer in model.layers:
        ends = {
            end: v
            for v in layer.weights
            for end in ("min", "max")
            if _last(v.name) in (f"output_{end}", f"pre_activation_{end}")
        }
        if ends:
            found.append((layer.name.removeprefix(_PREFIX), (ends["min"], ends["max"])))
    return found
