"""Give the channels of a clustered kernel scales with which its values stay the same few integers.

int8 weights have a scale for each output channel, the channel's largest weight over 127. A kernel of
16 values then becomes up to 16 different integers in *each* channel, 255 in all, and packs no better
than any other. Batch normalisation, folded into the weights, multiplies channel c by f_c; with the
scale |f_c| · m / 127, m the kernel's largest value, every channel stores round(127 · value / m): 16
integers in the whole layer, or 32 where some f_c are below zero. Channels that never use the largest
value lose resolution, 1/254 of m at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from converters.constants import replace_constants
from converters.kept import kernels, matched, rows
from converters.weighted import WeightedLayer
from edgecell import tflite_file
from edgecell.errors import ConvertError
from edgecell.tflite_file import TFLiteFile

_LARGEST = 127
_PARALLEL = (
    1e-4  # float32 folding rounds each weight to 2^-24; anything further off is another layer
)


def share_scales(quantized: bytes, source: bytes, model: keras.Model) -> bytes:
    """``quantized`` with the int8 weights of ``model``'s clustered kernels on scales that keep them.

    ``source`` is the float file of the same model, which holds the folded weights and biases.

    Raises:
        ConvertError: weights of the file that are not the model's.
    """
    file, exact = tflite_file.parse(quantized), tflite_file.parse(source)
    folded = {layer: each for layer, each in matched(source, model)}
    known = kernels(model)
    values: dict[int, NDArray[Any]] = {}
    scales: dict[int, NDArray[np.float64]] = {}
    for layer, each in matched(quantized, model):
        if file.tensors[each.weights].dtype != "INT8":
            continue  # too small for dynamic-range quantization
        kernel = rows(known[layer])
        factors = _factors(exact.constant(folded[layer].weights), kernel, layer)
        largest = np.abs(kernel).max()
        old = np.asarray(file.tensors[each.weights].scales)
        steps = np.where(factors == 0, old, np.abs(factors) * largest / _LARGEST)
        steps = np.maximum(steps, np.finfo(np.float32).tiny)
        whole = np.rint(kernel * np.sign(factors)[:, None] * (_LARGEST / max(largest, 1e-30)))
        values[each.weights] = whole.reshape(file.tensors[each.weights].shape).astype(np.int8)
        scales[each.weights] = steps
        _rescale_bias(file, each, exact, folded[layer], steps, values, scales)
    return replace_constants(quantized, values, scales)


def _factors(weights: NDArray[Any], kernel: NDArray[np.float64], layer: str) -> NDArray[np.float64]:
    """What folding multiplied each row of ``kernel`` by."""
    folded = weights.reshape(kernel.shape).astype(np.float64)
    squares = (kernel**2).sum(axis=1)
    factors = np.divide(
        (folded * kernel).sum(axis=1), squares, out=np.zeros(len(kernel)), where=squares > 0
    )
    off = np.abs(folded - factors[:, None] * kernel).max(initial=0.0)
    if off > _PARALLEL * np.abs(folded).max(initial=0.0):
        raise ConvertError(f"the weights of layer '{layer}' in the file are not the model's")
    return factors


def _rescale_bias(
    file: TFLiteFile,
    each: WeightedLayer,
    exact: TFLiteFile,
    folded: WeightedLayer,
    steps: NDArray[np.float64],
    values: dict[int, NDArray[Any]],
    scales: dict[int, NDArray[np.float64]],
) -> None:
    """The bias on its new scale, that of the input times that of the weights."""
    if each.bias is None or file.tensors[each.bias].dtype not in ("INT32", "INT64"):
        return
    if folded.bias is None:
        raise ConvertError(f"'{each.name}' has a bias in one file and none in the other")
    of_bias = file.tensors[each.entry].scales[0] * steps
    dtype = file.constant(each.bias).dtype
    limit = np.iinfo(np.int32).max
    whole = np.rint(exact.constant(folded.bias).astype(np.float64) / of_bias)
    values[each.bias] = whole.clip(-limit, limit).astype(dtype)
    scales[each.bias] = of_bias
