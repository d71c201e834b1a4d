"""Pruning and weight clustering on the toy: what they reach, what files keep of it, and that losing it is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
import toys
from lessons import lesson

from converters import tflite
from converters.audit import audit
from converters.clustering import cluster, k_means
from converters.constants import replace_constants
from converters.fake_quant import ChannelQuantizer, build_twin
from converters.kept import Pattern, kernels, matched, require_kept
from converters.lowering import lower, strip_scaling
from converters.pruning import prune
from converters.qat import fine_tune
from converters.shared_scales import share_scales
from edgecell import tflite_file
from edgecell.checkpoint import Checkpoint
from edgecell.config import ClusterConfig, PruneConfig, QatConfig
from edgecell.errors import ConfigError, ConvertError
from edgecell.packing import deflated_bytes, summary
from edgecell.progress import Silent
from edgecell.runtime import TFLitePredictor

HALF = PruneConfig(epochs=3, batch_size=16, sparsity=0.5, freeze_batchnorm_epochs=1)
EIGHT = ClusterConfig(epochs=2, batch_size=16, clusters=8, freeze_batchnorm_epochs=1)
SHORT = QatConfig(epochs=1, batch_size=16, learning_rate=1e-3)


def pruned_in(folder: Path, settings: PruneConfig = HALF, progress=None):
    checkpoint = Checkpoint(folder)
    return prune(toys.trained(), lesson(), settings, checkpoint, "k", progress or Silent())


def clustered_in(folder: Path, start: keras.Model, settings=EIGHT, *, zeros=False, progress=None):
    return cluster(
        *(toys.trained(), start, lesson(), settings, Checkpoint(folder), "k"),
        progress or Silent(),
        keep_zeros=zeros,
    )


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    return pruned_in(tmp_path_factory.mktemp("pruned"))


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    return clustered_in(tmp_path_factory.mktemp("clustered"), toys.trained())


@pytest.fixture(scope="module")
def both(tmp_path_factory, pruned):
    return clustered_in(tmp_path_factory.mktemp("both"), pruned.model, zeros=True)


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return toys.images(32, seed=1)[0]


def file_of(model: keras.Model, precision: str, sample: np.ndarray) -> bytes:
    return tflite.convert(model, precision, calibration=sample)


def source_of(model: keras.Model) -> bytes:
    return lower(strip_scaling(model)[0])


def zeros(model: keras.Model) -> dict[str, float]:
    return {name: float((kernel == 0).mean()) for name, kernel in kernels(model).items()}


def values(model: keras.Model) -> list[int]:
    return [len(np.unique(kernel)) for kernel in kernels(model).values()]


# ---------------------------------------------------------------------------------------- training


def test_pruning_reaches_its_sparsity_and_answers_as_before(pruned):
    assert zeros(toys.trained()) == {"conv2d": 0.0, "probabilities": 0.0}
    assert zeros(pruned.model) == {"conv2d": 0.5, "probabilities": 0.5}
    assert pruned.facts["sparsity"] == 0.5 and pruned.facts["val_agreement"] > 0.9
    depthwise = pruned.model.get_layer("depthwise_conv2d").depthwise_kernel.numpy()
    assert np.count_nonzero(depthwise) == depthwise.size
    assert [la.name for la in pruned.model.layers] == [la.name for la in toys.trained().layers]
    rising = [entry["sparsity"] for entry in pruned.progression.history]
    assert rising[0] == 0.0 and rising == sorted(rising) and 0 < rising[1] < 0.5
    json.dumps([pruned.facts, pruned.progression.history], allow_nan=False)


def test_an_epoch_of_less_sparsity_is_never_the_best(pruned, tmp_path):
    # Epoch 0 and 1 answer as the reference does, being hardly pruned; they must not be kept.
    history = pruned.progression.history
    assert history[0]["val_agreement"] == 1.0
    assert pruned.progression.best_epoch >= 2
    # All epochs frozen: TFMOT's wrappers do not count those steps, the student does.
    frozen = pruned_in(tmp_path, replace(HALF, freeze_batchnorm_epochs=3))
    assert zeros(frozen.model) == {"conv2d": 0.5, "probabilities": 0.5}


def test_clustering_leaves_as_many_values_as_asked_for(clustered):
    assert values(toys.trained()) == [216, 32]
    assert max(values(clustered.model)) <= 8
    assert clustered.facts["val_agreement"] > 0.9
    # It trains: the values are not those it began with.
    kernel = kernels(toys.trained())["conv2d"]
    begun = k_means(kernel, np.quantile(kernel, np.linspace(0, 1, 8)).astype(np.float32))
    assert not np.isin(np.unique(kernels(clustered.model)["conv2d"]), begun).any()


def test_clustering_a_pruned_model_keeps_its_zeros(pruned, both):
    for name, kernel in kernels(both.model).items():
        assert (kernel[kernels(pruned.model)[name] == 0] == 0).all()
    assert max(values(both.model)) <= 8


def test_a_kernel_of_few_weights_keeps_its_zeros_too(pruned, tmp_path):
    """16 of the last layer's 32 weights are not zero: with the zero 17 values, as many as are asked for."""
    assert zeros(pruned.model)["probabilities"] == 0.5
    found = clustered_in(tmp_path, pruned.model, replace(EIGHT, clusters=17), zeros=True)
    for name, kernel in kernels(found.model).items():
        assert (kernel[kernels(pruned.model)[name] == 0] == 0).all()
        assert len(np.unique(kernel)) <= 17
    last = [kernels(model)["probabilities"] for model in (pruned.model, found.model)]
    assert not np.array_equal(*last)  # it is trained


