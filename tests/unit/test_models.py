from __future__ import annotations

import os

import h5py
import numpy as np
import pytest
import requests
import tf_keras as keras

from edgecell.config import ALPHAS, ModelConfig
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.models import MODELS, build_model, describe_model
from edgecell.models import weights as weights_module
from edgecell.models.registry import HEAD, set_trainable
from edgecell.models.weights import load_backbone

WEIGHTS = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
# Parameters of Keras' own MobileNetV2 without its top, and the channels it ends with.
KERAS_OWN = {
    0.35: (410_208, 1280),
    0.5: (706_224, 1280),
    0.75: (1_382_064, 1280),
    1.0: (2_257_984, 1280),
    1.3: (3_766_048, 1664),
    1.4: (4_363_712, 1792),
}


def tiny(**settings) -> ModelConfig:
    return ModelConfig(**{"alpha": 0.35, "image_size": 32, "weights": "none"} | settings)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_model(tiny(), 5, 0.9)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_width_builds_with_keras_own_number_of_parameters(alpha):
    model = build_model(tiny(alpha=alpha), 3, 0.9)
    backbone, features = KERAS_OWN[alpha]
    assert describe_model(model) == {
        "parameters": backbone + features * 3 + 3,
        "layers": len(model.layers),
        "input_shape": [32, 32, 3],
        "classes": 3,
    }


def test_the_graph_is_flat_and_its_ends_are_as_agreed(model):
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert model.layers[1].name == "input_scaling"
    assert [layer.name for layer in model.layers[-3:]] == list(HEAD)
    assert model.output.dtype == "float32"
    assert model.layers[-1].activation is keras.activations.softmax


def test_pixels_are_scaled_exactly(model):
    scaling = keras.Model(model.input, model.get_layer("input_scaling").output)
    levels = np.arange(256, dtype=np.float32)
    images = np.zeros((1, 32, 32, 3), np.float32)
    images[0, :8, :, 1] = levels.reshape(8, 32)
    seen = scaling(images).numpy()[0, :8, :, 1].ravel()
    np.testing.assert_array_equal(seen, (levels - 128) / 128)


