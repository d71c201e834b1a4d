"""The networks beside MobileNetV2: their sizes to the unit, their graphs, and weights from elsewhere."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import requests
import tensorflow as tf
import tf_keras as keras

from edgecell.config import Config, DataConfig, ModelConfig
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.models import MODELS, build_model, describe_model
from edgecell.models import weights as weights_module
from edgecell.models.efficientnet_b0 import normalization_of
from edgecell.models.registry import architecture_of, set_trainable
from edgecell.pipeline.train_settings import default_name
from edgecell.pipeline.training import start_run

SMALLEST = {name: model.smallest for name, model in MODELS.items()}
NEW = [name for name in MODELS if name != "mobilenet_v2"]
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def settings(name: str, **changes) -> ModelConfig:
    return ModelConfig(**{"name": name, "image_size": SMALLEST[name], "weights": "none"} | changes)


@pytest.fixture(scope="module")
def built() -> dict[str, keras.Model]:
    """Every network for eight classes at its smallest size, untrained."""
    return {name: build_model(settings(name), 8, 0.9) for name in NEW}


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "trainable", "all_of_them"),
    [
        # As their projects count them; the moving statistics of BatchNorm (2 · 480) are extra.
        ("simple_cnn", 102_024, 102_024),
        ("deeper_cnn", 313_192, 313_192 + 960),
        # torchvision's 11,689,512 less its head (513,000) and 7×7 stem, with ours; 2 · 4,800 statistics.
        ("resnet18_28", 11_689_512 - 513_000 - 9_408 + 1_728 + 4_104, 11_172_936 + 9_600),
        # Keras' own without top is 4,049,571; seven of them are its normalization's.
        ("efficientnet_b0", 4_007_548 + 1_280 * 8 + 8, 4_049_564 + 1_280 * 8 + 8),
    ],
)
def test_parameters_to_the_unit(built, name, trainable, all_of_them):
    assert set_trainable(built[name], 0) == trainable
    assert describe_model(built[name]) == {
        "parameters": all_of_them,
        "layers": len(built[name].layers),
        "input_shape": [SMALLEST[name], SMALLEST[name], 3],
        "classes": 8,
    }


@pytest.mark.parametrize("name", NEW)
def test_graphs_are_flat_with_the_scaling_first_and_probabilities_last(built, name):
    model = built[name]
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    scaling = model.layers[1]
    assert (scaling.name, scaling.scale, scaling.offset) == ("input_scaling", 1 / 128, -1.0)
    others = (keras.layers.Rescaling, keras.layers.Normalization)
    assert not [each.name for each in model.layers[2:] if isinstance(each, others)]
    assert all(len(layer.inbound_nodes) == 1 for layer in model.layers)
    head = [layer.name for layer in model.layers[[la.name for la in model.layers].index("pool") :]]
    hidden = [f"hidden{i + 1}" for i in range(len(MODELS[name].hidden))]
    assert head == ["pool", *hidden[:1], "dropout", *hidden[1:], "probabilities"]
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} <= {0.9}


def test_layers_behind_one_another_as_their_papers_draw_them(built):
    kinds = {name: [type(la).__name__ for la in model.layers] for name, model in built.items()}
    assert kinds["simple_cnn"].count("Conv2D") == 3
    assert kinds["simple_cnn"].count("MaxPooling2D") == 2
    assert (
        kinds["deeper_cnn"].count("Conv2D") == kinds["deeper_cnn"].count("BatchNormalization") == 8
    )
    assert kinds["deeper_cnn"].count("Dense") == 3
    convolutions = [la for la in built["deeper_cnn"].layers if isinstance(la, keras.layers.Conv2D)]
    assert all(layer.use_bias for layer in convolutions)
    # 17 convolutions and the dense layer make the name; three shortcuts change the width.
    assert kinds["resnet18_28"].count("Conv2D") == 17 + 3
    assert kinds["resnet18_28"].count("MaxPooling2D") == 0
    assert built["resnet18_28"].get_layer("stem_conv").output_shape[1:] == (28, 28, 64)
    sides = [
        built["resnet18_28"].get_layer(f"stage{stage}_block2_add").output_shape[1]
        for stage in (1, 2, 3, 4)
    ]
    assert sides == [28, 14, 7, 4]


@pytest.mark.parametrize(
    ("name", "side", "features"),
    [("simple_cnn", 28, 7), ("deeper_cnn", 28, 3), ("simple_cnn", 48, 12), ("resnet18_28", 40, 5)],
)
def test_other_sizes_build(name, side, features):
    pool = build_model(settings(name, image_size=side), 2, 0.9).get_layer("pool")
    assert pool.input_shape[1:3] == (features, features)


def test_fine_tuning_the_last_85_layers_is_torchvision_s_features_from_the_last_but_two(built):
    """``features[-3:]``: the stages of 192 and 320 channels and the last convolution."""
    model = built["efficientnet_b0"]
    set_trainable(model, 85)
    names = [layer.name for layer in model.layers]
    body = names[2 : names.index("pool")]
    trained = [name for name in body if model.get_layer(name).trainable]
    assert trained[0] == "block6a_expand_conv"
    assert len(trained) == 85
    assert {name.split("_")[0] for name in trained} == {
        *("block6a", "block6b", "block6c", "block6d", "block7a", "top")
    }
    assert not [name for name in body[:-85] if name.startswith(("block6", "block7", "top"))]
    assert model.get_layer("block6d_project_conv").filters == 192
    assert model.get_layer("block7a_project_conv").filters == 320


def test_the_head_trains_with_its_hidden_layers(built):
    model = built["deeper_cnn"]
    assert set_trainable(model, -1) == 128 * 128 + 128 + 128 * 16 + 16 + 16 * 8 + 8
    set_trainable(model, 3)  # conv4b, its BatchNorm, its ReLU
    trained = {layer.name for layer in model.layers if layer.trainable and layer.trainable_weights}
    assert trained == {"conv4b", "bn4b", "hidden1", "hidden2", "probabilities"}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("simple_cnn", {"alpha": 0.5}, "alpha is 0.5, and simple_cnn has one width only; leave"),
        ("efficientnet_b0", {"alpha": 1.0}, "a setting of mobilenet_v2"),
        (
            "resnet18_28",
            {"weights": "imagenet"},
            "no ImageNet weights .* resnet18_28.*--weights none",
        ),
        ("deeper_cnn", {"weights": "imagenet"}, "no ImageNet weights .*path of an .h5 file"),
        ("mobilenet_v2", {"image_size": 31}, "image_size is 31; mobilenet_v2 takes 32 or more"),
        ("efficientnet_b0", {"image_size": 28}, r"efficientnet_b0 takes 32 .*\(--image-size 32\)"),
        ("resnet_18", {}, r"unknown model 'resnet_18'; did you mean resnet18_28\?"),
    ],
)
def test_settings_that_a_network_does_not_have_are_refused(name, changes, message):
    config = ModelConfig(**{"name": name, "image_size": 64, "weights": "none"} | changes)
    with pytest.raises(ConfigError, match=message):
        architecture_of(config)
    with pytest.raises(ConfigError, match=message):
        build_model(config, 3, 0.9)


@pytest.mark.parametrize("name", NEW)
def test_a_setting_left_alone_is_not_refused(name):
    assert architecture_of(settings(name)) is MODELS[name]


def test_a_run_is_refused_before_anything_is_written(tmp_path):
    config = Config(model=settings("simple_cnn", weights="imagenet"))
    for output in (None, tmp_path / "run"):
        with pytest.raises(ConfigError, match="no ImageNet weights"):
            start_run(config, output)
    assert not list(tmp_path.iterdir())


def test_a_run_s_name_holds_the_width_where_there_is_one():
    data = DataConfig(source="cells.npz")
    named = {
        name: default_name(Config(data=data, model=settings(name)))
        for name in ("mobilenet_v2", "simple_cnn")
    }
    assert named == {
        "mobilenet_v2": "cells-mobilenet_v2-0.35-32",
        "simple_cnn": "cells-simple_cnn-28",
    }


# --------------------------------------------------------------------------------- EfficientNet-B0


def _keras_file(path: Path) -> keras.Model:
    """Keras' own network without its top, with random statistics and as published, saved."""
    source = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    _randomize(source, np.random.default_rng(1))
    first = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    first.set_weights([MEAN, DEVIATION, np.int64(0)])  # deviations where variances belong
    source.save_weights(path)
    return source


