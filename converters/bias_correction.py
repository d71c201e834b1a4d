"""Shift biases so that rounded weights leave every channel's mean where it was.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section
4.2: rounding W to Ŵ moves the mean of a channel by E[(Ŵ − W) x] = (Ŵ − W) E[x]. The paper derives
E[x] from BatchNorm; here it is measured on the calibration images. The bias takes the shift back: it
is an int32 in the file already, so this costs nothing when the model runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.constants import replace_constants
from converters.lowering import CalibratedModel
from converters.moments import Moments, channels_of
from converters.weighted import WeightedLayer, weighted_layers
from edgecell import tflite_file
from edgecell.tflite_file import TFLiteFile

_LARGEST = 2**31 - 1


def correct_biases(
    quantized: bytes, calibrated: CalibratedModel, moments: Mapping[str, Moments]
) -> bytes:
    """``quantized`` with the int32 biases of its int8 layers shifted; float layers stay as they are.

    ``calibrated`` is what the file was quantized from: the float weights to compare with.

    Raises:
        KeyError: moments of another model.
    """
    file, source = tflite_file.parse(quantized), tflite_file.parse(calibrated.flatbuffer)
    exact = {layer.name: layer for layer in weighted_layers(calibrated.flatbuffer)}
    changes: dict[int, NDArray[Any]] = {}
    for layer in integer_layers(quantized, file):
        if layer.bias is None:
            continue
        lost = weight_error(layer, file, exact[layer.name], source, moments[layer.name])
        shift = np.einsum("bok,bk->bo", lost, moments[layer.name].mean).ravel()
        steps = np.asarray(file.tensors[layer.bias].scales)
        moved = file.constant(layer.bias).astype(np.int64) + np.rint(shift / steps).astype(np.int64)
        changes[layer.bias] = moved.clip(-_LARGEST, _LARGEST).astype("<i4")
    return replace_constants(quantized, changes)


def integer_layers(quantized: bytes, file: TFLiteFile) -> list[WeightedLayer]:
    """The weighted layers of a file whose weights are int8."""
    return [
        layer
        for layer in weighted_layers(quantized)
        if file.tensors[layer.weights].dtype == "INT8" and _has_int32_bias(file, layer)
    ]


def weight_error(
    layer: WeightedLayer,
    file: TFLiteFile,
    exact: WeightedLayer,
    source: TFLiteFile,
    moments: Moments,
) -> NDArray[np.float64]:
    """Float weights minus what the file stores, as matrices (B, O, K)."""
    channels = channels_of(layer, moments)
    stored = layer.as_matrices(file.constant(layer.weights), channels)
    scales = channel_scales(layer, file, channels)
    return exact.as_matrices(source.constant(exact.weights), channels) - stored * scales


def channel_scales(layer: WeightedLayer, file: TFLiteFile, channels: int) -> NDArray[np.float64]:
    """The weights' scale of every output channel, (B, O, 1)."""
    scales = np.asarray(file.tensors[layer.weights].scales, np.float64)
    return scales.reshape(channels if layer.depthwise else 1, -1, 1)


def _has_int32_bias(file: TFLiteFile, layer: WeightedLayer) -> bool:
    return layer.bias is None or file.tensors[layer.bias].dtype == "INT32"
