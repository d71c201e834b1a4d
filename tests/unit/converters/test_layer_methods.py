"""Weighted layers as matrices, bias correction, compensated rounding, equalisation, constants."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
import toys

from converters.bias_correction import correct_biases
from converters.constants import replace_constants
from converters.equalize import equalize, groups
from converters.lowering import calibrate, quantize_int8
from converters.moments import _Sums, input_moments
from converters.rounding import compensated, round_weights
from converters.weighted import patches, weighted_layers
from edgecell.errors import ConvertError
from edgecell.runtime import ActivationProbe, KerasPredictor, TFLitePredictor
from edgecell.tflite_file import parse

IMAGES = toys.images(48, seed=1)[0]


@pytest.fixture(scope="module")
def calibrated():
    return calibrate(toys.trained(), IMAGES)


@pytest.fixture(scope="module")
def moments(calibrated):
    return input_moments(*_swap(calibrated))


def _swap(calibrated):
    return calibrated[0], IMAGES, calibrated[1]


def test_patches_times_weights_are_what_the_interpreter_computes(calibrated):
    model, scaling = calibrated
    probe = ActivationProbe(model.flatbuffer)
    probe.run(scaling.apply(IMAGES[0])[None])
    layers = weighted_layers(model.flatbuffer)
    assert [layer.kind for layer in layers] == ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
    assert layers[0].strides == (2, 2) and layers[0].same
    for layer in layers:
        entry = probe.value(layer.entry)
        seen = patches(layer, entry, 10**6, np.random.default_rng(0))  # (rows, B, K), all in order
        weights = probe.file.constant(layer.weights)
        matrices = layer.as_matrices(weights, seen.shape[1])
        assert np.array_equal(layer.from_matrices(matrices, weights.shape), weights)
        out = np.einsum("rbk,bok->rbo", seen, matrices).reshape(len(seen), -1)
        out = out + probe.file.constant(layer.bias)
        if layer.activation:
            out = out.clip(0, 6)
        expected = probe.value(layer.output).reshape(out.shape)
        assert np.abs(out - expected).max() < 1e-4  # float32 sums of 27 terms up to 6


def test_sampled_positions_are_some_of_all(calibrated):
    model, scaling = calibrated
    probe = ActivationProbe(model.flatbuffer)
    probe.run(scaling.apply(IMAGES[0])[None])
    layer = weighted_layers(model.flatbuffer)[0]
    entry = probe.value(layer.entry)
    everything = patches(layer, entry, 10**6, np.random.default_rng(0))
    some = patches(layer, entry, 5, np.random.default_rng(0))
    assert some.shape == (5, *everything.shape[1:])
    rows = {row.tobytes() for row in everything}
    assert all(row.tobytes() in rows for row in some)


# ------------------------------------------------------------------------------- bias correction


def test_a_planted_shift_of_the_mean_is_taken_back(calibrated, moments):
    model, _ = calibrated
    plain = quantize_int8(model)
    file = parse(plain)
    dense = weighted_layers(plain)[-1]
    weights = file.constant(dense.weights).copy()
    weights[1] = np.clip(weights[1].astype(int) + 6, -127, 127)  # class 1: all weights 6 steps up
    broken = replace_constants(plain, {dense.weights: weights})
    healed = correct_biases(broken, model, moments)
    exact = _mean_output(model.flatbuffer, calibrated[1].apply(IMAGES), dense.name)
    off = [abs(_mean_output(data, IMAGES, dense.name) - exact) for data in (broken, healed)]
    assert off[0][1] > 0.2  # the plant bites
    assert off[1][1] < 0.5 * off[0][1]
    # Of the other classes the means keep to where they were: two steps of the output.
    step = file.tensors[dense.output].scales[0]
    assert np.delete(off[1], 1).max() < 2 * step


def _mean_output(data, entries, name):
    probe = ActivationProbe(data)
    tensor = next(t for t in probe.file.tensors if t.name == name)
    rows = []
    for entry in entries:
        probe.run(entry[None])
        rows.append(probe.value(tensor.index).astype(float).ravel())
    mean = np.mean(rows, axis=0)
    return (mean - tensor.zero_points[0]) * tensor.scales[0] if tensor.scales else mean


def test_what_is_exact_already_is_left_alone(calibrated, moments):
    model, _ = calibrated
    plain = quantize_int8(model)
    once = correct_biases(plain, model, moments)
    before, after = parse(plain), parse(once)
    for old, new in zip(weighted_layers(plain), weighted_layers(once), strict=True):
        assert np.array_equal(before.constant(old.weights), after.constant(new.weights))
    assert [op.name for op in before.operators] == [op.name for op in after.operators]
    assert before.tensors[before.inputs[0]].scales == after.tensors[after.inputs[0]].scales


# -------------------------------------------------------------------------------------- rounding


def _error(weights, steps, scales, covariance):
    lost = weights - steps * scales
    return np.einsum("bok,bkl,bol->", lost, covariance, lost)


def test_compensated_rounding_beats_the_nearest_on_inputs_that_move_together():
    random = np.random.default_rng(0)
    mixing = random.normal(size=(2, 16, 4))  # 16 inputs of 4 sources
    covariance = mixing @ mixing.transpose(0, 2, 1) + 0.01 * np.eye(16)
    weights = random.normal(size=(2, 5, 16))
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    nearest = np.rint(weights / scales)
    steps = compensated(weights, scales, covariance)
    assert np.array_equal(steps, np.rint(steps)) and np.abs(steps).max() <= 127
    assert _error(weights, steps, scales, covariance) < 0.5 * _error(
        weights, nearest, scales, covariance
    )


def test_inputs_that_move_alone_are_rounded_to_the_nearest():
    random = np.random.default_rng(1)
    covariance = np.diag(random.uniform(0.5, 2, 9))[None]
    weights = random.normal(size=(1, 4, 9))
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    assert np.array_equal(compensated(weights, scales, covariance), np.rint(weights / scales))


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 0.0])
def test_inputs_that_hardly_vary_about_a_large_mean_are_no_error(spread):
    """Of such inputs the sums in float32 leave a covariance with negative eigenvalues."""
    random = np.random.default_rng(2)
    mean, mixing = random.uniform(1, 8, 64), random.normal(size=(8, 64))
    seen = (mean + spread * random.normal(size=(4096, 8)) @ mixing).astype(np.float32)
    sums = _Sums(1, 64)
    for part in np.split(seen, 64):
        sums.add(part[:, None, :])
    found = sums.moments().covariance
    assert np.linalg.eigvalsh(found)[0, 0] < -0.01 * np.diagonal(found[0]).mean()
    weights = random.normal(size=(1, 5, 64))
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    nearest, steps = np.rint(weights / scales), compensated(weights, scales, found)
    assert np.array_equal(steps, np.rint(steps)) and np.abs(steps - nearest).max() <= 2
    true = np.cov(seen.astype(np.float64).T, bias=True)[None]
    lost = _error(weights, steps, scales, true)
    assert lost <= 0.5 * _error(weights, nearest, scales, true)


def test_rounding_a_file_keeps_everything_but_the_weights(calibrated, moments):
    model, _ = calibrated
    plain = quantize_int8(model)
    rounded = round_weights(plain, model, moments)
    before, after = parse(plain), parse(rounded)
    moved = 0
    for old, new in zip(weighted_layers(plain), weighted_layers(rounded), strict=True):
        change = before.constant(old.weights).astype(int) - after.constant(new.weights)
        moved += int((change != 0).sum())
        assert before.tensors[old.weights].scales == after.tensors[new.weights].scales
        assert np.array_equal(before.constant(old.bias), after.constant(new.bias))
    assert moved > 0
    expected = KerasPredictor(toys.trained()).predict(IMAGES)
    off = np.abs(TFLitePredictor(rounded).predict(IMAGES) - expected).max()
    assert off < 0.1


# ---------------------------------------------------------------------------------- equalisation


def _scaled_pair(factors: np.ndarray) -> keras.Model:
    """The trained toy with a linear pair before its pool: channel c times ``factors[c]``, and back."""
    toy = toys.trained()
    x = toy.get_layer("pool").input
    wide = keras.layers.Conv2D(8, 1, use_bias=False, name="wide")
    back = keras.layers.Conv2D(8, 1, use_bias=False, name="back")
    x = keras.layers.GlobalAveragePooling2D()(back(wide(x)))
    model = keras.Model(toy.input, toy.get_layer("probabilities")(x), name="pair")
    wide.set_weights([np.diag(factors)[None, None].astype(np.float32)])
    back.set_weights([np.diag(1 / factors)[None, None].astype(np.float32)])
    return model


def test_equalisation_mends_a_badly_scaled_pair_and_keeps_the_function():
    model = _scaled_pair(np.geomspace(0.02, 50, 8))
    calibrated, scaling = calibrate(model, IMAGES)
    evened = equalize(calibrated, IMAGES, scaling)
    expected = KerasPredictor(model).predict(IMAGES)
    output = parse(evened.flatbuffer).outputs[0]
    probe = ActivationProbe(evened.flatbuffer)
    for image, row in zip(IMAGES, expected, strict=True):
        probe.run(scaling.apply(image)[None])
        assert np.abs(probe.value(output)[0] - row).max() < 1e-4
    before, after = (
        ((TFLitePredictor(quantize_int8(each)).predict(IMAGES) - expected) ** 2).mean()
        for each in (calibrated, evened)
    )
    assert before > 1e-3  # the plant bites
    assert after < 0.2 * before


def test_groups_are_what_may_be_scaled():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="a")(inputs)
    y = keras.layers.Conv2D(4, 1, name="b")(x)
    y = keras.layers.Add()([x, y])
    y = keras.layers.Conv2D(4, 1, activation="sigmoid", name="c")(y)  # no factor gets through
    y = keras.layers.DepthwiseConv2D(3, name="d")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(y))
    calibrated, _ = calibrate(
        model, np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    )
    found = groups(calibrated.flatbuffer)
    assert [(len(g.tensors), len(g.writers), len(g.readers)) for g in found] == [
        (3, 2, 2),  # a, b and their sum; read by b and c
        (2, 1, 1),  # d and the mean of it, read by the dense layer
    ]
    assert not any(g.clipped for g in found)


def test_layers_that_share_their_weights_are_not_evened_out():
    """Scaling the kernel for one of them would scale it for the other."""
    calibrated, _ = calibrate(toys.sharing(), IMAGES)
    assert len(weighted_layers(calibrated.flatbuffer)) == 4
    assert groups(calibrated.flatbuffer) == []


def test_channels_behind_a_relu6_only_grow_and_stay_below_six(calibrated):
    model, scaling = calibrated
    evened = equalize(model, IMAGES, scaling)
    clipped = [g for g in groups(evened.flatbuffer) if g.clipped]
    assert clipped
    old, new = ActivationProbe(model.flatbuffer), ActivationProbe(evened.flatbuffer)
    for image in IMAGES:
        for probe in (old, new):
            probe.run(scaling.apply(image)[None])
        for index in (t for g in clipped for t in g.tensors):
            assert (new.value(index) >= old.value(index) - 1e-5).all()
            assert new.value(index).max() <= 6


# ------------------------------------------------------------------------------------- constants


def test_a_shared_buffer_is_split_before_one_tensor_changes():
    from ai_edge_litert import schema_py_generated as schema

    from converters.constants import pack

    model = schema.ModelT.InitFromPackedBuf(toys.converted("int8"), 0)
    tensors = model.subgraphs[0].tensors
    first, second = (layer.bias for layer in weighted_layers(toys.converted("int8"))[:2])
    tensors[second].buffer = tensors[first].buffer  # both have 8 channels
    shared = pack(model)
    value = parse(shared).constant(first) + 1
    changed = parse(replace_constants(shared, {first: value}))
    assert np.array_equal(changed.constant(first), value)
    assert np.array_equal(changed.constant(second), value - 1)


def test_a_constant_keeps_its_shape_and_type():
    data = toys.converted("int8")
    bias = weighted_layers(data)[0].bias
    value = parse(data).constant(bias)
    for unfit in (value[:-1], value.astype(np.int64)):
        with pytest.raises(ConvertError, match="cannot take its place"):
            replace_constants(data, {bias: unfit})
