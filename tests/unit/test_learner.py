"""The training step against Keras' own, against arithmetic, and against a teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
import toys

from edgecell.averaging import WeightAverage
from edgecell.config import AugmentConfig, Config, ModelConfig, TeacherConfig, TrainConfig
from edgecell.learner import Learner
from edgecell.models.registry import layer_rates
from edgecell.objective import Objective
from edgecell.optimizers import cosine
from edgecell.progress import Silent
from edgecell.tasks import MULTI_LABEL, TASKS
from edgecell.teacher import ask, symmetries, weights_sha256
from edgecell.train import state_key, train

PLAIN = AugmentConfig(
    flip=False, quarter_turns=False, brightness=0, contrast=0, saturation=0, shift=0
)


@pytest.fixture(scope="module")
def batch() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    images, labels = toys.images(32, seed=5)
    weights = np.linspace(0.5, 1.5, len(labels), dtype=np.float32)
    return tf.constant(images, tf.float32), tf.one_hot(labels, 4), tf.constant(weights)


def without_dropout() -> keras.Model:
    model = toys.model()
    model.get_layer("dropout").rate = 0.0
    return model


def one_step(learner: keras.Model, batch, rate: float = 0.05) -> float:
    learner.compile(keras.optimizers.SGD(rate), metrics=["accuracy"])
    return float(learner.train_on_batch(batch[0], batch[1], batch[2])[0])


def test_a_plain_step_is_keras_own_step(batch):
    ours, theirs = without_dropout(), without_dropout()
    loss = one_step(Learner(ours, Objective(label_smoothing=0.1)), batch)
    theirs.compile(
        keras.optimizers.SGD(0.05), keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    )
    assert loss == pytest.approx(theirs.train_on_batch(batch[0], batch[1], batch[2]), rel=1e-5)
    for mine, its in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-6)


def test_focal_loss_is_that_of_the_paper(batch):
    probabilities = tf.constant([[0.9, 0.1], [0.3, 0.7]])
    targets, weights = tf.constant([[1.0, 0.0], [1.0, 0.0]]), tf.ones([2])
    found = Objective(focal_gamma=2.0)(probabilities, targets, weights, None)
    expected = np.mean([0.1**2 * -np.log(0.9), 0.7**2 * -np.log(0.3)])
    assert float(found) == pytest.approx(expected, rel=1e-5)
    plain = Objective()(probabilities, targets, weights, None)
    assert float(plain) == pytest.approx(np.mean([-np.log(0.9), -np.log(0.3)]), rel=1e-5)


def test_a_teacher_is_followed_as_far_as_its_share(batch):
    probabilities = tf.constant([[0.6, 0.4]])
    targets, weights = tf.constant([[1.0, 0.0]]), tf.ones([1])
    teacher = tf.constant([[0.2, 0.8]])
    alone = Objective(distillation=1.0)(probabilities, targets, weights, teacher)
    expected = 0.2 * np.log(0.2 / 0.6) + 0.8 * np.log(0.8 / 0.4)
    assert float(alone) == pytest.approx(expected, rel=1e-5)
    none = Objective(distillation=0.0)(probabilities, targets, weights, teacher)
    assert float(none) == pytest.approx(-np.log(0.6), rel=1e-5)


def test_labels_by_themselves_have_their_focal_loss_and_their_teacher():
    task = TASKS[MULTI_LABEL]
    probabilities, targets = tf.constant([[0.9, 0.2]]), tf.constant([[1.0, 1.0]])
    weights, teacher = tf.ones([1, 2]), tf.constant([[0.5, 0.5]])
    found = Objective(task, focal_gamma=2.0)(probabilities, targets, weights, None)
    expected = (0.1**2 * -np.log(0.9) + 0.8**2 * -np.log(0.2)) / 2
    assert float(found) == pytest.approx(expected, rel=1e-4)
    alone = Objective(task, distillation=1.0)(probabilities, targets, weights, teacher)

    def cost(q: float) -> float:
        return 0.5 * np.log(0.5 / q) + 0.5 * np.log(0.5 / (1 - q))

    assert float(alone) == pytest.approx((cost(0.9) + cost(0.2)) / 2, rel=1e-4)
    warm = Objective(task, distillation=1.0, temperature=4.0)
    assert float(warm(probabilities, targets, weights, probabilities)) == pytest.approx(0, abs=1e-6)


def test_the_learner_keeps_teacher_and_average_out_of_its_own_weights(batch):
    model, teacher = toys.model(), toys.trained()
    average = WeightAverage(model, 0.9)
    learner = Learner(model, Objective(distillation=0.5), teacher=ask([teacher], tta=False))
    assert len(learner.trainable_weights) == len(model.trainable_weights)
    before = weights_sha256(teacher)
    one_step(Learner(model, Objective(), teacher=ask([teacher], tta=False), average=average), batch)
    assert weights_sha256(teacher) == before


def test_the_average_is_that_of_the_weights_it_saw(batch):
    model = without_dropout()
    average = WeightAverage(model, 0.5)
    first = model.get_weights()
    learner = Learner(model, Objective(), average=average)
    learner.compile(keras.optimizers.SGD(0.05))
    expected = first
    for step in (1, 2, 3):
        learner.train_on_batch(*batch)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = [
            keep * e + (1 - keep) * w for e, w in zip(expected, model.get_weights(), strict=True)
        ]
    own = model.get_weights()
    with average.in_place():
        for found, wanted in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    for found, wanted in zip(model.get_weights(), own, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.05), keras.optimizers.Adam(0.01)])
def test_early_layers_take_a_share_of_the_step(batch, optimizer):
    full, slowed = without_dropout(), without_dropout()
    start = full.get_weights()
    rates = layer_rates(slowed, 0.1)
    assert min(rates.values()) == pytest.approx(0.1)
    assert list(rates.values()) == sorted(rates.values())
    for model, shares in ((full, None), (slowed, rates)):
        learner = Learner(model, Objective(), rates=shares)
        learner.compile(type(optimizer).from_config(optimizer.get_config()))
        learner.train_on_batch(*batch)
    layers = zip(full.layers, slowed.layers, strict=True)
    moved = [(mine.name, *pair) for mine, its in layers for pair in _pairs(mine, its)]
    names = [weight.name for weight in full.weights]
    assert len(moved) == len(full.trainable_weights)
    for name, whole, part in moved:
        before = start[names.index(whole.name)]
        step = whole.numpy() - before
        share = rates[slowed_name] if (slowed_name := _twin(full, slowed, name)) in rates else 1.0
        np.testing.assert_allclose(part.numpy() - before, share * step, atol=1e-6)


def _pairs(one: keras.layers.Layer, other: keras.layers.Layer):
    return zip(one.trainable_weights, other.trainable_weights, strict=True)


def _twin(one: keras.Model, other: keras.Model, name: str) -> str:
    """The name of the layer in ``other`` at the place of ``name`` in ``one``."""
    return other.layers[[layer.name for layer in one.layers].index(name)].name


def test_all_layers_alike_is_no_rates_at_all():
    assert layer_rates(toys.model(), 1.0) == {}


def test_the_symmetries_are_eight_and_different():
    image = tf.constant(np.random.default_rng(0).random((1, 6, 6, 3)), tf.float32)
    views = [view.numpy() for view in symmetries(image)]
    assert len({view.tobytes() for view in views}) == 8
    np.testing.assert_array_equal(views[0], image)
    expected = {
        np.rot90(m, k, axes=(1, 2)).tobytes()
        for m in (image.numpy(), image.numpy()[:, :, ::-1])
        for k in range(4)
    }
    assert {view.tobytes() for view in views} == expected


def test_several_teachers_answer_with_their_mean():
    pixels = tf.constant(toys.images(6, seed=9)[0], tf.float32)
    one, two = toys.trained(), toys.model()
    mean = (one(pixels, training=False) + two(pixels, training=False)) / 2
    np.testing.assert_allclose(ask([one, two], tta=False)(pixels), mean, atol=1e-6)
    views = [one(view, training=False) for view in symmetries(pixels)]
    np.testing.assert_allclose(ask([one], tta=True)(pixels), np.mean(views, axis=0), atol=1e-6)


def test_a_teacher_of_another_size_sees_resized_images():
    pixels = tf.constant(toys.images(4, seed=9)[0], tf.float32)
    larger = tf.image.resize(pixels, (32, 32), antialias=True)
    given = toys.trained()(tf.image.resize(larger, (16, 16), antialias=True), training=False)
    np.testing.assert_allclose(ask([toys.trained()], tta=False)(larger), given, atol=1e-6)


def test_warm_up_rises_to_the_rate_and_the_cosine_falls_to_a_hundredth():
    rate = cosine(0.1, 100, 10)
    values = [float(rate(step)) for step in (0, 5, 10, 55, 100, 120)]
    assert values[0] == pytest.approx(0.001)
    assert values[2] == pytest.approx(0.1)
    assert values[0] < values[1] < values[2] > values[3] > values[4]
    assert values[4] == pytest.approx(values[5], rel=1e-4)
    assert float(cosine(0.1, 100, 0)(0)) == pytest.approx(0.1)
    assert float(cosine(0.1, 100, 0)(100)) == pytest.approx(0.001)


def test_the_state_depends_on_the_teachers_weights(tiny_dataset):
    settings = Config(teacher=TeacherConfig(runs=("a",)))
    one, other = (state_key(settings, tiny_dataset, [t]) for t in (toys.trained(), toys.model()))
    assert one != other
    assert one == state_key(settings, tiny_dataset, [toys.trained()])


@pytest.mark.slow
def test_every_aid_together_still_learns(tiny_dataset, tmp_path):
    """The real network's first steps with everything on: it runs, resumes and stays finite."""
    config = Config(
        model=ModelConfig(alpha=0.35, image_size=32, weights="none"),
        augment=replace(PLAIN, rotation=20, zoom=0.2),
        train=TrainConfig(
            **{"head_epochs": 0, "epochs": 2, "batch_size": 24, "mixup": 0.2, "cutmix": 1.0},
            **{"ema": 0.9, "warmup_epochs": 1, "focal_gamma": 1.0, "first_layer_rate": 0.5},
        ),
    )
    done = train(config, tiny_dataset, tmp_path, Silent())
    assert len(done.progression.history) == 2
    assert all(np.isfinite(w).all() for w in done.model.get_weights())