def test_a_kernel_of_few_weights_is_left_alone(tmp_path):
    found = clustered_in(tmp_path, toys.trained(), replace(EIGHT, clusters=40, epochs=1))
    assert values(found.model)[1] == 32 and values(found.model)[0] <= 40


def test_k_means_is_lloyd_s():
    random = np.random.default_rng(0)
    weights = np.concatenate([random.normal(m, 0.01, 50) for m in (-1, 0.2, 3)])
    weights = random.permutation(weights).astype(np.float32).reshape(10, 15)
    found = k_means(weights, np.array([3.0, -0.5, 0.0], np.float32))
    # In the order of the start: TFMOT knows its values by their place.
    np.testing.assert_allclose(found, [3, -1, 0.2], atol=0.01)
    assert found[1] == pytest.approx(weights[weights < -0.5].mean(), rel=1e-5)
    kept = k_means(weights, np.array([3.0, -0.5, 0.01], np.float32), keep_zero=True)
    assert kept[2] == 0.0
    # A value nothing is nearest to stays where it is.
    assert 50.0 in k_means(weights, np.array([3.0, -0.5, 50.0], np.float32))


def test_models_that_cannot_be_slimmed_are_refused(tmp_path):
    inputs = keras.Input((toys.SIZE, toys.SIZE, 3))
    inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
    nested = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(inner(inputs)))
    with pytest.raises(ConvertError, match="is a model inside the model"):
        prune(nested, lesson(), HALF, Checkpoint(tmp_path), "k", Silent())
    x = keras.layers.DepthwiseConv2D(3)(inputs)
    bare = keras.Model(
        inputs, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(x)), name="bare"
    )
    with pytest.raises(ConvertError, match="bare has no convolution or dense layer"):
        cluster(bare, bare, lesson(), EIGHT, Checkpoint(tmp_path), "k", Silent())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PruneConfig(sparsity=1.0), "prune.sparsity is 1.0; allowed: 0.0 to 0.99"),
        (lambda: ClusterConfig(clusters=2), "cluster.clusters is 2; allowed: 3 to 256"),
    ],
)
def test_settings_that_are_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


