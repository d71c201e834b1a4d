"""Copies of channels half a step apart: where they may go, that the function stays, that noise falls."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
import toys

from converters import audit
from converters.lowering import calibrate, quantize_int8
from converters.search import METHODS, prepare, search
from converters.splitting import Loudness, chains, split_channels
from edgecell.errors import ConvertError
from edgecell.runtime import ActivationProbe, KerasPredictor
from edgecell.tflite_file import parse

WIDTH, DEAD, FLAT, UNREAD, RARE, FULL = 16, 3, 6, 9, 12, 4
LOUD = [1, 7, 14]
NARROW = 8
SPLIT = {name: method for name, method in METHODS.items() if method.split}


def network(reader: int = 1, narrow: int = NARROW, planted: bool = True) -> keras.Model:
    """A stem, edges looked for by a depthwise layer, and two 1×1 convolutions; some channels say nothing.

    Channel 3 is below zero whatever the image, 6 is constant, 9 is not read; 12 is silent on the
    images here, but not on every image; 4 is constant but for the border. 1, 7 and 14 count most.
    ``reader``: side of the kernel behind the depthwise layer.
    """
    layers = keras.layers
    entry = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 128, offset=-1)(entry)
    x = layers.Conv2D(WIDTH, 3, 2, "same", activation="relu6", name="stem")(x)
    x = layers.DepthwiseConv2D(3, 1, "same", activation="relu6", name="edges")(x)
    x = layers.Conv2D(narrow, reader, padding="same", name="narrow")(x)
    x = layers.Conv2D(24, 1, activation="relu6", name="wide")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(entry, layers.Dense(4, activation="softmax", name="head")(x))
    random = np.random.default_rng(5)
    stem = random.normal(0, 0.25, (3, 3, 3, WIDTH))
    edges = random.normal(0, 0.3, (3, 3, WIDTH, 1))
    edges -= edges.mean(
        axis=(0, 1)
    )  # sums of nothing, as edges have: smooth images leave only rounding
    edges *= 4
    read = random.normal(0, 0.3, (reader, reader, WIDTH, narrow))
    read[:, :, LOUD] *= 8
    biases = {"stem": np.full(WIDTH, 2.5), "edges": np.full(WIDTH, 1.5)}
    if planted:
        biases["stem"][DEAD] = -np.abs(stem[..., DEAD]).sum() - 1
        edges[..., FLAT, :] = 0
        read[:, :, UNREAD] = 0
        read[:, :, FLAT] *= 80
        stem[..., FULL], biases["stem"][FULL] = 0, 7
        stem[..., RARE] = 0.4
        biases["stem"][RARE] = -8.0  # white corners would reach 2.8
    model.get_layer("stem").set_weights([stem, biases["stem"]])
    model.get_layer("edges").set_weights([edges, biases["edges"]])
    model.get_layer("narrow").set_weights([read, random.normal(0, 0.1, narrow)])
    model.get_layer("wide").set_weights([random.normal(0, 0.4, (1, 1, narrow, 24)), np.zeros(24)])
    model.get_layer("head").set_weights([random.normal(0, 0.7, (24, 4)), np.zeros(4)])
    return model


def smooth(count: int, seed: int) -> np.ndarray:
    """uint8 (count, 24, 24, 3): slopes of grey, as enlarged images have, none white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:24, 0:24] / 24
    ends = random.uniform(30, 190, (count, 3, 1, 1, 3))
    found = ends[:, 0] * (1 - x[..., None]) + ends[:, 1] * x[..., None] * (1 - y[..., None])
    return (found + ends[:, 2] * (x * y)[..., None]).clip(0, 200).astype(np.uint8)


IMAGES = smooth(48, 1)


@pytest.fixture(scope="module")
def made():
    """(calibrated, scaling, split)."""
    calibrated, scaling = calibrate(network(), IMAGES)
    return calibrated, scaling, split_channels(calibrated)


def values(flatbuffer: bytes, name: str, entries: np.ndarray) -> np.ndarray:
    """What a tensor holds for each entry, in real numbers."""
    probe = ActivationProbe(flatbuffer)
    tensor = next(t for t in probe.file.tensors if t.name == name)
    found = []
    for entry in entries:
        probe.run(entry[None])
        found.append(probe.value(tensor.index).astype(np.float64))
    held = np.concatenate(found)
    if not tensor.scales:
        return held
    return (held - tensor.zero_points[0]) * tensor.scales[0]


def stem_of(model) -> np.ndarray:
    chain = chains(model.flatbuffer)[0]
    return parse(model.flatbuffer).constant(chain.writer.weights)


def test_chains_are_layers_that_only_one_another_read(made):
    found = chains(made[0].flatbuffer)
    assert [len(chain.depthwise) for chain in found] == [1, 0]
    names = [[layer.name for layer in (*chain.writers, chain.reader)] for chain in found]
    assert [["stem" in n, "edges" in n] for n in names[0][:2]] == [[True, False], [False, True]]
    assert names[0][-1] == names[1][0] and "wide" in names[1][-1]


def test_layers_that_share_their_weights_are_left_alone():
    calibrated, _ = calibrate(toys.sharing(), toys.images(8, seed=1)[0])
    assert [op.name for op in parse(calibrated.flatbuffer).operators].count("CONV_2D") == 4
    assert chains(calibrated.flatbuffer) == []


