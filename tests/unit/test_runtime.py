from __future__ import annotations

import zipfile

import numpy as np
import pytest
import tf_keras as keras
import toys
from hypothesis import given
from hypothesis import strategies as st

from edgecell import pixels
from edgecell.errors import ArtifactError, DataError
from edgecell.runtime import KerasPredictor, TFLitePredictor, load_predictor

LEVELS = np.arange(256)


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return toys.images(40, seed=5)[0]


# ------------------------------------------------------------------------------ pixels → integers


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "expected"),
    [
        ("uint8", 1 / 128, 128, LEVELS),
        ("int8", 1 / 128, 0, LEVELS - 128),
        ("uint8", 1 / 255, 0, LEVELS),
        ("int8", 1 / 255, -128, LEVELS - 128),
        ("uint8", 1.0, 0, LEVELS),
        ("int8", 1.0, -128, LEVELS - 128),
        # No exact zero: the converter nudges the zero point either way, the bytes stay bytes.
        ("uint8", 1 / 127.5, 127, LEVELS),
        ("uint8", 1 / 127.5, 128, LEVELS),
        ("int8", 1 / 127.5, -1, LEVELS - 128),
    ],
)
def test_where_a_level_is_a_quantum_no_level_is_lost(dtype, scale, zero_point, expected):
    table = pixels.pixel_table(np.dtype(dtype), float(np.float32(scale)), zero_point)
    np.testing.assert_array_equal(table, expected)
    assert table.dtype == dtype


@given(st.floats(0.0070, 0.0086), st.integers(-6, 6), st.sampled_from(["uint8", "int8"]))
def test_other_scales_round_to_the_nearest_and_clip(scale, shift, dtype):
    info = np.iinfo(dtype)
    zero_point = info.min + 128 + shift
    table = pixels.pixel_table(np.dtype(dtype), scale, zero_point).astype(int)
    assert (np.diff(table) >= 0).all()
    step, offset = pixels.pixel_scaling(np.dtype(dtype), scale, zero_point)
    real = LEVELS * step + offset
    inside = (table > info.min) & (table < info.max)
    # Nearest means at most half a quantum off (a whole one where bytes are passed on as they are).
    limit = 1.0 if abs(scale / step - 1) < 1e-4 else 0.5 + 1e-9
    assert np.abs(real / scale + zero_point - table)[inside].max() <= limit


def test_truncation_would_be_seen():
    table = pixels.pixel_table(np.dtype("int8"), 0.00775, 1)
    real = (LEVELS - 128) / 128
    truncated = np.trunc(real / 0.00775).clip(-129, 126).astype(int) + 1
    assert (table != truncated).sum() > 50


def test_int16_covers_the_mirrored_range():
    table = pixels.pixel_table(np.dtype("int16"), 1 / 32767, 0)
    np.testing.assert_array_equal(table, np.rint((LEVELS - 128) / 128 * 32767))