def _randomize(model: keras.Model, random: np.random.Generator) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])


def _stem(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, model.get_layer("stem_bn").output)


def test_imagenet_weights_of_efficientnet_mean_the_same(tmp_path, noise):
    """Keras' preprocessing, folded: equal but where zeros were padded, and there really not."""
    source = _keras_file(tmp_path / "b0.h5")
    seen = (noise / 255 - MEAN) / DEVIATION
    stem = keras.Model(source.get_layer("stem_conv_pad").input, source.get_layer("stem_bn").output)
    expected = stem(seen.astype(np.float32)).numpy()
    model = build_model(settings("efficientnet_b0", weights=str(tmp_path / "b0.h5")), 3, 0.9)
    found = _stem(model)(noise).numpy()
    # float32 sums of 27 products around 1, twice rounded.
    np.testing.assert_allclose(found[:, :-1, :-1], expected[:, :-1, :-1], atol=2e-5)
    assert np.abs(found - expected)[:, -1].max() > 1e-3
    for layer in model.layers:
        if layer.weights and layer.name not in ("stem_conv", "stem_bn", "probabilities"):
            for ours, theirs in zip(
                layer.get_weights(), source.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("mean", "variance", "deviation"),
    [
        (MEAN, DEVIATION, DEVIATION),  # the published file: its "variances" are deviations
        (MEAN, DEVIATION**2, DEVIATION),  # a file with the variances themselves
        (np.zeros(3), np.ones(3), np.ones(3)),  # trained from nothing: pixels of 0…1
    ],
)
def test_a_file_s_normalization_is_read_as_keras_means_it(mean, variance, deviation):
    inputs = keras.Input((4, 4, 3))
    source = keras.Model(inputs, keras.layers.Normalization()(inputs))
    source.layers[1].set_weights([mean, variance, np.int64(0)])
    found = normalization_of(source)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.deviation, deviation, rtol=1e-6)