def test_copies_go_into_the_channels_that_can_never_say_anything(made):
    calibrated, _, split = made
    changed = np.abs(stem_of(split) - stem_of(calibrated)).max(axis=(1, 2, 3)) > 0
    assert set(np.flatnonzero(changed)) == {DEAD, FLAT, UNREAD}
    rows = stem_of(split)
    for slot in (DEAD, FLAT, UNREAD):
        twins = [c for c in range(WIDTH) if c != slot and np.array_equal(rows[c], rows[slot])]
        assert twins and set(twins) - {DEAD, FLAT, UNREAD} <= set(LOUD)


def test_a_narrow_tensor_gets_as_many_channels_again(made):
    calibrated, _, split = made
    for model, width in ((calibrated, NARROW), (split, 2 * NARROW)):
        chain = chains(model.flatbuffer)[1]
        file = parse(model.flatbuffer)
        assert file.tensors[chain.writer.output].shape == (1, 12, 12, width)
        assert file.constant(chain.reader.weights).shape == (24, 1, 1, width)


def test_in_float_the_function_stays_on_any_image(made):
    """Also on images that no calibration saw: noise, and white ones on which channel 12 speaks."""
    calibrated, scaling, split = made
    random = np.random.default_rng(3)
    strange = random.integers(0, 256, (6, 24, 24, 3)).astype(np.uint8)
    images = np.concatenate([IMAGES[:6], strange, np.full((1, 24, 24, 3), 255, np.uint8)])
    entries = scaling.apply(images)
    stem = chains(calibrated.flatbuffer)[0].writer.name
    assert values(calibrated.flatbuffer, stem, entries[-1:])[..., RARE].max() > 2
    name = chains(calibrated.flatbuffer)[0].reader.name
    low, high = calibrated.ranges[name]
    expected = values(calibrated.flatbuffer, name, entries)
    copies = values(split.flatbuffer, name, entries)
    found = (copies[..., :NARROW] + copies[..., NARROW:]) / 2
    assert np.abs(found - expected).mean() < (high - low) / 255 / 4
    out = parse(calibrated.flatbuffer)
    out_name = out.tensors[out.outputs[0]].name
    p, q = (values(model.flatbuffer, out_name, entries) for model in (calibrated, split))
    assert np.abs(p - q).max() < 0.01


def test_the_int8_file_rounds_less(made):
    """The reader's output, in the mean over copies, is nearer to the float graph's."""
    calibrated, scaling, split = made
    images = smooth(24, 2)
    name = chains(calibrated.flatbuffer)[1].reader.name
    expected = values(calibrated.flatbuffer, name, scaling.apply(images))
    errors = []
    for model in (calibrated, split):
        data = quantize_int8(model, "uint8")
        audit.require(audit.audit(data, "int8", "uint8", scaling=scaling, name="it"), "it")
        errors.append(((values(data, name, images) - expected) ** 2).mean())
    assert errors[1] < 0.7 * errors[0]


def test_a_constant_is_not_moved_into_a_bias_that_a_border_would_miss():
    """Behind the 3×3 reader channel 6, constant at 1.5, must stay; without it 1.5 is read from padding."""
    calibrated, _ = calibrate(network(reader=3), IMAGES)
    rows = stem_of(split_channels(calibrated))
    changed = np.abs(rows - stem_of(calibrated)).max(axis=(1, 2, 3)) > 0
    assert set(np.flatnonzero(changed)) == {UNREAD}


def test_no_room_is_said_and_the_search_goes_on():
    model = network(narrow=NARROW + 1, planted=False)
    with pytest.raises(ConvertError, match="no layer of this network has room"):
        split_channels(calibrate(model, IMAGES)[0])
    labels = np.arange(48) % 4
    methods = {"ptq-minmax": METHODS["ptq-minmax"], **SPLIT}
    result = search(
        prepare(model, IMAGES), KerasPredictor(model), IMAGES, labels, toys.CLASSES, methods=methods
    )
    assert result.chosen == "ptq-minmax" and set(result.skipped) == set(SPLIT)
    assert "has room for a second copy" in result.skipped["ptq-mse+split+gptq+bias"]


def test_the_search_makes_strict_files_of_split_channels():
    model = network()
    labels = KerasPredictor(model).predict(IMAGES).argmax(axis=1)
    methods = {"ptq-mse+gptq+bias": METHODS["ptq-mse+gptq+bias"], **SPLIT}
    result = search(
        prepare(model, IMAGES), KerasPredictor(model), IMAGES, labels, toys.CLASSES, methods=methods
    )
    assert not result.skipped and [c.method for c in result.candidates] == list(methods)
    assert len({each.data for each in result.candidates}) == 3


def test_noise_by_hand():
    """Step 1, then a depthwise gain of 4 and step 1, then a reader's gain of 2."""
    ones = np.ones(1)
    seen = Loudness((1.0, 1.0), (4 * ones, 2 * ones), (ones > 0, ones > 0))
    assert seen.shifted(0) == 0
    assert seen.noise(0, 1) == (1 * 4 + 1) * 2
    assert seen.noise(0, 2) == (1 / 4 * 4 + 1 / 2) * 2  # shifted in the first, apart in the second
    late = Loudness((1.0, 1.0), (4 * ones, 2 * ones), (ones < 0, ones > 0))
    assert late.shifted(0) == 1
    assert late.noise(0, 2) == (1 * 4 + 1 / 4) * 2  # alike in the first, shifted in the second