# ------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int16x8"])
def test_sparsity_is_in_the_file(pruned, sample, precision):
    data = file_of(pruned.model, precision, sample)
    require_kept(data, pruned.model, precision)
    assert audit(data, precision).passed
    found = summary(tflite_file.parse(data))
    assert found["kernels"]["least_sparsity"] >= 0.5
    assert deflated_bytes(data) < deflated_bytes(toys.converted(precision))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_that_lost_its_zeros_is_refused(pruned, sample, precision):
    data = file_of(pruned.model, precision, sample)
    layer, each = matched(data, pruned.model)[0]
    weights = tflite_file.parse(data).constant(each.weights).copy()
    at = tuple(np.argwhere(weights == 0)[0])
    weights[at] = 1
    spoiled = replace_constants(data, {each.weights: weights})
    with pytest.raises(ConvertError, match=f"x: 1 of 108 zeros of layer '{layer}' are not zero"):
        require_kept(spoiled, pruned.model, "x")
    # The file of the model that was never pruned, taken for that of the pruned one.
    with pytest.raises(ConvertError, match="zeros of layer 'conv2d' are not zero in the file"):
        require_kept(toys.converted(precision), pruned.model, "x")


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_shared_scales_keep_the_values_and_the_answers(clustered, sample, precision):
    plain = file_of(clustered.model, precision, sample)
    with pytest.raises(ConvertError, match="has 8 values in the model and"):
        require_kept(plain, clustered.model, "x")
    shared = share_scales(plain, source_of(clustered.model), clustered.model)
    require_kept(shared, clustered.model, "x")
    assert audit(shared, precision).passed
    layers = summary(tflite_file.parse(shared))["layers"]
    assert all(
        layer["values"] <= 16 for layer in layers if layer["operator"] != "DEPTHWISE_CONV_2D"
    )
    assert deflated_bytes(shared) < deflated_bytes(plain)
    x, _ = toys.images(100, seed=5)
    before, after = (TFLitePredictor(data).predict(x) for data in (plain, shared))
    exact = clustered.model.predict_on_batch(x.astype(np.float32))
    # Weights are off by 1/254 of the kernel's largest at most, as in the plain file by 1/254 of the
    # channel's: the two files are as far from the float model as one another, within a quantum.
    assert np.abs(after - exact).mean() < np.abs(before - exact).mean() + 1 / 256
    assert (after.argmax(1) == exact.argmax(1)).mean() > 0.97


def test_shared_scales_are_the_formula(clustered, sample):
    data = share_scales(
        file_of(clustered.model, "int8", sample), source_of(clustered.model), clustered.model
    )
    file = tflite_file.parse(data)
    exact = tflite_file.parse(source_of(clustered.model))
    where = dict(matched(source_of(clustered.model), clustered.model))
    for layer, each in matched(data, clustered.model):
        scales = np.array(file.tensors[each.weights].scales)
        stored = file.constant(each.weights)
        wanted = exact.constant(where[layer].weights)
        rebuilt = stored * scales.reshape(-1, *[1] * (stored.ndim - 1))
        # Half a step of rounding, and nothing else.
        assert (np.abs(rebuilt - wanted).reshape(len(scales), -1).max(1) <= 0.5001 * scales).all()
        bias = file.tensors[each.bias]
        entry = file.tensors[each.entry].scales[0]
        np.testing.assert_allclose(bias.scales, entry * scales, rtol=1e-6)
        real = exact.constant(where[layer].bias)
        steps = np.array(bias.scales)
        assert (np.abs(file.constant(each.bias) * steps - real) <= 0.5001 * steps).all()


def test_a_channel_of_a_negative_factor_is_mirrored(clustered, sample):
    model = keras.models.clone_model(clustered.model)
    model.set_weights(clustered.model.get_weights())
    gamma = next(la for la in model.layers if "batch_norm" in la.name).gamma
    gamma.assign(gamma * np.where(np.arange(8) == 3, -1.0, 1.0))
    gamma.assign(gamma * np.where(np.arange(8) == 5, 0.0, 1.0))  # and a channel that is dead
    data = share_scales(file_of(model, "int8", sample), source_of(model), model)
    require_kept(data, model, "x")
    assert audit(data, "int8").passed
    x, _ = toys.images(64, seed=6)
    off = TFLitePredictor(data).predict(x) - model.predict_on_batch(x.astype(np.float32))
    assert np.abs(off).mean() < 3 / 256


def test_scales_of_another_model_are_refused(clustered, sample):
    with pytest.raises(ConvertError, match="in the file are not the model's"):
        share_scales(toys.converted("int8"), source_of(toys.trained()), clustered.model)


# --------------------------------------------------------------------------------------------- QAT


