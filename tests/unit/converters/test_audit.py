from __future__ import annotations

import json

import flatbuffers
import numpy as np
import pytest
import tf_keras as keras
import toys
from ai_edge_litert import schema_py_generated as schema

from converters.audit import audit, require
from converters.lowering import calibrate, quantize_int8
from converters.scaling import RAW, InputScaling
from converters.tflite import convert
from edgecell.errors import ArtifactError, ConvertError


@pytest.mark.parametrize(("precision", "input_type"), toys.KINDS)
def test_every_converted_file_is_what_its_name_says(precision, input_type):
    report = audit(toys.converted(precision, input_type), precision, input_type)
    assert report.violations == ()
    require(report)
    assert json.loads(json.dumps(report.to_json()))["passed"] is True


@pytest.mark.parametrize(
    ("precision", "input_type", "claimed"),
    [
        (*kind, claimed)
        for kind in toys.KINDS
        for claimed in ("float32", "float16", "dynamic", "int8", "int16x8")
        if claimed != kind[0]
    ],
)
def test_no_file_passes_for_another_precision(precision, input_type, claimed):
    report = audit(toys.converted(precision, input_type), claimed)
    with pytest.raises(ConvertError, match=f"is not {claimed}: "):
        require(report)


@pytest.mark.parametrize("claimed", ["uint8", "int8", "float32"])
@pytest.mark.parametrize("actual", ["uint8", "int8", "float32"])
def test_the_input_type_must_be_the_one_asked_for(actual, claimed):
    report = audit(toys.converted("int8", actual), "int8", claimed)
    assert report.passed == (actual == claimed)


def test_dynamic_is_never_int8():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1.0)(inputs)
    x = keras.layers.Dense(64)(keras.layers.Flatten()(x))  # large enough to be quantized at all
    wide = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
    data = convert(wide, "dynamic")
    assert audit(data, "dynamic").passed
    report = audit(data, "int8")
    assert any("FLOAT32" in line for line in report.violations)
    # The toy's layers are too small: its "dynamic" file is float32 and must not be called dynamic.
    with pytest.raises(ConvertError, match="too small for dynamic-range"):
        require(audit(toys.converted("dynamic"), "dynamic"))


def test_the_report_holds_the_facts():
    report = audit(toys.converted("int8"), "int8")
    assert report.operators["CONV_2D"] == 1
    assert report.dtypes == {"INT8": 9, "INT32": 4, "UINT8": 2}
    assert (report.input.scale, report.input.zero_point) == (1 / 128, 128)
    assert (report.output.scale, report.output.zero_point) == (1 / 256, 0)
    assert report.hygiene == {
        "scaling_operators": 0,
        "pad": 0,
        "quantize": 2,
        "dequantize": 0,
        "reshape": 0,
        "unusual": 0,
    }
    assert audit(toys.converted("float32"), "float32").hygiene["scaling_operators"] == 2


def test_a_scale_from_the_sample_is_refused():
    """What plain calibration gives: the sample does not reach pixels 0 and 255."""
    calibrated, _ = calibrate(toys.trained(), toys.images(16, seed=1)[0])
    sampled = calibrated.with_ranges({calibrated.input_name: (-0.98, 0.97)})
    with pytest.raises(ConvertError, match="input scale 0.0076"):
        require(audit(quantize_int8(sampled), "int8"))


def test_scaling_left_in_the_integer_graph_is_refused():
    raw = toys.model(
        keras.layers.Rescaling([1 / 128] * 3, offset=-1.0)
    )  # per channel: not stripped
    data = convert(raw, "int8", calibration=toys.images(16, seed=1)[0])
    report = audit(data, "int8", scaling=RAW)
    assert report.hygiene["scaling_operators"] >= 1
    with pytest.raises(ConvertError, match="scales the input"):
        require(report)


def test_an_operator_kept_in_float_is_refused():
    calibrated, _ = calibrate(toys.trained(), toys.images(16, seed=1)[0])
    dense = next(name for name in calibrated.ranges if "probabilities" in name)
    mixed = quantize_int8(calibrated, float_nodes=frozenset({dense}))
    with pytest.raises(ConvertError, match=r"is not int8: .*FLOAT32"):
        require(audit(mixed, "int8"))


def edited(edit) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(toys.converted("int8"), 0)
    edit(model.subgraphs[0])
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def weights(graph):
    return next(t for t in graph.tensors if list(t.shape) == [8, 3, 3, 3])


def one_scale(graph):
    quantization = weights(graph).quantization
    quantization.scale, quantization.zeroPoint = quantization.scale[:1], quantization.zeroPoint[:1]


def wrong_dimension(graph):
    weights(graph).quantization.quantizedDimension = 3


def weights_zero_point(graph):
    weights(graph).quantization.zeroPoint = np.full(8, 3)


def output_scale(graph):
    graph.tensors[graph.outputs[0]].quantization.scale = np.array([1 / 255], np.float32)


def input_zero_point(graph):
    graph.tensors[graph.inputs[0]].quantization.zeroPoint = np.array([127])


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (one_scale, "1 scales along dimension 0, allowed one for each of 8 channels"),
        (weights_zero_point, "zero point other than 0"),
        (output_scale, "output scale 0.0039215"),
        (input_zero_point, "input zero point 127, allowed 128"),
    ],
)
def test_each_rule_of_strict_int8_bites(edit, says):
    assert audit(edited(lambda graph: None), "int8").passed
    with pytest.raises(ConvertError, match=says):
        require(audit(edited(edit), "int8"))


def test_scales_along_a_dimension_of_another_size_are_damage():
    with pytest.raises(ArtifactError, match="8 scales for axis 3 of"):
        audit(edited(wrong_dimension), "int8")


def test_a_foreign_scaling_is_expected_only_where_it_is_named():
    unit = toys.model(keras.layers.Rescaling(1 / 255))
    data = convert(unit, "int8", calibration=toys.images(16, seed=1)[0])
    assert audit(data, "int8", scaling=InputScaling(1 / 255, 0.0)).passed
    with pytest.raises(ConvertError, match="input scale 0.0039"):
        require(audit(data, "int8"))


def test_what_is_no_model_or_no_precision():
    with pytest.raises(ArtifactError, match="not a TFLite file"):
        audit(b"nothing", "int8")
    with pytest.raises(ConvertError, match="unknown precision 'int4'"):
        audit(toys.converted("int8"), "int4")
