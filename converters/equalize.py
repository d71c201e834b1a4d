"""Give the channels of a tensor similar ranges before they share one scale.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction": a channel
may be multiplied by s if whoever reads it divides by s. Weights that make it take s (their scale is
per channel, so it costs nothing there); weights that read it take 1 / s. The float function is the
same. How much: s² ∝ weights that read the channel / values of the channel, which shares the spread
between both (Xiao et al. 2023, "SmoothQuant", with its exponent 1/2). Depthwise weights have a scale
per channel at either end: where nothing else reads a tensor, its channels are made equal (exponent 1).

What ReLU6 limits: relu6(s x) = s relu6(x) only while s x stays below 6. Its channels may only grow,
and only those that stay 10 % below 6 on every calibration image after it; others keep s = 1. On
other images a value may be clipped that was not before. A residual sum and all that it adds share s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.constants import replace_constants
from converters.lowering import CalibratedModel, calibrated_model
from converters.scaling import InputScaling
from converters.weighted import WeightedLayer, shared_constants, weighted_layers
from edgecell import tflite_file
from edgecell.errors import ConvertError
from edgecell.runtime import ActivationProbe
from edgecell.tflite_file import TFLiteFile

LARGEST = 64.0
"""No channel is multiplied or divided by more: the rest is a channel that hardly lives."""

_MARGIN = 1.1
_CLIP = 6.0
_KIND = schema.ActivationFunctionType
_HOMOGENEOUS = (_KIND.NONE, _KIND.RELU, _KIND.RELU6)
# Operators that pass each channel's factor on: f(s x) = s f(x), channel by channel.
_PASSING = ("ADD", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Tensors (indices) that must share their channels' factors, and the layers at either end."""

    tensors: tuple[int, ...]
    writers: tuple[WeightedLayer, ...]
    readers: tuple[WeightedLayer, ...]

    @property
    def clipped(self) -> bool:
        """Whether a ReLU6 stands before one of the tensors."""
        return any(layer.activation == _KIND.RELU6 for layer in self.writers)


def equalize(
    calibrated: CalibratedModel, images: NDArray[np.uint8], scaling: InputScaling
) -> CalibratedModel:
    """The same function with evened channels, its ranges measured anew on ``images``.

    ``images`` uint8 (N, H, W, 3) should be those of the calibration.

    Raises:
        ConvertError: no images, or no group of channels that can be scaled.
    """
    if len(images) == 0:
        raise ConvertError("equalisation needs calibration images; name the data with --data")
    found = groups(calibrated.flatbuffer)
    if not found:
        raise ConvertError("no two layers of this network can be evened out against each other")
    peaks = _peaks(calibrated.flatbuffer, images, scaling, {t for g in found for t in g.tensors})
    file = tflite_file.parse(calibrated.flatbuffer)
    weights = {
        index: file.constant(index).astype(np.float64)
        for layer in weighted_layers(calibrated.flatbuffer)
        for index in (layer.weights, layer.bias)
        if index is not None
    }
    for group in found:
        factors = _factors(group, weights, peaks)
        for layer in group.writers:
            _scale_outputs(layer, weights, factors)
        for layer in group.readers:
            _scale_inputs(layer, weights, 1 / factors)
    changed = {index: values.astype(np.float32) for index, values in weights.items()}
    scaled = calibrated_model(replace_constants(calibrated.flatbuffer, changed))
    return scaled.with_ranges(_ranges(scaled, images, scaling))