def test_training_with_rounding_keeps_zeros_and_values(pruned, both, tmp_path):
    runs = ((pruned.model, False, "p"), (both.model, True, "pc"))
    for slim, is_clustered, name in runs:
        tuned = fine_tune(
            *(toys.trained(), lesson(), SHORT, Checkpoint(tmp_path / name), "k", Silent()),
            slim=slim,
            clustered=is_clustered,
        )
        for layer, kernel in kernels(tuned.model).items():
            before = kernels(slim)[layer]
            assert not np.array_equal(kernel, before), "it must have trained"
            assert (kernel[before == 0] == 0).all()
            if is_clustered:
                assert len(np.unique(kernel)) <= 8
        data = tuned.int8()
        require_kept(data, tuned.model, name)
        assert audit(data, "int8").passed
        x, y = toys.images(40, seed=2)
        right = (TFLitePredictor(data).predict(x).argmax(1) == y).mean()
        assert tuned.facts["val_accuracy"] == pytest.approx(right)


def test_without_keeping_the_zeros_are_lost(pruned, tmp_path):
    """The partner: the same training from the same weights, nothing kept."""
    # At a rate that moves weights by more than an int8 step: a smaller one is rounded back to zero.
    far = replace(SHORT, learning_rate=1e-2)
    tuned = fine_tune(*(pruned.model, lesson(), far, Checkpoint(tmp_path), "k", Silent()))
    assert max(zeros(tuned.model).values()) < 0.1
    with pytest.raises(ConvertError, match="zeros of layer"):
        require_kept(tuned.int8(), pruned.model, "x")


def test_the_twin_of_a_clustered_model_rounds_as_its_file_does(clustered, sample):
    twin = build_twin(clustered.model, sample, shared=True)
    data = share_scales(
        file_of(clustered.model, "int8", sample), source_of(clustered.model), clustered.model
    )
    x, _ = toys.images(200, seed=5)
    file = TFLitePredictor(data).predict(x)
    rounded = twin.model.predict_on_batch(twin.scaling.apply(x))
    assert (file.argmax(1) == rounded.argmax(1)).mean() >= 0.99
    assert np.abs(file - rounded).mean() < 1 / 256
    kernel = np.array([[0.5, 100.0], [-0.25, 50.0]], np.float32)
    found = ChannelQuantizer(depthwise=False, shared=True)(tf.constant(kernel), False, {}).numpy()
    np.testing.assert_allclose(found, np.round(kernel / (100 / 127)) * (100 / 127), rtol=1e-5)


def test_a_pattern_is_restored_by_means():
    kernel = np.array([[1.0, 1.0, 2.0], [0.0, 2.0, 0.0]], np.float32)
    variable = tf.Variable(kernel + np.array([[0.2, 0.4, -1], [5, 3, -5]], np.float32))
    Pattern.of(kernel, clustered=True).restore(variable)
    np.testing.assert_allclose(variable.numpy(), [[1.3, 1.3, 3.0], [0, 3.0, 0]], rtol=1e-6)
    variable.assign(kernel + 1)
    Pattern.of(kernel, clustered=False).restore(variable)
    np.testing.assert_allclose(variable.numpy(), [[2, 2, 3], [0, 3, 0]], rtol=1e-6)


# ------------------------------------------------------------------------------------------ resume


class Interrupts(Silent):
    """Stops in the second epoch's first step."""

    def __init__(self) -> None:
        self.epochs = 0

    def begin(self, label: str, total: int) -> None:
        self.epochs += " epoch " in label

    def advance(self, done: int, note: str = "") -> None:
        if self.epochs == 2 and not note:
            raise KeyboardInterrupt


# Runs in a process of its own: TensorFlow's determinism cannot be switched off again.
RESUMES = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import numpy as np
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
import test_slim as t
folder = Path({folder!r})
for name, train in (
    ("p", lambda where, p: t.pruned_in(where, progress=p)),
    ("c", lambda where, p: t.clustered_in(where, t.toys.trained(), progress=p)),
):
    t.keras.utils.set_random_seed(0)
    whole = train(folder / (name + "a"), t.Silent())
    try:
        train(folder / (name + "b"), t.Interrupts())
    except KeyboardInterrupt:
        pass
    assert sorted(q.name for q in (folder / (name + "b")).iterdir())[-1] == "state.json"
    resumed = train(folder / (name + "b"), t.Silent())
    for one, two in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    drop = lambda h: [{{k: v for k, v in e.items() if k != "seconds"}} for e in h]
    assert drop(whole.progression.history) == drop(resumed.progression.history)
print("same")
"""


@pytest.mark.slow
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path):
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parents[1]), str(here.parents[2])]
    code = RESUMES.format(paths=paths, folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.stdout.strip().endswith("same"), done.stderr[-2000:]