@pytest.mark.parametrize(("scale", "zero_point"), [(0.03, 128), (0.0, 0), (1 / 128, 40)])
def test_an_input_that_covers_no_pixel_range_is_refused(scale, zero_point):
    with pytest.raises(ValueError, match="known scalings|without a scale"):
        pixels.pixel_table(np.dtype("uint8"), scale, zero_point)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_the_fast_fillers_write_what_the_table_says(dtype):
    scale, zero = {"uint8": (1 / 128, 128), "int8": (1 / 128, 0), "int16": (1 / 32767, 0)}[dtype]
    image = LEVELS.astype(np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    target = np.full((16, 16, 3), 99, dtype)
    pixels.integer_filler(np.dtype(dtype), scale, zero)(target, image)
    table = pixels.pixel_table(np.dtype(dtype), scale, zero)
    np.testing.assert_array_equal(target, table[image])


def test_scaled_floats_are_exact():
    image = LEVELS.astype(np.uint8).reshape(16, 16, 1)
    target = np.empty((16, 16, 1), np.float32)
    pixels.scaled_filler(np.dtype("int8"), 1 / 128, 0)(target, image)
    np.testing.assert_array_equal(target.reshape(-1), (LEVELS - 128) / 128)


# ------------------------------------------------------------------------------------ predictors


def plain_loop(data: bytes, feed: np.ndarray) -> np.ndarray:
    """The interpreter as its manual shows it: copies in, copies out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (leave,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in feed.astype(entry["dtype"]):
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(leave["index"])[0])
    return np.stack(rows)


@pytest.mark.parametrize(
    ("precision", "input_type", "feed"),
    [
        ("float32", None, lambda u: u),
        ("float16", None, lambda u: u),
        ("dynamic", None, lambda u: u),
        ("int8", "uint8", lambda u: u),
        ("int8", "int8", lambda u: u.astype(int) - 128),
        ("int8", "float32", lambda u: (u.astype(float) - 128) / 128),
        ("int16x8", "float32", lambda u: (u.astype(float) - 128) / 128),
        ("int16x8", "int16", lambda u: np.rint((u.astype(float) - 128) / 128 * 32767)),
    ],
)
def test_predict_equals_the_plain_loop_for_every_kind_of_file(batch, precision, input_type, feed):
    data = toys.converted(precision, input_type)
    predictor = TFLitePredictor(data)
    raw = predictor.raw(batch)
    np.testing.assert_array_equal(raw, plain_loop(data, feed(batch)))
    assert len(np.unique(raw.argmax(axis=1))) == 4
    rows = predictor.predict(batch)
    assert rows.dtype == np.float32 and rows.shape == (40, 4)
    # Four outputs, each rounded by half a quantum, and 1.0 itself is one quantum out of reach.
    quantum = predictor.output_scale or 1e-6
    assert np.abs(rows.sum(axis=1) - 1).max() <= 3 * quantum + 1e-3 * (input_type == "int16")


@given(st.permutations(range(12)))
def test_order_of_images_does_not_matter(order):
    x = toys.images(12, seed=8)[0]
    predictor = TFLitePredictor(toys.converted("int8"))
    np.testing.assert_array_equal(
        predictor.predict(x[list(order)]), predictor.predict(x)[list(order)]
    )


def test_what_a_predictor_says_of_itself():
    quantized = TFLitePredictor(toys.converted("int8"), name="a.tflite")
    assert quantized.name == "a.tflite"
    assert (quantized.image_size, quantized.class_count) == ((16, 16), 4)
    assert quantized.output_scale == 1 / 256
    assert (quantized.input_dtype, quantized.input_scale, quantized.input_zero_point) == (
        np.uint8,
        1 / 128,
        128,
    )
    assert TFLitePredictor(toys.converted("int8", "float32")).output_scale == 1 / 256
    floating = TFLitePredictor(toys.converted("float16"))
    assert (floating.output_scale, floating.input_dtype) == (None, np.float32)


def test_one_image_at_a_time_and_no_image_at_all(batch):
    predictor = TFLitePredictor(toys.converted("int8"), threads=0, xnnpack=False)
    assert predictor.threads >= 1
    predictor.invoke_once(batch[0])
    assert predictor.predict(batch[:0]).shape == (0, 4)
    assert KerasPredictor(toys.trained()).predict(batch[:0]).shape == (0, 4)


def test_keras_predictor_equals_the_model_over_batch_borders():
    x = toys.images(300, seed=4)[0]
    rows = KerasPredictor(toys.trained()).predict(x)
    expected = toys.trained().predict(x.astype(np.float32), verbose=0)
    np.testing.assert_allclose(rows, expected, atol=2e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    "make",
    [lambda: TFLitePredictor(toys.converted("int8")), lambda: KerasPredictor(toys.trained())],
)
def test_images_of_another_kind_are_refused(make, batch):
    predictor = make()
    for wrong in (batch.astype(np.float32), batch[:, :8], batch[..., :1], batch[0]):
        with pytest.raises(DataError, match=r"takes uint8 images of shape \(N, 16, 16, 3\)"):
            predictor.predict(wrong)


# ------------------------------------------------------------------------------------- bad files


def test_damaged_models_are_refused_before_native_code_sees_them():
    data = toys.converted("int8")
    for content in (b"", b"garbage", data[:-200], data[: len(data) // 2]):
        with pytest.raises(ArtifactError, match="TFLite file"):
            TFLitePredictor(content)


def test_models_of_another_shape_are_refused():
    from converters.lowering import lower

    grey = keras.Sequential(
        [keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(ArtifactError, match=r"maps FLOAT32 \(1, 16, 16, 1\)"):
        TFLitePredictor(lower(grey))
    with pytest.raises(ArtifactError, match="allowed: one RGB image"):
        KerasPredictor(grey)


@pytest.mark.parametrize("suffix", ["keras", "h5", "savedmodel"])
def test_every_keras_format_is_loaded(tmp_path, suffix, batch):
    path = tmp_path / (f"m.{suffix}" if suffix != "savedmodel" else "m")
    toys.trained().save(path, save_format={"savedmodel": "tf"}.get(suffix, suffix))
    found = load_predictor(path)
    assert found.name == path.name
    np.testing.assert_allclose(
        found.predict(batch), KerasPredictor(toys.trained()).predict(batch), atol=1e-6
    )


def test_load_predictor_takes_tflite_files(tmp_path, batch):
    path = tmp_path / "m.tflite"
    path.write_bytes(toys.converted("int8"))
    assert isinstance(load_predictor(path), TFLitePredictor)
    assert TFLitePredictor.open(path).predict(batch).shape == (40, 4)


def test_bad_keras_files_are_refused(tmp_path):
    cases = {"text.keras": b"no zip", "text.h5": b"no hdf5", "empty.keras": b"", "empty.h5": b""}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "hollow.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "saved_model.pb").write_bytes(b"\x08\x01garbage")
    for name in [*cases, "hollow.keras", "folder", "half", "nowhere.keras"]:
        with pytest.raises(ArtifactError) as caught:
            load_predictor(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_in_a_model_file_is_not_run(tmp_path, suffix):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Lambda(lambda t: t * 2)(inputs)
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, x).save(tmp_path / f"m.{suffix}")
    with pytest.raises(ArtifactError, match="without Lambda layers"):
        load_predictor(tmp_path / f"m.{suffix}")