def test_probabilities_sum_to_one(model):
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    found = model(images, training=False).numpy()
    assert found.shape == (4, 5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_batchnorm_momentum_replaces_keras_own(model):
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert len(norms) == 52  # as in the paper's 17 blocks and both ends
    assert {layer.momentum for layer in norms} == {0.9}


def test_freezing_counts_from_the_end_and_spares_the_head(model):
    def trained() -> set[str]:
        return {la.name for la in model.layers if la.trainable and la.trainable_weights}

    head_only = set_trainable(model, -1)
    assert trained() == {"probabilities"}
    assert head_only == 1280 * 5 + 5
    # The last three layers are Conv_1, its BatchNorm and the activation.
    set_trainable(model, 3)
    assert trained() == {"Conv_1", "Conv_1_bn", "probabilities"}
    everything = set_trainable(model, 0)
    assert set_trainable(model, 10_000) == everything > 400_000
    assert "Conv1" in trained()


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'mobilenet_v3'; did you mean mobilenet_v2\?"):
        build_model(tiny(name="mobilenet_v3"), 3, 0.9)
    with pytest.raises(ConfigError, match=f"'vgg'; allowed: {', '.join(MODELS)}"):
        build_model(tiny(name="vgg"), 3, 0.9)


@pytest.mark.needs_shared
@pytest.mark.parametrize("by", ["path", "name"])
def test_weights_fill_the_backbone_at_any_size(shared, monkeypatch, by):
    path = shared / WEIGHTS
    monkeypatch.setattr(weights_module.pooch, "retrieve", lambda *_, **__: str(path))
    named = "imagenet" if by == "name" else str(path)
    model = build_model(tiny(weights=named, image_size=48), 3, 0.9)
    with h5py.File(path) as file:
        stored = file["Conv1/Conv1/kernel:0"][()]
        last = file["Conv_1_bn/Conv_1_bn/moving_variance:0"][()]
    np.testing.assert_array_equal(model.get_layer("Conv1").get_weights()[0], stored)
    np.testing.assert_array_equal(model.get_layer("Conv_1_bn").get_weights()[3], last)
    assert stored.std() > 0.01


def test_a_backbone_of_another_width_does_not_fit(tmp_path):
    inner = keras.applications.MobileNetV2((32, 32, 3), alpha=0.5, include_top=False, weights=None)
    inner.save_weights(tmp_path / "b.h5")
    with pytest.raises(ArtifactError, match="does not fit MobileNetV2 with alpha 0.35") as caught:
        build_model(tiny(weights=str(tmp_path / "b.h5")), 3, 0.9)
    assert "\n" not in str(caught.value)


@pytest.fixture
def small() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def test_a_trained_model_is_a_start_for_another_size_and_other_classes(tmp_path):
    donor = build_model(ModelConfig(name="simple_cnn", image_size=28, weights="none"), 3, 0.9)
    path = tmp_path / "run" / "train" / "model.keras"
    path.parent.mkdir(parents=True)
    donor.save(path)
    for named in (path, tmp_path / "run"):
        start = ModelConfig(name="simple_cnn", image_size=36, weights=str(named))
        same, other = build_model(start, 3, 0.9), build_model(start, 5, 0.9)
        for mine, its in zip(same.get_weights(), donor.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_array_equal(other.get_weights()[0], donor.get_weights()[0])
        assert other.output_shape[-1] == 5
    with pytest.raises(ArtifactError, match="not the network to be trained"):
        build_model(ModelConfig(name="deeper_cnn", image_size=28, weights=str(path)), 3, 0.9)
    with pytest.raises(ArtifactError, match="no model at"):
        build_model(ModelConfig(name="simple_cnn", weights=str(tmp_path)), 3, 0.9)


def test_weights_survive_the_file(tmp_path, small):
    stored = small.get_weights()
    small.save_weights(tmp_path / "w.h5")
    small.set_weights([w + 1 for w in stored])
    load_backbone(small, str(tmp_path / "w.h5"), "it")
    np.testing.assert_array_equal(small.get_weights()[0], stored[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no weights file at .*; give .*a trained run, --weights imagenet or --weights none"),
        (b"not HDF5", "is not an HDF5 weights file"),
        (b"", "is not an HDF5 weights file"),
        ("half", "cannot read the weights"),
        ("empty", "does not fit it without its top"),
        ("larger", r"does not fit it without its top .*; give the weights"),
    ],
)
def test_a_bad_weights_file_is_one_line(tmp_path, small, content, message):
    path = tmp_path / "w.h5"
    if content == "half":
        small.save_weights(path)
        os.truncate(path, path.stat().st_size // 2)
    elif content == "empty":
        h5py.File(path, "w").close()
    elif content == "larger":
        keras.Sequential([keras.Input((4,)), small, keras.layers.Dense(2)]).save_weights(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_backbone(small, str(path), "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "failure", [requests.ConnectionError("no route"), OSError("disk full"), ValueError("no hash")]
)
def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch, failure):
    def offline(*_args, **_kwargs):
        raise failure

    monkeypatch.setattr(weights_module.pooch, "retrieve", offline)
    with pytest.raises(DataError, match=r"'w_no_top.h5' are not in .*--weights PATH.*none"):
        weights_module.published("https://example.org/w_no_top.h5")


@pytest.mark.parametrize(
    ("size", "alpha", "name"), [(96, 0.35, "0.35_96_no_top.h5"), (33, 1.0, "1.0_224_no_top.h5")]
)
def test_imagenet_weights_are_asked_for_by_width_and_nearest_side(monkeypatch, size, alpha, name):
    def offline(*_args, **_kwargs):
        raise requests.ConnectionError

    monkeypatch.setattr(weights_module.pooch, "retrieve", offline)
    with pytest.raises(DataError, match=f"'mobilenet_v2_.*_{name}'"):
        build_model(tiny(weights="imagenet", image_size=size, alpha=alpha), 3, 0.9)
