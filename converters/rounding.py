"""Round weights one after the other, each making up for the errors of those before it.

Rounding every weight to its nearest step is best for the weights and not for what they compute.
Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", minimise E[((Ŵ − W) x)²] instead: the error of one rounded weight is spread over those
that are still free, along the inputs' covariance. It takes matrix algebra only, no training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.bias_correction import channel_scales, integer_layers
from converters.constants import replace_constants
from converters.lowering import CalibratedModel
from converters.moments import Moments, channels_of
from converters.weighted import weighted_layers
from edgecell import tflite_file

DAMPING = 0.01
"""Share of the mean variance added to every input's: what calibration never saw is not free."""

_LARGEST = 127


def round_weights(
    quantized: bytes, calibrated: CalibratedModel, moments: Mapping[str, Moments]
) -> bytes:
    """``quantized`` with its int8 weights rounded anew on the same scales.

    Layers without a covariance keep their nearest rounding. Follow with
    :func:`~converters.bias_correction.correct_biases`: the covariance leaves the means to it.

    Raises:
        KeyError: moments of another model.
    """
    file, source = tflite_file.parse(quantized), tflite_file.parse(calibrated.flatbuffer)
    exact = {layer.name: layer for layer in weighted_layers(calibrated.flatbuffer)}
    changes: dict[int, NDArray[Any]] = {}
    for layer in integer_layers(quantized, file):
        known = moments[layer.name]
        if known.covariance is None:
            continue
        channels = channels_of(layer, known)
        weights = exact[layer.name].as_matrices(
            source.constant(exact[layer.name].weights), channels
        )
        steps = compensated(weights, channel_scales(layer, file, channels), known.covariance)
        shape = file.tensors[layer.weights].shape
        changes[layer.weights] = layer.from_matrices(steps, shape).astype(np.int8)
    return replace_constants(quantized, changes)


def compensated(
    weights: NDArray[np.float64], scales: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Whole numbers (B, O, K) of steps, −127…127, for weights (B, O, K) and scales (B, O, 1).

    Inputs of the largest variance are rounded first, while most others are free to compensate. What
    ``covariance`` (B, K, K) has below zero, beyond the damping, is an error of its sums and taken for zero.
    """
    try:
        return _compensated(weights, scales, covariance)
    except np.linalg.LinAlgError:
        # Of inputs that hardly vary about a large mean little but that error is left.
        return _compensated(weights, scales, _positive(covariance))


def _positive(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest matrices (B, K, K) without negative eigenvalues (Higham 1988), a millionth above zero."""
    values, vectors = np.linalg.eigh(covariance)
    least = 1e-6 * np.abs(values).max(axis=1, keepdims=True)
    raised = np.maximum(values, least)[:, None, :]
    return np.asarray((vectors * raised) @ vectors.transpose(0, 2, 1))


def _compensated(
    weights: NDArray[np.float64], scales: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    variance = np.einsum("bkk->bk", covariance)
    damping = DAMPING * variance.mean(axis=1) + np.finfo(np.float64).tiny ** 0.5
    order = np.argsort(-variance, axis=1, kind="stable")
    ordered = np.take_along_axis(
        np.take_along_axis(covariance, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    ordered = ordered + damping[:, None, None] * np.eye(covariance.shape[1])
    spread = np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)  # upper triangular
    left = np.take_along_axis(weights, order[:, None, :], axis=2)
    steps = np.empty_like(left)
    for k in range(left.shape[2]):
        column = left[:, :, k : k + 1]
        chosen = np.rint(column / scales).clip(-_LARGEST, _LARGEST)
        steps[:, :, k : k + 1] = chosen
        error = (column - chosen * scales) / spread[:, k, k][:, None, None]
        left[:, :, k + 1 :] -= error * spread[:, k : k + 1, k + 1 :]
    out = np.empty_like(steps)
    np.put_along_axis(out, np.broadcast_to(order[:, None, :], steps.shape), steps, axis=2)
    return out