def test_weights_of_efficientnet_with_its_top_do_not_fit(tmp_path):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)).save_weights(tmp_path / "w.h5")
    with pytest.raises(ArtifactError, match="does not fit EfficientNet-B0 without its top"):
        build_model(settings("efficientnet_b0", weights=str(tmp_path / "w.h5")), 3, 0.9)


def test_imagenet_weights_of_efficientnet_are_asked_for_by_keras_own_name(monkeypatch):
    def offline(*_args, **_kwargs):
        raise requests.ConnectionError

    monkeypatch.setattr(weights_module.pooch, "retrieve", offline)
    with pytest.raises(DataError, match="'efficientnetb0_notop.h5' are not in"):
        build_model(settings("efficientnet_b0", weights="imagenet"), 3, 0.9)


# --------------------------------------------------------------------------------------- ResNet-18


def _state_dict(stem: int) -> dict[str, np.ndarray]:
    """Random weights under torchvision's names, shaped as its resnet18's."""
    random = np.random.default_rng(2)
    arrays: dict[str, np.ndarray] = {"fc.weight": np.zeros((1000, 512), np.float32)}

    def convolution(name: str, out: int, entry: int, side: int) -> None:
        spread = (2 / (entry * side * side)) ** 0.5
        arrays[f"{name}.weight"] = random.normal(0, spread, (out, entry, side, side))

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{name}.{part}"] = random.uniform(0.5, 1.5, channels)
        arrays[f"{name}.num_batches_tracked"] = np.array(1)

    convolution("conv1", 64, 3, stem)
    norm("bn1", 64)
    entry = 64
    for layer, channels in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            place = f"layer{layer}.{block}"
            convolution(f"{place}.conv1", channels, entry, 3)
            norm(f"{place}.bn1", channels)
            convolution(f"{place}.conv2", channels, channels, 3)
            norm(f"{place}.bn2", channels)
            if entry != channels:
                convolution(f"{place}.downsample.0", channels, entry, 1)
                norm(f"{place}.downsample.1", channels)
            entry = channels
    return {name: np.asarray(value, np.float32) for name, value in arrays.items()}


def _saved(path: Path, arrays: dict[str, np.ndarray]) -> str:
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return str(path)


def _torch_convolution(x, weight: np.ndarray, stride: int):
    """As torch does it: padding on all four sides, OIHW weights."""
    by = weight.shape[2] // 2
    padded = tf.pad(x, [[0, 0], [by, by], [by, by], [0, 0]])
    return tf.nn.conv2d(padded, weight.transpose(2, 3, 1, 0), stride, "VALID")


