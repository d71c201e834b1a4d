"""Convolutions and dense layers of a flatbuffer, all seen as matrices times input patches.

A layer of B blocks, O outputs and K inputs each: y[b, o] = Σ_k W[b, o, k] x[b, k] + bias[b, o].
Convolutions and dense layers are one block (K = height · width · channels of the kernel); a depthwise
convolution has one block for each input channel (K = height · width, O = its multiplier).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgecell import tflite_file
from edgecell.tflite_file import Operator, TFLiteFile

_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_SAME = schema.Padding.SAME


@dataclass(frozen=True)
class WeightedLayer:
    """One weighted operator: the tensors it touches (indices) and how its kernel moves.

    ``name`` is that of its output tensor, the same in the float file and in what is made of it.
    ``activation`` is the fused one, as the schema's ActivationFunctionType.
    """

    name: str
    kind: str
    operator: int
    entry: int
    weights: int
    bias: int | None
    output: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    same: bool
    activation: int

    @property
    def depthwise(self) -> bool:
        """One block for each input channel."""
        return self.kind == "DEPTHWISE_CONV_2D"

    def as_matrices(self, weights: NDArray[Any], channels: int) -> NDArray[np.float64]:
        """The stored weights as (B, O, K); ``channels`` of the input."""
        values = weights.astype(np.float64)
        if not self.depthwise:
            return values.reshape(1, weights.shape[0], -1)
        taps = weights.shape[1] * weights.shape[2]
        return values.reshape(taps, channels, -1).transpose(1, 2, 0)

    def from_matrices(self, matrices: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The inverse of :meth:`as_matrices`."""
        if self.depthwise:
            matrices = matrices.transpose(2, 0, 1)
        return matrices.reshape(shape)


def weighted_layers(flatbuffer: bytes) -> list[WeightedLayer]:
    """The convolutions and dense layers in running order; grouped convolutions are left out."""
    file = tflite_file.parse(flatbuffer)
    unpacked = schema.ModelT.InitFromPackedBuf(flatbuffer, 0).subgraphs[0].operators
    return [
        _layer(file, op, unpacked[op.index].builtinOptions)
        for op in file.operators
        if op.name in _KINDS and not _grouped(file, op)
    ]


def shared_constants(file: TFLiteFile) -> set[int]:
    """Tensors with values of their own that several operators read: what is done to one is done to all."""
    read = Counter(index for op in file.operators for index in set(op.inputs) if index >= 0)
    return {index for index, times in read.items() if times > 1 and file.tensors[index].constant}


def patches(
    layer: WeightedLayer, entry: NDArray[Any], count: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """(rows, B, K): what the kernel sees at ``count`` random positions of one input, or at all.

    ``entry`` is the input tensor with its batch of 1.
    """
    if layer.kind == "FULLY_CONNECTED":
        return entry.reshape(-1, 1, entry.shape[-1]).astype(np.float32)
    image = _padded(layer, entry[0]) if layer.same else entry[0]
    height, width = ((k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True))
    windows = sliding_window_view(image, (height, width), axis=(0, 1))
    windows = windows[
        :: layer.strides[0], :: layer.strides[1], :, :: layer.dilations[0], :: layer.dilations[1]
    ]  # (rows, columns, channels, kernel height, kernel width)
    across, down = windows.shape[1], windows.shape[0]
    chosen = np.arange(down * across)
    if len(chosen) > count:
        chosen = random.choice(len(chosen), count, replace=False)
    picked = windows[chosen // across, chosen % across].astype(np.float32)
    rows, channels = picked.shape[:2]
    if layer.depthwise:
        return picked.reshape(rows, channels, -1)
    return picked.transpose(0, 2, 3, 1).reshape(rows, 1, -1)


def _padded(layer: WeightedLayer, image: NDArray[Any]) -> NDArray[Any]:
    """TFLite's SAME: the odd pixel goes below and to the right."""
    widths = []
    for n, k, stride, dilation in zip(
        image.shape[:2], layer.kernel, layer.strides, layer.dilations, strict=True
    ):
        total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(image, (*widths, (0, 0)))


def _layer(file: TFLiteFile, op: Operator, options: Any) -> WeightedLayer:
    weights = file.tensors[op.inputs[1]]
    dense = op.name == "FULLY_CONNECTED"
    has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
    return WeightedLayer(
        name=file.tensors[op.outputs[0]].name,
        kind=op.name,
        operator=op.index,
        entry=op.inputs[0],
        weights=weights.index,
        bias=op.inputs[2] if has_bias else None,
        output=op.outputs[0],
        kernel=(1, 1) if dense else (weights.shape[1], weights.shape[2]),
        strides=(1, 1) if dense else (options.strideH, options.strideW),
        dilations=(1, 1) if dense else (options.dilationHFactor, options.dilationWFactor),
        same=not dense and options.padding == _SAME,
        activation=int(options.fusedActivationFunction),
    )


def _grouped(file: TFLiteFile, op: Operator) -> bool:
    weights, entry = file.tensors[op.inputs[1]], file.tensors[op.inputs[0]]
    return op.name == "CONV_2D" and weights.shape[3] != entry.shape[3]
