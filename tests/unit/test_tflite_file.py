from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecell import tflite_file
from edgecell.errors import ArtifactError
from edgecell.pipeline.opening import open_model
from edgecell.pipeline.targets import resolve


@pytest.fixture(scope="module")
def data() -> bytes:
    return toys.converted("int8")


def test_it_lists_what_the_converter_wrote(data):
    file = tflite_file.parse(data)
    assert file.operator_counts() == {
        "QUANTIZE": 2,
        "CONV_2D": 1,
        "DEPTHWISE_CONV_2D": 1,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
        "SOFTMAX": 1,
    }
    entry, leave = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
    assert (entry.dtype, entry.shape, entry.scales, entry.zero_points) == (
        "UINT8",
        (1, 16, 16, 3),
        (1 / 128,),
        (128,),
    )
    assert (leave.dtype, leave.shape, leave.scales) == ("UINT8", (1, 4), (1 / 256,))
    assert file.size_bytes == len(data)
    assert sum(file.dtype_counts().values()) == len(file.tensors)


def test_it_agrees_with_the_interpreter_about_every_tensor(data):
    from ai_edge_litert.interpreter import Interpreter

    file = tflite_file.parse(data)
    details = {each["index"]: each for each in Interpreter(model_content=data).get_tensor_details()}
    for tensor in file.tensors:
        theirs = details[tensor.index]
        assert tensor.name == theirs["name"]
        assert tensor.shape == tuple(theirs["shape"])
        assert tensor.dtype == np.dtype(theirs["dtype"]).name.upper()
        quantization = theirs["quantization_parameters"]
        np.testing.assert_array_equal(tensor.scales, quantization["scales"])
        np.testing.assert_array_equal(tensor.zero_points, quantization["zero_points"])


def test_constants_have_their_shape_and_activations_have_none(data):
    file = tflite_file.parse(data)
    weights = next(t for t in file.tensors if t.constant and t.dtype == "INT8")
    values = file.constant(weights.index)
    assert values.shape == weights.shape and values.dtype == np.int8 and np.abs(values).max() == 127
    with pytest.raises(ArtifactError, match="holds no constant values"):
        file.constant(file.inputs[0])


def test_producers_and_consumers_meet(data):
    file = tflite_file.parse(data)
    (first,) = file.consumers(file.inputs[0])
    assert first.name == "QUANTIZE"
    assert file.producer(first.outputs[0]) == first
    assert file.producer(file.inputs[0]) is None


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"not a model at all", b"\x1c\0\0\0TFL2" + b"\0" * 64, b"PK\3\4" * 9]
)
def test_what_is_no_tflite_file_is_refused(content):
    with pytest.raises(ArtifactError, match="is not a TFLite file"):
        tflite_file.parse(content, "x.tflite")


def test_a_bare_identifier_is_a_damaged_file():
    with pytest.raises(ArtifactError, match="x.tflite is a damaged TFLite file"):
        tflite_file.parse(b"\x1c\0\0\0TFL3" + b"\0" * 64, "x.tflite")


def test_a_file_cut_off_anywhere_is_refused(data):
    for end in range(8, len(data) - 4, 97):
        with pytest.raises(ArtifactError, match="damaged"):
            tflite_file.parse(data[:end])


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(8, 3000), st.integers(0, 255)), min_size=1, max_size=12))
def test_flipped_bytes_give_a_file_or_an_artifact_error(data, flips):
    spoiled = bytearray(data)
    for position, value in flips:
        spoiled[position % len(spoiled)] = value
    spoiled[4:8] = b"TFL3"
    try:
        file = tflite_file.parse(bytes(spoiled))
    except ArtifactError as error:
        assert "\n" not in str(error)
    else:
        assert file.size_bytes == len(data)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ArtifactError, match="no model file at"):
        tflite_file.read(tmp_path / "nowhere.tflite")
    with pytest.raises(
        ArtifactError, match="cannot read .*: it is a folder; give one .tflite file"
    ):
        tflite_file.read(tmp_path)


@pytest.fixture(params=["pipe", "device", "sparse"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a reader would not come to the end of."""
    path = tmp_path / "x.tflite"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/full")
    else:
        with path.open("wb") as stream:
            stream.truncate(30_000_000_000)
    return path


def test_what_has_no_end_is_not_read(endless):
    said = "it is not a regular file|it has 30,000,000,000 bytes; allowed: 2,147,483,647"
    for ask in (tflite_file.read, resolve, open_model):
        with pytest.raises(ArtifactError, match=rf"cannot read .*x\.tflite: ({said})"):
            ask(endless)


def test_nor_hashed(tmp_path):
    os.mkfifo(tmp_path / "x.keras")
    with pytest.raises(ArtifactError, match=r"x\.keras: it is not a regular file"):
        resolve(tmp_path / "x.keras")
