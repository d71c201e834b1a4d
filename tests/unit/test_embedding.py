"""Neighbourhoods against what can be counted by hand and by scikit-learn; the plane; the cut."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
import toys
import toys_labels
from legible import boxes, check_legible
from sklearn.neighbors import KNeighborsClassifier

from edgecell import plots
from edgecell.anatomy import last_features
from edgecell.config import ModelConfig
from edgecell.embedding import LEAST, nearest, neighbourhoods, plane, trust
from edgecell.errors import ArtifactError, DataError
from edgecell.models.registry import build_model

NAMES = ("a", "b", "c")


def clusters(count: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    centres = np.eye(3, 12) * 4
    return (centres[labels] + random.normal(0, spread, (count, 12))).astype(np.float32), labels


def test_purity_is_what_one_counts_on_a_line():
    # At 0 1 3 | 10 11 14: of 0 the nearest two are 1 and 3, of 3 they are 1 and 0, …
    features = np.array([0, 1, 3, 10, 11, 14], np.float32)[:, None]
    labels = np.array([0, 0, 1, 1, 1, 0])
    assert nearest(features, 2).tolist() == [[1, 2], [0, 2], [1, 0], [4, 5], [3, 5], [4, 3]]
    # Shares of the own class: ½, ½, 0, ½, ½, 0.
    found = neighbourhoods(features, labels, NAMES, k=2)
    assert found["purity"]["value"] == pytest.approx(1 / 3) and found["purity"]["n"] == 6
    a, b, c = found["classes"]
    assert a["purity"]["value"] == pytest.approx(1 / 3) and a["chance"] == pytest.approx(2 / 5)
    assert b["purity"]["value"] == pytest.approx(1 / 3) and b["support"] == 3
    assert c["purity"]["reason"] == "no image of this class" and "chance" not in c
    assert found["chance"] == pytest.approx(2 / 5)
    assert a["best"] == 1 and "best" not in c
    a, *_ = neighbourhoods(features, labels, NAMES, k=4)["classes"]
    assert a["best"] == pytest.approx(2 / 4)  # three images: two others among four neighbours
    assert neighbourhoods(features, labels, NAMES, k=50)["neighbours"] == 5


def test_purity_is_scikit_learn_s_neighbours_and_chance_where_labels_are_shuffled():
    features, labels = clusters(200, 1.6)
    found = neighbourhoods(features, labels, NAMES, k=7)
    oracle = KNeighborsClassifier(7).fit(features, labels).kneighbors(return_distance=False)
    assert found["purity"]["value"] == pytest.approx((labels[oracle] == labels[:, None]).mean())
    low, high = found["purity"]["low"], found["purity"]["high"]
    assert 0.7 < low < found["purity"]["value"] < high
    shuffled = np.random.default_rng(1).permutation(labels)
    lost = neighbourhoods(features, shuffled, NAMES, k=7)
    assert lost["chance"] == pytest.approx(found["chance"])
    # 200 × 7 draws, in pairs not independent: a standard error of about 0.013.
    assert abs(lost["purity"]["value"] - lost["chance"]) < 0.05


def test_purity_of_several_labels_is_that_of_the_images_that_have_them():
    features = np.array([0, 1, 3, 10, 11, 14], np.float32)[:, None]
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]])
    found = neighbourhoods(features, labels, NAMES, k=2)
    first, second, third = found["classes"]
    assert first["purity"]["value"] == pytest.approx(0.5)  # 1 of [1, 3]; 1 of [0, 3]
    assert second["purity"]["value"] == pytest.approx((0.5 + 0.5 + 0.5 + 0.5) / 4)
    assert third["purity"]["reason"] == "no image with this label"
    assert found["purity"]["value"] == pytest.approx(0.5)
    assert found["chance"] == pytest.approx((1 / 5 + 3 / 5) / 2)


def test_the_plane_keeps_clusters_together_and_is_the_same_again():
    features, labels = clusters(90, 0.5)
    laid = plane(features, perplexity=30, seed=0)
    assert laid.points.shape == (90, 2) and laid.points.dtype == np.float32
    np.testing.assert_array_equal(laid.points, plane(features, perplexity=30, seed=0).points)
    assert laid.facts["perplexity"] == pytest.approx(89 / 3)
    assert neighbourhoods(laid.points, labels, NAMES, k=5)["purity"]["value"] > 0.95
    assert trust(features, laid.points, 10).value > 0.9
    mixed = np.random.default_rng(0).permutation(laid.points)
    assert neighbourhoods(mixed, labels, NAMES, k=5)["purity"]["value"] < 0.6
    assert trust(features, mixed, 10).value < 0.6


def test_what_cannot_be_laid_out_is_refused():
    features, _ = clusters(LEAST, 1.0)
    assert plane(features, perplexity=500, seed=0).facts["perplexity"] == pytest.approx(3)
    with pytest.raises(DataError, match=f"9 images are too few .*{LEAST} are needed"):
        plane(features[:9], perplexity=30, seed=0)
    features[3, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        plane(features, perplexity=30, seed=0)


def test_a_dead_model_is_said_to_be_one():
    with pytest.raises(DataError, match="the same features for every image"):
        plane(np.ones((12, 4), np.float32), perplexity=30, seed=0)


def test_a_single_feature_is_laid_out_too():
    laid = plane(np.arange(12, dtype=np.float32)[:, None], perplexity=30, seed=0)
    assert laid.points.shape == (12, 2) and np.isfinite(laid.points).all()


@pytest.mark.parametrize("name", ["mobilenet_v2", "simple_cnn", "deeper_cnn"])
def test_last_features_are_what_the_head_is_given(name):
    model = build_model(ModelConfig(name=name, image_size=32, weights="none"), 3, 0.9)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    features = keras.Model(model.inputs, last_features(model))(pixels, training=False).numpy()
    kernel, bias = model.get_layer("probabilities").get_weights()
    powers = np.exp(features @ kernel + bias)
    said = model(pixels, training=False).numpy()
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), said, rtol=1e-4)


def test_a_softmax_of_its_own_is_passed_by_and_other_endings_are_refused():
    x = inputs = keras.Input((8, 8, 3))
    x = pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(x))
    apart = keras.layers.Softmax()(keras.layers.Dense(2)(x))
    assert last_features(keras.Model(inputs, apart)).shape[1:] == (5,)
    with pytest.raises(ArtifactError, match="no dense layer behind its features"):
        last_features(keras.Model(inputs, keras.layers.Softmax()(pooled)))


def test_both_maps_are_legible_with_many_classes():
    random = np.random.default_rng(0)
    names = [f"class of a rather long name {i}" for i in range(30)]
    points = random.normal(size=(300, 2)).astype(np.float32)
    labels = np.arange(300) % 30
    figure = plots.class_plane(points, labels, random.random(300) < 0.1, names, title="t", note="n")
    check_legible(figure)
    several = (random.random((300, 14)) < 0.2).astype(np.int64)
    figure = plots.label_planes(points, several, several[::-1], names[:14], title="t", note="n")
    check_legible(figure)
    found = neighbourhoods(points, labels, [*names, "absent"], k=3)
    figure = plots.purity_bars(found)
    check_legible(figure)
    assert "no image of this class" in [text for text, _ in boxes(figure)]
    check_legible(plots.purity_bars(neighbourhoods(points, labels, names, k=20)))  # and the best


def test_a_name_stands_inside_the_map_and_not_on_a_small_clump():
    points = np.repeat([[0.0, 0.0], [9.0, 9.0]], 5, axis=0).astype(np.float32)
    labels, names = np.repeat([0, 1], 5), ["a name that is rather long", "b"]
    figure = plots.class_plane(points, labels, labels < 0, names, title="t")
    [axes] = figure.axes
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    for text, point in zip(axes.texts, [(0, 0), (9, 9)], strict=True):
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1
        assert box.y0 > axes.transData.transform(point)[1]


def test_toys_end_in_a_head():
    assert last_features(toys.trained()).shape[1:] == (8,)
    assert last_features(toys_labels.model()).shape[1:] == (16,)
