"""Quantization-aware training on the toy: the twin rounds as its file does, and training respects it."""

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

from converters.audit import audit
from converters.fake_quant import RANGE_DECAY, ChannelQuantizer, build_twin, match_layers
from converters.fine_tuning import make_step, mixed
from converters.lowering import calibrate, quantize_int8
from converters.qat import Rounded, fine_tune
from converters.scoring import CLASSES
from converters.tflite import convert
from converters.verify import VerifyBudget, require, verify
from edgecell.checkpoint import Checkpoint
from edgecell.config import QatConfig
from edgecell.distillation import mixed_loss
from edgecell.errors import ArtifactError, ConfigError, ConvertError, ParityError
from edgecell.progress import Silent
from edgecell.runtime import KerasPredictor, TFLitePredictor

QUICK = QatConfig(epochs=2, batch_size=16, learning_rate=1e-3)


def tune(folder: Path, settings: QatConfig = QUICK, key: str = "k", progress=None):
    return fine_tune(
        toys.trained(), lesson(), settings, Checkpoint(folder), key, progress or Silent()
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return tune(tmp_path_factory.mktemp("qat"))


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return toys.images(32, seed=1)[0]


# ------------------------------------------------------------------------------------------- twin


def test_before_training_the_twin_is_the_plainly_calibrated_file(sample):
    twin = build_twin(toys.trained(), sample)
    assert quantize_int8(twin.calibrated()) == convert(toys.trained(), "int8", calibration=sample)


def test_ranges_come_from_the_calibration_images(sample):
    measured, _ = calibrate(toys.trained(), sample)
    twin = build_twin(toys.trained(), sample)
    # Both ReLUs, the pooling and what goes into the softmax: all that the file rounds in between.
    tensors, unmatched = match_layers(toys.trained(), measured)
    relus = [la.name for la in toys.trained().layers if isinstance(la, keras.layers.ReLU)]
    assert sorted(twin.ranges()) == sorted(["pool", "probabilities", *relus])
    assert unmatched == []
    for layer, (low, high) in twin.ranges().items():
        assert (low, high) == measured.ranges[tensors[layer]]
    darker = build_twin(toys.trained(), sample // 2).ranges()
    assert all(darker[layer] != twin.ranges()[layer] for layer in twin.ranges())


def test_changed_ranges_reach_the_file(sample):
    twin = build_twin(toys.trained(), sample)
    wide = {layer: (2 * low, 2 * high) for layer, (low, high) in twin.ranges().items()}
    twin.set_ranges(wide)
    changed = twin.calibrated()
    name = match_layers(toys.trained(), changed)[0]["pool"]
    assert changed.ranges[name] == pytest.approx(wide["pool"])
    with pytest.raises(ConvertError, match="differ in pool"):
        twin.set_ranges({k: v for k, v in wide.items() if k != "pool"})


def test_twin_and_file_round_alike(sample):
    twin = build_twin(toys.trained(), sample)
    x, _ = toys.images(200, seed=5)
    file = TFLitePredictor(quantize_int8(twin.calibrated())).predict(x)
    rounded = twin.model.predict_on_batch(twin.scaling.apply(x))
    plain = toys.trained().predict_on_batch(x.astype(np.float32))
    assert (file.argmax(1) == rounded.argmax(1)).mean() >= 0.99
    # The file's probabilities come in steps of 1/256, half a step off at most; the rest of the mean
    # is the kernels' integer rounding. The float model is further away than the twin.
    assert np.abs(file - rounded).mean() < 1 / 256
    assert np.abs(file - rounded).mean() < np.abs(file - plain).mean()


def test_depthwise_weights_have_a_scale_for_each_channel():
    random = np.random.default_rng(0)
    kernel = (
        random.normal(size=(3, 3, 4, 1)).astype(np.float32) * np.array([1, 10, 0.1, 5])[:, None]
    )
    kernel = kernel.astype(np.float32)
    rounded = ChannelQuantizer(depthwise=True)(tf.constant(kernel), False, {}).numpy()
    step = np.abs(kernel).max(axis=(0, 1, 3), keepdims=True) / 127
    np.testing.assert_allclose(rounded, np.round(kernel / step) * step, atol=1e-6)
    # One scale for all, as TFMOT's own scheme has it, would lose the small channel altogether.
    assert np.abs(rounded - kernel)[:, :, 2].max() <= step[0, 0, 2, 0] / 2 + 1e-6


def test_ranges_move_only_where_training_moves_them(sample):
    twin = build_twin(toys.trained(), sample)
    before = twin.ranges()
    bright = twin.scaling.apply(np.full((4, toys.SIZE, toys.SIZE, 3), 255, np.uint8))
    twin.model(bright, training=False)
    assert twin.ranges() == before
    twin.model(bright, training=True)
    moved = twin.ranges()
    assert moved != before
    low, high = before["pool"]
    assert moved["pool"][1] >= RANGE_DECAY * high - 1e-6


def test_the_reference_is_left_alone(sample):
    before = [w.copy() for w in toys.trained().get_weights()]
    twin = build_twin(toys.trained(), sample)
    for variable in twin.model.trainable_variables:
        variable.assign(variable + 1.0)
    for old, new in zip(before, toys.trained().get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_nested_model_is_refused(sample):
    inputs = keras.Input((toys.SIZE, toys.SIZE, 3))
    inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
    out = keras.layers.Dense(4, activation="softmax")(inner(inputs))
    with pytest.raises(ConvertError, match="is a model inside the model"):
        build_twin(keras.Model(inputs, out), sample)


def test_other_layers_are_rounded_where_the_file_rounds_them(sample):
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input((toys.SIZE, toys.SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1.0)(x)
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.MaxPooling2D(name="max_pool")(x)
    x = keras.layers.Conv2D(6, 3, padding="same", name="conv2")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation("swish", name="swish")(x)
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Dense(8, activation="relu", name="hidden")(x)
    x = keras.layers.Dense(4, activation="softmax", name="out")(x)
    model = keras.Model(inputs, x)
    twin = build_twin(model, sample)
    assert {"conv", "swish", "hidden", "out"} <= set(twin.ranges())
    data = quantize_int8(twin.calibrated())
    assert audit(data, "int8").passed
    images, _ = toys.images(64, seed=6)
    off = TFLitePredictor(data).predict(images) - twin.model.predict_on_batch(
        twin.scaling.apply(images)
    )
    assert np.abs(off).mean() < 2 / 256


# ------------------------------------------------------------------------------------ distillation


def test_the_loss_is_the_formula():
    random = np.random.default_rng(0)
    z, t = random.normal(size=(2, 5, 3))
    softmax = lambda v: np.exp(v) / np.exp(v).sum(axis=1, keepdims=True)  # noqa: E731
    targets = np.eye(3)[[0, 1, 2, 0, 1]] * 0.9 + 0.1 / 3
    weights = np.array([1.0, 2.0, 0.5, 1.0, 3.0])
    d, temperature = 0.7, 2.5
    hard = weights * -(targets * np.log(softmax(z))).sum(axis=1)
    p, q = softmax(t / temperature), softmax(z / temperature)
    wanted = ((1 - d) * hard + d * temperature**2 * (p * np.log(p / q)).sum(axis=1)).mean()
    arguments = [a.astype(np.float32) for a in (softmax(z), softmax(t), targets, weights)]
    found = mixed_loss(*arguments, distillation=d, temperature=temperature)
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    perfect = mixed_loss(
        arguments[1], arguments[1], *arguments[2:], distillation=1.0, temperature=temperature
    )
    assert float(perfect) == pytest.approx(0.0, abs=1e-6)


def test_at_temperature_1_it_is_cross_entropy_on_mixed_targets():
    random = np.random.default_rng(1)
    logits = tf.Variable(random.normal(size=(6, 4)).astype(np.float32))
    teacher = tf.nn.softmax(random.normal(size=(6, 4)).astype(np.float32))
    targets, ones = tf.one_hot([0, 1, 2, 3, 0, 1], 4), tf.ones(6)
    with tf.GradientTape(persistent=True) as tape:
        student = tf.nn.softmax(logits)
        ours = mixed_loss(student, teacher, targets, ones, distillation=0.4, temperature=1.0)
        mixed = 0.6 * targets + 0.4 * teacher
        plain = tf.reduce_mean(-tf.reduce_sum(mixed * tf.math.log(student), axis=1))
    np.testing.assert_allclose(tape.gradient(ours, logits), tape.gradient(plain, logits), atol=1e-6)


# ---------------------------------------------------------------------------------------- training


def test_the_file_passes_audit_and_verify(tuned):
    x, y = toys.images(100, seed=2)
    for input_type, zero in (("uint8", 128), ("int8", 0), ("float32", 0)):
        data = quantize_int8(tuned.calibrated, input_type)
        report = audit(data, "int8", input_type)
        assert report.violations == ()
        if input_type != "float32":
            assert (report.input.scale, report.input.zero_point) == (1 / 128, zero)
            # A uint8 port is one QUANTIZE at either end; there is none in between.
            assert report.hygiene["quantize"] == (2 if input_type == "uint8" else 0)
            assert report.hygiene["dequantize"] == 0
    data = quantize_int8(tuned.calibrated)
    reference = KerasPredictor(toys.trained(), "toy.keras")
    require(
        verify(
            reference,
            TFLitePredictor(data),
            x,
            y,
            toys.CLASSES,
            VerifyBudget(),
            audit(data, "int8"),
        )
    )


def test_the_figures_are_those_of_the_file(tuned):
    x, y = toys.images(40, seed=2)
    found = TFLitePredictor(quantize_int8(tuned.calibrated)).predict(x).argmax(1)
    expected = toys.trained().predict_on_batch(x.astype(np.float32)).argmax(1)
    assert tuned.facts["val_accuracy"] == pytest.approx((found == y).mean())
    assert tuned.facts["val_agreement"] == pytest.approx((found == expected).mean())
    assert [entry["epoch"] for entry in tuned.progression.history] == [0, 1, 2]
    json.dumps([tuned.facts, tuned.progression.history], allow_nan=False)


def test_the_tuned_model_has_the_reference_s_frame(tuned):
    assert [layer.name for layer in tuned.model.layers] == [
        layer.name for layer in toys.trained().layers
    ]
    assert any(
        np.abs(a - b).max() > 1e-5
        for a, b in zip(tuned.model.get_weights(), toys.trained().get_weights(), strict=True)
    )


def statistics(model: keras.Model) -> list[np.ndarray]:
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    return [v.numpy() for la in norms for v in (la.moving_mean, la.moving_variance)]


@pytest.mark.parametrize("frozen_epochs", [2, 0])
def test_frozen_statistics_stay_and_free_ones_move(tmp_path, frozen_epochs):
    done = tune(tmp_path, replace(QUICK, freeze_batchnorm_epochs=frozen_epochs))
    same = [
        np.array_equal(a, b)
        for a, b in zip(statistics(done.model), statistics(toys.trained()), strict=True)
    ]
    assert all(same) if frozen_epochs else not any(same)
    gammas = [
        [la.gamma.numpy() for la in m.layers if isinstance(la, keras.layers.BatchNormalization)]
        for m in (done.model, toys.trained())
    ]
    assert any(not np.array_equal(a, b) for a, b in zip(*gammas, strict=True)), "gamma must learn"


def test_the_step_s_loss_falls(sample):
    twin = build_twin(toys.trained(), sample)
    for variable in twin.model.trainable_variables:
        if "kernel" in variable.name:
            variable.assign(variable * 0.7)
    settings = replace(QUICK, distillation=1.0, temperature=1.0)
    step = make_step(toys.trained(), Rounded(twin), keras.optimizers.Adam(1e-3), settings, 0.0)
    x, y = toys.images(32, seed=1)
    batch = tf.constant(x, tf.float32), tf.one_hot(y, 4), tf.ones(32)
    losses = [float(step(*batch, True)) for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


def test_mixed_images_take_their_labels_along():
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 255, (6, 4, 4, 3)).astype(np.float32)
    targets, weights = np.eye(6, dtype=np.float32), np.arange(1, 7, dtype=np.float32)
    batch = (tf.constant(v) for v in (pixels, targets, weights))
    faded = [v.numpy() for v in mixed(*batch, tf.constant([0, 1]), 0.5)]
    share = 1 - faded[1].diagonal()
    assert (share >= 0).all() and (share <= 0.5).all() and len(set(share)) == 6
    other = np.roll(np.arange(6), 1)
    np.testing.assert_allclose(faded[1][np.arange(6), other], share, atol=1e-6)
    by = share[:, None, None, None]
    np.testing.assert_allclose(faded[0], pixels * (1 - by) + pixels[other] * by, rtol=1e-4)
    np.testing.assert_allclose(faded[2], weights * (1 - share) + weights[other] * share, rtol=1e-5)


def test_score_punishes_loss_and_pays_no_gain():
    score = CLASSES.epoch_score

    def figures(agreement, drop):
        return {"val_agreement": agreement, "val_accuracy_drop": drop}

    assert score(figures(0.99, 0.0)) > score(figures(0.99, 0.001))
    assert score(figures(0.99, -0.01)) == score(figures(0.99, 0.0))
    assert score(figures(0.995, 0.0)) > score(figures(0.99, -0.01))


def test_a_loss_that_is_no_number_is_refused(tmp_path):
    broken = lesson()
    broken.train.sample_weights[:] = np.inf
    with pytest.raises(ConfigError, match="lower --qat-learning-rate"):
        fine_tune(toys.trained(), broken, QUICK, Checkpoint(tmp_path), "k", Silent())


# ------------------------------------------------------------------------------------------ resume


class Interrupts(Silent):
    """Stops in the second epoch's first step."""

    def __init__(self) -> None:
        self.epochs = 0

    def begin(self, label: str, total: int) -> None:
        self.epochs += "qat epoch" in label

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
import test_qat as t
a, b = Path({folder!r}) / "a", Path({folder!r}) / "b"
whole = t.tune(a, t.QUICK)
try:
    t.tune(b, t.QUICK, progress=t.Interrupts())
except KeyboardInterrupt:
    pass
assert sorted(p.name for p in b.iterdir())[-1] == "state.json"
resumed = t.tune(b, t.QUICK)
for one, two in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)
assert t.quantize_int8(whole.calibrated) == t.quantize_int8(resumed.calibrated)
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
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip().endswith("same"), done.stderr[-2000:]


def test_a_state_of_other_settings_is_refused(tmp_path):
    tune(tmp_path, replace(QUICK, epochs=1), key="one")
    with pytest.raises(ArtifactError, match="other settings"):
        tune(tmp_path, QUICK, key="two")


# ---------------------------------------------------------------------------------------- sabotage


def test_wrong_batchnorm_statistics_are_refused(sample):
    """What a training on batch statistics leaves behind when the moving ones never followed."""
    twin = build_twin(toys.trained(), sample)
    for layer in twin.model.layers:
        norm = getattr(layer, "layer", layer)
        if isinstance(norm, keras.layers.BatchNormalization):
            norm.moving_mean.assign(norm.moving_mean + 2 * tf.sqrt(norm.moving_variance))
    data = quantize_int8(twin.calibrated())
    structure = audit(data, "int8")
    assert structure.passed, "the sabotage must leave the structure alone"
    x, y = toys.images(100, seed=2)
    reference = KerasPredictor(toys.trained(), "toy.keras")
    report = verify(reference, TFLitePredictor(data), x, y, toys.CLASSES, VerifyBudget(), structure)
    with pytest.raises(ParityError, match="accuracy drop"):
        require(report)