def groups(flatbuffer: bytes) -> list[Group]:
    """The sets of tensors whose channels can be scaled without changing the function."""
    file = tflite_file.parse(flatbuffer)
    layers = {layer.operator: layer for layer in weighted_layers(flatbuffer)}
    plain = _without_activation(flatbuffer)
    parent = list(range(len(file.tensors)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    # A factor for one would be one for the other; to zeros it is nothing.
    shared = {index for index in shared_constants(file) if file.constant(index).any()}
    frozen = {*file.inputs, *file.outputs}
    for op in file.operators:
        if op.index in layers:
            layer = layers[op.index]
            if {layer.weights, layer.bias} & shared:
                frozen |= {layer.entry, layer.output}
            elif layer.activation not in _HOMOGENEOUS:
                frozen.add(layer.output)
            continue
        data = [i for i in (*op.inputs, *op.outputs) if i >= 0 and not _parameter(file, op.name, i)]
        channels = {file.tensors[i].shape[-1:] for i in data}
        passes = op.name in _PASSING and op.index in plain and len(channels) == 1
        if not passes or any(file.tensors[i].constant for i in data):
            frozen.update(data)
            continue
        for index in data:
            parent[root(index)] = root(data[0])
    stuck = {root(index) for index in frozen}
    members: dict[int, list[int]] = {}
    for tensor in file.tensors:
        if not tensor.constant and root(tensor.index) not in stuck:
            members.setdefault(root(tensor.index), []).append(tensor.index)
    found = [
        Group(
            tuple(each),
            tuple(layer for layer in layers.values() if layer.output in each),
            tuple(layer for layer in layers.values() if layer.entry in each),
        )
        for each in members.values()
    ]
    return [g for g in found if g.writers and g.readers and _same_width(file, g)]


def _parameter(file: TFLiteFile, name: str, index: int) -> bool:
    """Axes of a MEAN and widths of a PAD: whole numbers, not data."""
    return name in ("MEAN", "PAD") and file.tensors[index].dtype in ("INT32", "INT64")


def _without_activation(flatbuffer: bytes) -> set[int]:
    """Operators whose fused activation, if they have one, lets a positive factor through."""
    graph = schema.ModelT.InitFromPackedBuf(flatbuffer, 0).subgraphs[0]
    allowed = (_KIND.NONE, _KIND.RELU)
    return {
        index
        for index, op in enumerate(graph.operators)
        if getattr(op.builtinOptions, "fusedActivationFunction", _KIND.NONE) in allowed
    }


def _same_width(file: TFLiteFile, group: Group) -> bool:
    """A dense layer that reads a flattened map has another width than the channels."""
    widths = {file.tensors[index].shape[-1] for index in group.tensors}
    widths |= {file.tensors[layer.entry].shape[-1] for layer in group.readers}
    dense = [layer for layer in group.readers if layer.kind == "FULLY_CONNECTED"]
    return len(widths) == 1 and all(file.tensors[r.weights].shape[-1] in widths for r in dense)


def _factors(
    group: Group, weights: dict[int, FloatArray], peaks: dict[int, FloatArray]
) -> FloatArray:
    """s of each channel (C,)."""
    peak = np.max([peaks[index] for index in group.tensors], axis=0)
    readers = [layer for layer in group.readers if not layer.depthwise]
    heights = [_heights(layer, weights[layer.weights]) for layer in readers]
    height = np.max(heights, axis=0) if heights else np.ones_like(peak)
    alive = (peak > 0) & (height > 0)
    room = np.divide(_CLIP, _MARGIN * peak, out=np.ones_like(peak), where=alive).clip(1.0, LARGEST)
    if group.clipped and not readers:
        return room
    share = 0.5 if readers else 1.0
    factors = np.ones_like(peak)
    factors[alive] = height[alive] ** (1 - share) / peak[alive] ** share
    if alive.any():
        factors[alive] /= np.exp(np.log(factors[alive]).mean())
    factors = factors.clip(1 / LARGEST, LARGEST)
    if not group.clipped:
        return factors
    return np.minimum(factors, room).clip(1.0)


def _heights(layer: WeightedLayer, weights: FloatArray) -> FloatArray:
    """How far a channel's weights reach up the range of the outputs they are part of (C,), 0..1."""
    rows = np.abs(weights).reshape(len(weights), -1, weights.shape[-1]).max(axis=1)
    largest = rows.max(axis=1, keepdims=True)
    share: FloatArray = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    return share.max(axis=0)


def _scale_outputs(
    layer: WeightedLayer, weights: dict[int, FloatArray], factors: FloatArray
) -> None:
    shape = (-1, *(1,) * (weights[layer.weights].ndim - 1))
    across = factors if layer.depthwise else factors.reshape(shape)
    weights[layer.weights] = weights[layer.weights] * across
    if layer.bias is not None:
        weights[layer.bias] = weights[layer.bias] * factors


def _scale_inputs(
    layer: WeightedLayer, weights: dict[int, FloatArray], factors: FloatArray
) -> None:
    if layer.depthwise:  # output channels c·m … c·m + m − 1 read input channel c
        factors = np.repeat(factors, weights[layer.weights].shape[-1] // len(factors))
    weights[layer.weights] = weights[layer.weights] * factors


def _runs(
    flatbuffer: bytes, images: NDArray[np.uint8], scaling: InputScaling
) -> Iterator[ActivationProbe]:
    probe = ActivationProbe(flatbuffer)
    for image in images:
        probe.run(scaling.apply(image)[None])
        yield probe


def _peaks(
    flatbuffer: bytes, images: NDArray[np.uint8], scaling: InputScaling, watched: set[int]
) -> dict[int, FloatArray]:
    """The largest magnitude of every channel (C,) of the watched tensors."""
    peaks: dict[int, FloatArray] = {}
    for probe in _runs(flatbuffer, images, scaling):
        for index in watched:
            value = probe.value(index)
            seen = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0).astype(np.float64)
            peaks[index] = np.maximum(peaks[index], seen) if index in peaks else seen
    return peaks


def _ranges(
    model: CalibratedModel, images: NDArray[np.uint8], scaling: InputScaling
) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every activation but the input, 0 included."""
    file = tflite_file.parse(model.flatbuffer)
    watched = {
        t.index: t.name
        for t in file.tensors
        if t.name in model.ranges and t.name != model.input_name
    }
    ends = dict.fromkeys(watched.values(), (0.0, 0.0))
    for probe in _runs(model.flatbuffer, images, scaling):
        for index, name in watched.items():
            value, (low, high) = probe.value(index), ends[name]
            ends[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return {name: (low, high) for name, (low, high) in ends.items() if low < high}
