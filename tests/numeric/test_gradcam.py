"""Grad-CAM against a closed form, finite differences, and networks whose gaze is known."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
import toys

from edgecell.anatomy import feature_maps
from edgecell.config import ModelConfig
from edgecell.errors import ArtifactError, ConfigError
from edgecell.explain import GradCam
from edgecell.models.registry import MODELS, build_model
from edgecell.plots.heat import spread

SIDE = 16


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def features_of(model: keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    cut = keras.Model(model.inputs, model.get_layer(layer).output)
    return cut(images.astype(np.float32), training=False).numpy()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_before_pooling_and_a_dense_head_it_is_the_closed_form(activation):
    """s_c = Σ_k W_kc mean(A_k), so ds_c/dA_k = W_kc / cells: CAM of Zhou et al. 2016, over the cells."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(4, activation=activation, name="head")(x)
    model = keras.Model(inputs, outputs)
    images, classes = pictures(6), np.array([0, 1, 2, 3, 0, 2])

    maps = features_of(model, "maps", images)
    kernel = model.get_layer("head").kernel.numpy()
    wanted = np.einsum("nhwk,kn->nhw", maps, kernel[:, classes]) / (8 * 8)
    found = GradCam(model).maps(images, classes)
    assert np.count_nonzero(wanted > 0) > 50
    # Sums of five float32 products, and a mean over 64 equal gradients.
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=1e-5, atol=1e-5 * wanted.max())
    with pytest.raises(AssertionError):  # of other classes it is another map
        np.testing.assert_allclose(
            GradCam(model).maps(images, (classes + 1) % 4), np.maximum(wanted, 0), rtol=0.1
        )


def test_behind_hidden_layers_it_is_what_finite_differences_say():
    """In float64 through NumPy's copy of the network: α_k from moving whole maps up and down."""
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu", name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(6, activation="relu", name="hidden")(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="head")(x)
    model = keras.Model(inputs, outputs)
    images, classes = pictures(3), np.array([2, 0, 1])
    maps = features_of(model, "maps", images).astype(np.float64)
    hidden, head = (
        [w.astype(np.float64) for w in model.get_layer(name).get_weights()]
        for name in ("hidden", "head")
    )

    def score(each: np.ndarray, number: int) -> float:
        inner = np.maximum(each.mean((0, 1)) @ hidden[0] + hidden[1], 0)
        return float((inner @ head[0] + head[1])[number])

    wanted = np.zeros(maps.shape[:3])
    for i, number in enumerate(classes):
        for k in range(maps.shape[3]):
            up, down = maps[i].copy(), maps[i].copy()
            step = 1e-6 * maps[i].max()
            up[..., k] += step
            down[..., k] -= step
            # Moving all 16 cells by one step adds up the 16 gradients; their mean is a 16th of it.
            alpha = (score(up, number) - score(down, number)) / (2 * step) / 16
            wanted[i] += alpha * maps[i, ..., k]
    found = GradCam(model, "maps").maps(images, classes)
    assert (wanted > 0).any((1, 2)).sum() >= 2
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=1e-4, atol=1e-5 * wanted.max())