def _torch_norm(x, arrays: dict[str, np.ndarray], name: str):
    gamma, beta, mean, variance = (
        arrays[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def _torch_stages(x, arrays: dict[str, np.ndarray]):
    """What torchvision's BasicBlocks compute behind the stem."""
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            place = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = _torch_convolution(x, arrays[f"{place}.conv1.weight"], stride)
            y = tf.nn.relu(_torch_norm(y, arrays, f"{place}.bn1"))
            y = _torch_convolution(y, arrays[f"{place}.conv2.weight"], 1)
            y = _torch_norm(y, arrays, f"{place}.bn2")
            if stride == 2:
                x = _torch_convolution(x, arrays[f"{place}.downsample.0.weight"], 2)
                x = _torch_norm(x, arrays, f"{place}.downsample.1")
            x = tf.nn.relu(y + x)
    return x


def test_torchvision_s_resnet18_computes_the_same(tmp_path, noise):
    images, arrays = noise[:, :28, :28], _state_dict(stem=3)
    path = _saved(tmp_path / "resnet.h5", arrays)
    model = build_model(settings("resnet18_28", weights=path), 3, 0.9)
    stem = keras.Model(model.input, model.get_layer("stem_bn").output)(images)
    seen = ((images / 255 - MEAN) / DEVIATION).astype(np.float32)
    expected = _torch_norm(_torch_convolution(seen, arrays["conv1.weight"], 1), arrays, "bn1")
    inner = (slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(stem.numpy()[inner], expected.numpy()[inner], atol=2e-5)
    assert np.abs(stem.numpy() - expected.numpy())[:, 0].max() > 1e-3  # zeros mean grey there
    features = keras.Model(model.input, model.get_layer("pool").input)(images).numpy()
    behind = _torch_stages(tf.nn.relu(stem), arrays).numpy()
    np.testing.assert_allclose(features, behind, rtol=1e-3, atol=1e-4 * np.abs(behind).max())


def test_a_7x7_stem_is_shrunk_and_answers_an_even_surface_alike(tmp_path):
    arrays = _state_dict(stem=7)
    # Smooth kernels, as trained ones are: what lies between the nine samples is not lost.
    arrays["conv1.weight"][:] = arrays["conv1.weight"].mean(axis=(2, 3), keepdims=True)
    path = _saved(tmp_path / "resnet.h5", arrays)
    model = build_model(settings("resnet18_28", weights=path), 3, 0.9)
    stem = keras.Model(model.input, model.get_layer("stem_bn").output)
    image = np.full((1, 28, 28, 3), [200, 90, 30], np.float32)
    seen = ((image / 255 - MEAN) / DEVIATION).astype(np.float32)
    expected = _torch_norm(_torch_convolution(seen, arrays["conv1.weight"], 1), arrays, "bn1")
    np.testing.assert_allclose(
        stem(image).numpy()[0, 14, 14], expected.numpy()[0, 14, 14], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda a: a.pop("layer3.1.bn2.bias"),
            "has no array 'layer3.1.bn2.bias'; it must hold all",
        ),
        (
            lambda a: a.update({"layer1.0.conv1.weight": np.zeros((64, 32, 3, 3), np.float32)}),
            r"'layer1.0.conv1.weight' is \(64, 32, 3, 3\), which is not resnet18's",
        ),
    ],
)
def test_another_state_dict_is_refused(tmp_path, damage, message):
    arrays = _state_dict(stem=3)
    damage(arrays)
    path = _saved(tmp_path / "resnet.h5", arrays)
    with pytest.raises(ArtifactError, match=message):
        build_model(settings("resnet18_28", weights=path), 3, 0.9)


# ------------------------------------------------------------------------------- files of one's own


@pytest.mark.parametrize("name", ["simple_cnn", "deeper_cnn", "resnet18_28"])
def test_a_backbone_s_own_file_fills_it(built, tmp_path, name):
    source = built[name]
    _randomize(source, np.random.default_rng(3))
    backbone = keras.Model(source.input, source.get_layer("pool").input)
    backbone.save_weights(tmp_path / "own.h5")
    model = build_model(settings(name, weights=str(tmp_path / "own.h5")), 3, 0.9)
    found = keras.Model(model.input, model.get_layer("pool").input).get_weights()
    for ours, theirs in zip(found, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_file_of_another_network_does_not_fit(built, tmp_path):
    source = built["simple_cnn"]
    keras.Model(source.input, source.get_layer("pool").input).save_weights(tmp_path / "own.h5")
    with pytest.raises(ArtifactError, match="own.h5 does not fit deeper_cnn without its top"):
        build_model(settings("deeper_cnn", weights=str(tmp_path / "own.h5")), 3, 0.9)
    with pytest.raises(ArtifactError, match="no weights file at"):
        build_model(settings("resnet18_28", weights=str(tmp_path / "gone.h5")), 3, 0.9)
