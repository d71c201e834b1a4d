"""How far a converted model may be from its reference, derived and then measured."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import toys

from edgecell.runtime import KerasPredictor, TFLitePredictor
from edgecell.tflite_file import parse


@pytest.fixture(scope="module")
def seen() -> np.ndarray:
    """The calibration images: on them no activation leaves its calibrated range."""
    return toys.images(64, seed=1)[0]


@pytest.fixture(scope="module")
def expected(seen) -> np.ndarray:
    return KerasPredictor(toys.trained()).predict(seen)


def test_float32_differs_by_rounding_only(seen, expected):
    # Sums of 27 + 9 + 64 + 8 = 108 products, each sum off by at most 108 * 2^-24 of its magnitude;
    # logits stay below 64; softmax changes by at most half of what its logits do:
    # 108 * 2^-24 * 64 / 2 = 2.1e-4.
    found = TFLitePredictor(toys.converted("float32")).predict(seen)
    assert np.abs(found - expected).max() < 2.1e-4


def test_input_types_of_int8_differ_in_nothing(seen):
    """Scale 1/128 makes quantizing the input exact, so all three files see the same integers."""
    as_uint8 = TFLitePredictor(toys.converted("int8", "uint8")).raw(seen)
    as_int8 = TFLitePredictor(toys.converted("int8", "int8")).raw(seen)
    as_float = TFLitePredictor(toys.converted("int8", "float32")).raw(seen)
    assert as_uint8.dtype == np.uint8 and as_int8.dtype == np.int8
    np.testing.assert_array_equal(as_uint8.astype(int) - 128, as_int8)
    np.testing.assert_array_equal(as_uint8 / np.float32(256), as_float)
    assert len(np.unique(as_uint8)) > 8, "equal because constant would prove nothing"


@pytest.mark.parametrize(
    ("precision", "input_type"),
    [("int8", "uint8"), ("int8", "int8"), ("int8", "float32"), ("int16x8", "int16")],
)
def test_integer_files_compute_what_their_scales_say(seen, precision, input_type):
    """The kernels against the file's own numbers, worked out in float64.

    A kernel's fixed-point multiplier is off by 2^-24 relative or less, so before it rounds a layer
    differs by far less than a step, and only near-ties round the other way: single elements, one
    step, thinned out by the mean over 64 positions. That moves a logit by at most two of its steps;
    softmax changes by at most half of what its logits do (the rows of its Jacobian have absolute
    sums 2p(1 - p) ≤ 1/2), and rounds once itself: 2 * logit scale / 2 / output scale + 1 quanta.
    """
    data = toys.converted(precision, input_type)
    predictor = TFLitePredictor(data)
    expected, logit_scale = emulated(data, seen)
    quanta = np.abs(predictor.predict(seen) - expected) / predictor.output_scale
    allowed = logit_scale / predictor.output_scale + 1
    assert quanta.max() <= allowed
    # The partner: darker pixels, and the bound is broken several times over.
    dimmed, _ = emulated(data, (seen * 0.6).astype(np.uint8))
    assert np.abs(predictor.predict(seen) - dimmed).max() / predictor.output_scale > 3 * allowed


def test_the_emulation_is_close_to_the_reference_too(seen, expected):
    """What calibration itself costs: weights and activations rounded, no kernel involved.

    int16 activations leave the int8 weights as the only error, so they must come closer.
    """
    errors = [
        np.abs(emulated(toys.converted(*kind), seen)[0] - expected).mean()
        for kind in [("int8", "int8"), ("int16x8", "int16")]
    ]
    assert errors[1] < errors[0] < 0.02


def emulated(data: bytes, images: np.ndarray) -> tuple[np.ndarray, float]:
    """The toy in float64 with the file's weights, rounded to the file's scales after every layer.

    Returns probabilities (N, 4) and the scale of the logits.
    """
    file = parse(data)
    x = (images.astype(np.float64) - 128) / 128
    logit_scale = 0.0
    for op in file.operators:
        if op.name in ("QUANTIZE", "DEQUANTIZE"):
            continue  # input and output carry the same scale on both sides
        if op.name == "SOFTMAX":
            x = np.exp(x - x.max(axis=1, keepdims=True))
            x /= x.sum(axis=1, keepdims=True)
        elif op.name == "MEAN":
            x = x.mean(axis=(1, 2))
        else:
            weights, bias = real(file, op.inputs[1]), real(file, op.inputs[2])
            if op.name == "CONV_2D":
                kernel = weights.transpose(1, 2, 3, 0)
                x = np.clip(tf.nn.conv2d(x, kernel, 2, "SAME").numpy() + bias, 0, 6)
            elif op.name == "DEPTHWISE_CONV_2D":
                kernel = weights.transpose(1, 2, 3, 0)
                x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME").numpy() + bias
                x = np.clip(x, 0, 6)
            else:
                x = x @ weights.T + bias
                logit_scale = file.tensors[op.outputs[0]].scales[0]
        out = file.tensors[op.outputs[0]]
        info = np.iinfo(out.dtype.lower())
        steps = np.rint(x / out.scales[0]) + out.zero_points[0]
        x = (steps.clip(info.min, info.max) - out.zero_points[0]) * out.scales[0]
    return x, logit_scale


def real(file, index: int) -> np.ndarray | float:
    """A constant in real numbers, its scales applied along their dimension; 0.0 where there is none."""
    if index < 0:
        return 0.0
    tensor = file.tensors[index]
    shape = [1] * len(tensor.shape)
    shape[tensor.quantized_dimension] = -1
    return file.constant(index).astype(np.float64) * np.array(tensor.scales).reshape(shape)