def looking_at(rows: slice, columns: slice) -> keras.Model:
    """A network that sees one part of the image: the rest is cut away and padded with zeros."""
    keras.utils.set_random_seed(5)
    top, left = rows.start, columns.start
    around = ((top, SIDE - rows.stop), (left, SIDE - columns.stop))
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Cropping2D(around)(x)
    x = keras.layers.Conv2D(6, 1, activation="relu", kernel_initializer="ones", name="seen")(x)
    x = keras.layers.ZeroPadding2D(around)(x)
    x = keras.layers.Conv2D(
        6, 2, strides=2, use_bias=False, kernel_initializer="ones", name="maps"
    )(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(2, activation="softmax", kernel_initializer="ones")(x)
    return keras.Model(inputs, outputs)


def share_within(heat: np.ndarray, rows: slice, columns: slice) -> float:
    """Of the heat over the whole image, the share that lies in a part of it."""
    full = spread(heat, (SIDE, SIDE))
    return float(full[rows, columns].sum() / full.sum())


def test_a_network_that_sees_one_quadrant_has_its_heat_there():
    """Top right: a map that is turned over, transposed or mirrored lies elsewhere.

    Cells are 2 pixels wide. Bilinear enlargement carries a border cell's heat half a cell, 1 pixel,
    over the border, at a quarter of its height: of 8 × 8 equal pixels at most (8.5 / 8)² − 1 = 13 %
    lie outside, so that 1 / 1.13 = 0.88 and more lies within.
    """
    top, right = slice(0, 8), slice(8, 16)
    bottom, left = slice(8, 16), slice(0, 8)
    images, classes = pictures(4), np.zeros(4, int)
    maps = GradCam(looking_at(top, right)).maps(images, classes)
    assert all(share_within(each, top, right) > 0.85 for each in maps)
    # The same demand of a network that looks elsewhere, and of this one's map laid down wrongly.
    others = GradCam(looking_at(bottom, left)).maps(images, classes)
    wrong = [*others, *(each.T for each in maps), *(each[:, ::-1] for each in maps)]
    assert all(share_within(each, top, right) < 0.15 for each in wrong)


COLOURS = {"left": [(230, 60, 60), (60, 60, 230)], "right": [(60, 220, 60), (220, 220, 60)]}


def marked(count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, list]]:
    """Noise with a 5 × 5 patch in each half, each in one of two colours: images, colours, places."""
    random = np.random.default_rng(seed)
    images = random.integers(90, 166, (count, SIDE, SIDE, 3)).astype(np.uint8)
    labels = {half: random.integers(0, 2, count) for half in COLOURS}
    places: dict[str, list] = {half: [] for half in COLOURS}
    for position, image in enumerate(images):
        for half, start in (("left", 0), ("right", SIDE // 2)):
            row, column = random.integers(0, SIDE - 5), start + random.integers(0, SIDE // 2 - 4)
            places[half].append((slice(row, row + 5), slice(column, column + 5)))
            image[places[half][-1]] = COLOURS[half][labels[half][position]]
    return images, labels, places


def test_on_the_same_images_two_networks_look_at_what_each_was_trained_on():
    """Two patches in each image; one network learnt the colour of the left, one of the right."""
    x, y, _ = marked(256, seed=1)
    images, labels, places = marked(40, seed=2)
    shares = {}
    for half in COLOURS:
        model = toys.model(classes=2)
        model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        model.fit(x.astype(np.float32), y[half], batch_size=32, epochs=8, verbose=0, shuffle=False)
        said = model.predict(images.astype(np.float32), verbose=0).argmax(1)
        assert (said == labels[half]).mean() > 0.9
        maps = GradCam(model).maps(images, labels[half])
        for other in COLOURS:
            shares[half, other] = np.mean(
                [
                    share_within(each, *place)
                    for each, place in zip(maps, places[other], strict=True)
                    if each.max() > 0
                ]
            )
    assert shares["left", "left"] > 2 * shares["left", "right"], shares
    assert shares["right", "right"] > 2 * shares["right", "left"], shares


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_maps_of_its_last_convolution(name):
    side = 64 if name in ("mobilenet_v2", "efficientnet_b0") else 28
    model = build_model(ModelConfig(name=name, image_size=side, weights="none"), 3, 0.9)
    cam = GradCam(model)
    last = model.layers[[layer.name for layer in model.layers].index("pool") - 1]
    assert cam.layer == last.name
    assert (cam.rows, cam.columns) == tuple(last.output.shape[1:3])
    images, classes = pictures(2, side), np.array([0, 2])
    maps = cam.maps(images, classes)
    assert maps.shape == (2, cam.rows, cam.columns) and maps.dtype == np.float32
    if not MODELS[name].hidden:
        features = features_of(model, cam.layer, images)
        kernel = model.get_layer("probabilities").kernel.numpy()[:, classes]
        wanted = np.einsum("nhwk,kn->nhw", features, kernel) / (cam.rows * cam.columns)
        scale = np.abs(features).max() * np.abs(kernel).max()
        # A sum of up to 1,280 float32 products of this size.
        np.testing.assert_allclose(maps, np.maximum(wanted, 0), rtol=1e-3, atol=1e-5 * scale)


def test_a_frozen_model_has_the_same_maps():
    images, classes = pictures(3), np.array([0, 1, 3])
    free = GradCam(toys.trained()).maps(images, classes)
    frozen = keras.models.clone_model(toys.trained())
    frozen.set_weights(toys.trained().get_weights())
    frozen.trainable = False
    np.testing.assert_array_equal(GradCam(frozen).maps(images, classes), free)
    assert free.max() > 0


def test_nothing_that_speaks_for_a_class_is_an_empty_map():
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(2, 3, activation="relu", kernel_initializer="ones", name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    signs = keras.initializers.Constant([[1.0, -1.0], [1.0, -1.0]])
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", kernel_initializer=signs)(x))
    maps = GradCam(model).maps(pictures(2), np.array([0, 1]))
    assert maps[0].max() > 0 and maps[1].max() == 0
    assert spread(maps[1], (SIDE, SIDE)).max() == 0


def small(*layers: keras.layers.Layer) -> keras.Model:
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x, name="small")


def test_what_it_cannot_look_at_is_refused_with_what_it_can():
    model = toys.trained()
    with pytest.raises(ConfigError, match="has no layer 'relu' .*did you mean re_lu"):
        GradCam(model, "relu")
    with pytest.raises(ConfigError, match=r"the last of each size: re_lu\w* \(8×8\)"):
        GradCam(model, "probabilities")
    tiny = build_model(ModelConfig(image_size=32, weights="none"), 3, 0.9)
    with pytest.raises(ConfigError, match="out_relu are 1×1, which cannot say where"):
        GradCam(tiny, "out_relu")
    assert GradCam(tiny).layer == "block_13_expand_relu"
    flat = small(keras.layers.Flatten(), keras.layers.Dense(2, "softmax"))
    with pytest.raises(ArtifactError, match="no layer with maps"):
        GradCam(flat)
    pooled = (keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D())
    with pytest.raises(ArtifactError, match="ends in .*Normalization"):
        GradCam(small(*pooled, keras.layers.BatchNormalization()))
    with pytest.raises(ConfigError, match="single row or column"):
        GradCam(small(keras.layers.Conv2D(2, SIDE), *pooled[1:], keras.layers.Softmax()))


@pytest.mark.parametrize("last", [keras.layers.Softmax(), keras.layers.Activation("sigmoid")])
def test_a_curve_behind_the_head_is_passed_by(last):
    keras.utils.set_random_seed(3)
    body = [keras.layers.Conv2D(3, 3, name="c"), keras.layers.GlobalAveragePooling2D()]
    apart = small(*body, keras.layers.Dense(2), last)
    joined = small(
        keras.layers.Conv2D(3, 3, name="c"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    )
    joined.set_weights(apart.get_weights())
    images, classes = pictures(2), np.array([0, 1])
    np.testing.assert_allclose(
        GradCam(apart).maps(images, classes), GradCam(joined).maps(images, classes), rtol=1e-6
    )


def test_padding_and_cropping_are_no_maps():
    assert list(feature_maps(looking_at(slice(0, 8), slice(8, 16)))) == ["seen", "maps"]
