"""What is counted in a file's weights, and how small it packs, against zip and NumPy."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import toys

from edgecell.packing import deflated_bytes, stored_weights, summary
from edgecell.tflite_file import parse


def test_packed_is_what_zip_stores():
    data = toys.converted("float32")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a", data)
        assert deflated_bytes(data) == archive.getinfo("a").compress_size
    assert (
        deflated_bytes(bytes(100_000)) < 200 < deflated_bytes(np.random.default_rng(0).bytes(300))
    )


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int16x8"])
def test_counts_are_those_of_the_stored_weights(precision):
    convolution, depthwise, dense = stored_weights(parse(toys.converted(precision)))
    assert [each.count for each in (convolution, depthwise, dense)] == [8 * 27, 8 * 9, 8 * 4]
    assert convolution.layer.endswith("conv2d/Conv2D") and dense.operator == "FULLY_CONNECTED"
    if precision == "float32":
        kernel = toys.trained().get_layer("probabilities").kernel.numpy()
        assert dense.values == len(np.unique(kernel))
        assert dense.channel_values == max(len(np.unique(row)) for row in kernel.T)
        assert dense.zeros == (kernel == 0).sum()
    # Each channel's largest weight is ±127 in an integer file; nine weights a depthwise channel.
    assert depthwise.channel_values <= 9 < depthwise.values
    assert convolution.channel_values <= 27 < convolution.values


def test_the_summary_leaves_depthwise_kernels_out():
    found = summary(parse(toys.converted("int8")))
    convolution, _, dense = found["layers"]
    assert found["kernels"]["count"] == convolution["count"] + dense["count"]
    assert found["kernels"]["most_values"] == max(convolution["values"], dense["values"])
    zeros = convolution["zeros"] + dense["zeros"]
    assert found["kernels"]["sparsity"] == pytest.approx(zeros / found["kernels"]["count"])
