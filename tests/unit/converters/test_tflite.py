from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
import toys

from converters.lowering import calibrate, quantize_int8, strip_scaling
from converters.scaling import EDGECELL, RAW, InputScaling
from converters.tflite import check_reference, convert, input_type_for, load_reference
from edgecell.errors import ArtifactError, ConvertError
from edgecell.runtime import KerasPredictor, TFLitePredictor


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return toys.images(16, seed=1)[0]


# -------------------------------------------------------------------------------- calibrated model


def test_ranges_are_those_of_the_activations_and_the_input_is_exact(sample):
    # A sample that, like most real ones, reaches neither end.
    calibrated, scaling = calibrate(toys.trained(), sample.clip(20, 235))
    assert scaling == EDGECELL
    assert calibrated.ranges[calibrated.input_name] == (-1.0, 127 / 128)
    relu = [high for name, (low, high) in calibrated.ranges.items() if "re_lu" in name]
    assert len(relu) == 2 and all(0 < high <= 6.0 for high in relu)


def test_changed_ranges_change_the_scales(sample):
    calibrated, _ = calibrate(toys.trained(), sample)
    name = next(name for name in calibrated.ranges if "re_lu/" in name or "re_lu;" in name)
    doubled = calibrated.with_ranges({name: (0.0, 12.0)})
    assert doubled.ranges[name] == (0.0, 12.0)
    assert {k: v for k, v in doubled.ranges.items() if k != name} == {
        k: v for k, v in calibrated.ranges.items() if k != name
    }
    scales = [
        next(
            t.scales[0] for t in TFLitePredictor(quantize_int8(each)).file.tensors if t.name == name
        )
        for each in (calibrated, doubled)
    ]
    assert scales[1] == pytest.approx(12 / 255, rel=1e-5)
    assert scales[0] == pytest.approx(calibrated.ranges[name][1] / 255, rel=1e-5)


@pytest.mark.parametrize("bad", [{"nowhere": (0.0, 1.0)}, None, (1.0, 1.0), (0.0, float("inf"))])
def test_impossible_ranges_are_refused(sample, bad):
    calibrated, _ = calibrate(toys.trained(), sample)
    changes = bad if isinstance(bad, dict) else {calibrated.input_name: bad or (1.0, 0.0)}
    with pytest.raises(ConvertError, match="no activation|empty or not finite"):
        calibrated.with_ranges(changes)


# -------------------------------------------------------------------------------------- convert


def test_conversion_is_deterministic(sample):
    assert convert(toys.trained(), "int8", calibration=sample) == convert(
        toys.trained(), "int8", calibration=sample
    )


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_no_calibration_no_integers(precision):
    for nothing in (None, np.empty((0, 16, 16, 3), np.uint8)):
        with pytest.raises(ConvertError, match="needs calibration images from the train split"):
            convert(toys.trained(), precision, calibration=nothing)


def test_unfit_calibration_images_are_refused(sample):
    for unfit in (sample.astype(np.float32), sample[:, :8]):
        with pytest.raises(ConvertError, match="allowed: uint8"):
            convert(toys.trained(), "int8", calibration=unfit)


def test_precisions_and_input_types():
    assert input_type_for("int8") == "uint8"
    assert input_type_for("int8", "float32") == "float32"
    assert input_type_for("float16", "uint8") == "float32"
    assert input_type_for("int16x8", "int8") == "float32"
    with pytest.raises(ConvertError, match="no int16 input; allowed: uint8, int8, float32"):
        input_type_for("int8", "int16")
    with pytest.raises(ConvertError, match="unknown precision 'int4'"):
        convert(toys.trained(), "int4")


def test_an_operator_beyond_tflite_is_a_convert_error():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    odd = keras.Model(inputs, keras.layers.Dense(2, activation=_digamma)(x))
    with pytest.raises(ConvertError, match="cannot be converted to TFLite") as caught:
        convert(odd, "float32")
    assert "\n" not in str(caught.value)


def _digamma(x):
    import tensorflow as tf

    return tf.math.digamma(x)


# -------------------------------------------------------------------------------- foreign models


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Rescaling(1 / 255), InputScaling(1 / 255, 0.0)),
        (keras.layers.Rescaling(1 / 127.5, offset=-1.0), InputScaling(1 / 127.5, -1.0)),
        (keras.layers.Rescaling([1.0, 2.0, 3.0]), RAW),
        (keras.layers.Activation("linear"), RAW),
    ],
    ids=["0..1", "-1..1", "per channel", "none"],
)
def test_a_foreign_scaling_goes_into_the_input(layer, expected, sample):
    layer = type(layer).from_config(layer.get_config())
    model = toys.model(layer)
    assert strip_scaling(model)[1] == expected
    predictor = TFLitePredictor(convert(model, "int8", calibration=sample))
    assert predictor.input_scale == pytest.approx(expected.scale, rel=1e-6)
    # Untrained: top-1 says nothing, the probabilities must be near (logits of some steps of 1/256).
    off = np.abs(predictor.predict(sample) - KerasPredictor(model).predict(sample)).max()
    assert off < 0.06


def test_a_rescaling_that_is_not_alone_at_the_input_stays():
    inputs = keras.Input((16, 16, 3))
    scaled = keras.layers.Rescaling(1 / 128, offset=-1.0)(inputs)
    both = keras.layers.Concatenate()([scaled, inputs])
    out = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(both))
    model = keras.Model(inputs, out)
    assert strip_scaling(model) == (model, RAW)


def test_a_sequential_model_is_stripped_too(sample):
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 128, offset=-1.0),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    assert strip_scaling(model)[1] == EDGECELL
    assert TFLitePredictor(convert(model, "int8", calibration=sample)).input_scale == 1 / 128


def classifier(shape, tail):
    inputs = keras.Input(shape)
    return keras.Model(inputs, tail(inputs))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: _head("linear"), "does not give probabilities"),
        (lambda: classifier((16, 16, 1), _pooled), "allowed: one RGB image of fixed size"),
        (lambda: classifier((None, None, 3), _pooled), "allowed: one RGB image of fixed size"),
        (lambda: classifier((16, 16, 3), lambda x: x), "allowed: one row of at least 2"),
        (lambda: _head("sigmoid", 1), "allowed: one row of at least 2"),
    ],
    ids=["logits", "grey", "any size", "image out", "one unit"],
)
def test_what_is_no_rgb_classifier_is_refused(model, says):
    with pytest.raises(ConvertError, match=says):
        check_reference(model(), "m.keras")


def _pooled(x):
    return keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))


def _head(activation, units=3):
    keras.utils.set_random_seed(0)
    return classifier(
        (16, 16, 3),
        lambda x: keras.layers.Dense(units, activation)(keras.layers.GlobalAveragePooling2D()(x)),
    )


def test_load_reference(tmp_path):
    path = tmp_path / "toy.keras"
    toys.trained().save(path)
    assert load_reference(path).output_shape == (None, 4)
    with pytest.raises(ArtifactError, match="no model at"):
        load_reference(tmp_path / "nowhere.keras")
    _head("linear").save(tmp_path / "logits.keras")
    with pytest.raises(ConvertError, match="logits.keras does not give probabilities"):
        load_reference(tmp_path / "logits.keras")
