"""Tasks: the head, the loss and the figures of each, against Keras, scikit-learn and MedMNIST."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from sklearn.metrics import cohen_kappa_score, log_loss

from edgecell import losses
from edgecell.batches import balanced_label_weights
from edgecell.data.catalog import catalog
from edgecell.errors import DataError
from edgecell.tasks import (
    BINARY,
    MULTI_CLASS,
    MULTI_LABEL,
    ORDINAL,
    TASKS,
    one_label,
    several_labels,
    task_named,
)


def predictions(count: int = 60, classes: int = 4, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (count, classes))
    probabilities = (labels * 0.4 + random.uniform(0, 0.6, labels.shape)).astype(np.float32)
    return labels, probabilities


def one_of_several(count: int = 60, classes: int = 5, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    odds = random.uniform(0, 1, (count, classes)) + np.eye(classes)[labels]
    return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def test_every_task_of_medmnist_is_known():
    assert {entry.task for entry in catalog().values()} == set(TASKS)
    assert all(task_named(name).name == name for name in TASKS)
    with pytest.raises(DataError, match="unknown task 'regression'; allowed: multi-class, binary"):
        task_named("regression")
    assert (one_label(("a", "b")), one_label(("a", "b", "c"))) == (BINARY, MULTI_CLASS)


@pytest.fixture(scope="module")
def evaluator():
    """MedMNIST's own definitions; the module needs pandas, the package torch."""
    pytest.importorskip("pandas")
    return importlib.import_module("medmnist.evaluator")


def test_multi_label_figures_are_medmnist_s(evaluator):
    labels, probabilities = predictions()
    probabilities[:10] = 0.5  # not above the threshold
    found = TASKS[MULTI_LABEL].figures(labels, probabilities)
    assert found["auc"] == pytest.approx(evaluator.getAUC(labels, probabilities, MULTI_LABEL))
    assert found["accuracy"] == pytest.approx(evaluator.getACC(labels, probabilities, MULTI_LABEL))
    assert found["auc"] != pytest.approx(0.5, abs=0.1)
    expected = np.mean([log_loss(y, p) for y, p in zip(labels.T, probabilities.T, strict=True)])
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", [MULTI_CLASS, BINARY, ORDINAL])
def test_figures_of_one_label_an_image(evaluator, name):
    labels, probabilities = one_of_several(classes=2 if name == BINARY else 5)
    found = TASKS[name].figures(labels, probabilities)
    assert found["accuracy"] == pytest.approx(evaluator.getACC(labels, probabilities, name))
    rows = probabilities.astype(float)
    expected = log_loss(labels, rows / rows.sum(axis=1, keepdims=True))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert list(found) == ["loss", "accuracy"] + ["kappa"] * (name == ORDINAL)


def test_kappa_of_grades_is_scikit_learn_s():
    labels, probabilities = one_of_several()
    found = TASKS[ORDINAL].figures(labels, probabilities)
    predicted = probabilities.argmax(axis=1)
    assert found["kappa"] == pytest.approx(
        cohen_kappa_score(labels, predicted, weights="quadratic"), abs=1e-12
    )


def test_a_label_without_contrast_is_left_out_of_the_mean_and_none_is_an_error():
    labels, probabilities = predictions()
    whole = TASKS[MULTI_LABEL].figures(labels[:, :3], probabilities[:, :3])
    labels[:, 3] = 0
    assert TASKS[MULTI_LABEL].figures(labels, probabilities)["auc"] == pytest.approx(whole["auc"])
    with pytest.raises(DataError, match="no label has both images with it and images without"):
        TASKS[MULTI_LABEL].figures(labels * 0, probabilities)


@pytest.mark.parametrize("name", TASKS)
def test_a_training_that_diverged_is_not_judged(name):
    labels, probabilities = predictions() if name == MULTI_LABEL else one_of_several()
    probabilities[3, 1] = np.nan
    found = TASKS[name].figures(labels, probabilities)
    assert np.isnan([found["loss"], found[TASKS[name].metric]]).all()


def test_the_loss_of_several_labels_is_keras_own_without_weights():
    labels, probabilities = predictions()
    targets = labels.astype(np.float32)
    for smoothing in (0.0, 0.1):
        own = losses.crossentropy(TASKS[MULTI_LABEL], smoothing)
        keras_own = keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        assert float(np.mean(own(targets, probabilities))) == pytest.approx(
            float(keras_own(targets, probabilities)), rel=1e-5
        )


def test_a_weight_moves_its_own_label_only():
    labels, probabilities = predictions(count=1)
    targets, logits = labels.astype(np.float32), tf.Variable(np.log(probabilities))
    weights = np.array([[1.0, 0.0, 5.0, 1.0]], np.float32)
    loss = losses.crossentropy(TASKS[MULTI_LABEL], 0.0)

    def gradient(weight):
        with tf.GradientTape() as tape:
            value = loss(targets, tf.sigmoid(logits), sample_weight=weight)
        return tape.gradient(value, logits).numpy()

    plain = gradient(np.ones_like(weights))
    np.testing.assert_allclose(gradient(weights), plain * weights, rtol=1e-5)
    assert (np.abs(plain) > 1e-3).all()


def test_accuracy_while_training_counts_labels():
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Activation("linear")])
    task = TASKS[MULTI_LABEL]
    model.compile("sgd", losses.crossentropy(task, 0.0), metrics=[losses.accuracy(task)])
    labels, probabilities = predictions()
    told = model.evaluate(probabilities, labels.astype(np.float32), verbose=0, return_dict=True)
    assert told["accuracy"] == pytest.approx(((probabilities > 0.5) == labels).mean(), abs=1e-6)


def test_label_weights_give_both_sides_one_half():
    labels, _ = predictions(count=50)
    labels[:, 1] = np.arange(50) == 7
    labels[:, 2] = 1
    weights = balanced_label_weights(labels)
    assert weights.dtype == np.float32
    for c in (0, 1, 3):
        sides = [weights[labels[:, c] == side, c].sum() for side in (0, 1)]
        np.testing.assert_allclose(sides, [25, 25], rtol=1e-5)
    assert weights[7, 1] == pytest.approx(25)
    assert set(weights[:, 2]) == {1.0}


@pytest.mark.parametrize(
    ("labels", "several"),
    [
        (np.array([0, 2, 1]), False),
        (np.array([[0], [2], [1]]), False),
        ([[0], [1]], False),
        (np.zeros((0, 4), np.int64), True),
        (np.array([[0, 1], [1, 1]]), True),
        ([[0, 1], [1, 1]], True),
        (np.zeros((3, 4, 2), np.int64), False),
    ],
)
def test_the_form_of_labels_says_whether_they_are_several_to_an_image(labels, several):
    assert several_labels(labels) is several
