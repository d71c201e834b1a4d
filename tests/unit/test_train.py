"""Training on coloured squares with an untrained backbone: structure and repeatability, no fame."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from edgecell import device
from edgecell import stage as stage_module
from edgecell import train as train_module
from edgecell.batches import prepare
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import AugmentConfig, Config, ModelConfig, TrainConfig
from edgecell.data.types import Split
from edgecell.errors import ArtifactError, DataError, DivergedError
from edgecell.models.registry import build_model
from edgecell.optimizers import make_optimizer
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Silent
from edgecell.stage import Stage
from edgecell.tasks import TASKS
from edgecell.train import stages, state_key, train

SMALL = ModelConfig(alpha=0.35, image_size=32, weights="none", dropout=0.3)
QUICK = TrainConfig(head_epochs=0, epochs=1, batch_size=24)


# Each epoch builds its graph anew: without augmentation that takes a tenth of the time.
PLAIN = AugmentConfig(
    flip=False, quarter_turns=False, brightness=0, contrast=0, saturation=0, shift=0
)


def config(**settings) -> Config:
    return Config(model=SMALL, augment=PLAIN, train=replace(QUICK, **settings))


@pytest.fixture
def scripted(monkeypatch):
    """Replace validation by a script of accuracies."""

    def script(*accuracies: float) -> None:
        left = iter(accuracies)
        monkeypatch.setattr(
            stage_module, "validate", lambda *_: {"loss": 1.0, "accuracy": next(left)}
        )

    return script


class Stops(Silent):
    """A Progress that interrupts at a step of the n-th epoch to begin, and remembers lines."""

    def __init__(self, at_epoch: int = 0, at_step: int = 1) -> None:
        self.at_epoch, self.at_step, self.epochs = at_epoch, at_step, 0
        self.lines: list[str] = []

    def begin(self, label: str, total: int) -> None:
        self.epochs += " epoch " in label

    def advance(self, done: int, note: str = "") -> None:
        if self.epochs == self.at_epoch and done == self.at_step and not note:
            raise KeyboardInterrupt

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.slow
def test_it_learns_and_keeps_its_state_with_the_real_network(tiny_dataset, tmp_path):
    """Two steps of MobileNetV2: the head stage is left out, BatchNorm's momentum is set."""
    done = train(config(head_epochs=1, epochs=1), tiny_dataset, tmp_path, Silent())
    assert [entry["stage"] for entry in done.progression.history] == ["fine-tune"] * 2
    assert done.facts["steps_per_epoch"] == 2
    assert done.facts["device"] in ("CPU", "GPU")
    assert done.facts["preprocess"]["height"] == 32
    norms = [la for la in done.model.layers if isinstance(la, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {0.9}
    assert (tmp_path / "state.json").is_file()
    json.dumps([done.facts, done.progression.history], allow_nan=False)


def test_colours_are_learnt(tiny_dataset, tmp_path, toy_network):
    settings = config(epochs=5, learning_rate=0.05, batchnorm_momentum=0.7)
    done = train(settings, tiny_dataset, tmp_path, Silent())
    assert done.progression.best_accuracy >= 0.9
    assert done.progression.history[0]["loss"] > done.progression.history[-1]["loss"]
    best = done.progression.history[done.progression.best_epoch - 1]
    spec = PreprocessSpec(32, 32)
    val = prepare(tiny_dataset.val, spec, 3, class_weights=False, progress=Silent())
    # The model that comes back is that of the best epoch.
    judged = stage_module.validate(done.model, val, TASKS["multi-class"])
    assert judged["accuracy"] == best["val_accuracy"]
    assert judged["loss"] == pytest.approx(best["val_loss"], rel=1e-4)


def test_training_called_again_does_not_train_again(tiny_dataset, tmp_path, toy_network):
    first = train(config(epochs=2), tiny_dataset, tmp_path, Silent())
    watch = Stops()
    again = train(config(epochs=2), tiny_dataset, tmp_path, watch)
    assert watch.epochs == 0
    assert watch.lines == ["going on after epoch 2"]
    assert again.progression == first.progression
    for one, two in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_hook_sees_every_epoch_after_it_was_saved_and_may_end_the_training(
    tiny_dataset, tmp_path, toy_network
):
    settings, seen = config(epochs=4), []

    def after_epoch(progression: Progression) -> None:
        saved = Checkpoint(tmp_path).load(state_key(settings, tiny_dataset))
        assert saved == progression
        seen.append(progression.epochs_done)
        if progression.epochs_done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(settings, tiny_dataset, tmp_path, Silent(), after_epoch)
    assert seen == [1, 2]


def test_a_state_of_other_settings_or_data_is_refused(tiny_dataset, tmp_path, toy_network):
    train(config(), tiny_dataset, tmp_path, Silent())
    with pytest.raises(ArtifactError, match="other settings"):
        train(config(seed=1), tiny_dataset, tmp_path, Silent())
    other = replace(tiny_dataset, origin=tiny_dataset.origin | {"fingerprint": "1" * 64})
    assert state_key(config(), other) != state_key(config(), tiny_dataset)
    assert state_key(config(), tiny_dataset) == state_key(config(), tiny_dataset)


# Runs in a process of its own: TensorFlow's determinism cannot be switched off again.
REPEATS = """
import sys
sys.path[:0] = [{tests!r}, {unit!r}]
import numpy as np
from dataclasses import replace
from pathlib import Path
from unittest import mock
import conftest, test_train
from edgecell import stage as stage_module
from edgecell import train as train_module
from edgecell.config import AugmentConfig
from edgecell.progress import Silent
from edgecell.stage import Stage

class Patch:
    setattr = staticmethod(setattr)

conftest.toy_network.__wrapped__(Patch)
dataset = conftest.tiny_dataset.__wrapped__()
base = test_train.config(head_epochs=2, epochs=2, deterministic=True)
config = replace(base, augment=AugmentConfig(), model=replace(base.model, weights="given"))

def run(name, progress=None):
    return train_module.train(config, dataset, Path(sys.argv[1]) / name, progress or Silent())

def weights(trained):
    return np.concatenate([w.ravel() for w in trained.model.get_weights()])

def told(trained):
    return [{{k: v for k, v in e.items() if k != "seconds"}} for e in trained.progression.history]

whole = run("whole")
assert [e["stage"] for e in whole.progression.history] == ["head"] * 2 + ["fine-tune"] * 2

def interrupted(name, epoch):
    try:
        run(name, test_train.Stops(at_epoch=epoch, at_step=2))
    except KeyboardInterrupt:
        return name
    raise AssertionError("was not interrupted")

for epoch in (3, 4):  # at the change of stages, within fine-tuning
    rest = run(interrupted(f"cut{{epoch}}", epoch))
    assert told(rest) == told(whole), (epoch, told(rest), told(whole))
    assert np.array_equal(weights(rest), weights(whole)), epoch

# The teeth: without its generator put in place, dropout draws other numbers after a break.
with mock.patch.object(stage_module.device, "reseed_random_layers"):
    assert told(run(interrupted("free", 4))) != told(whole)
"""


def test_a_broken_off_training_goes_on_as_if_nothing_had_happened(tmp_path):
    unit = Path(__file__).parent
    code = REPEATS.format(tests=str(unit.parent), unit=str(unit))
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_it_stops_where_it_was_asked_to(tiny_dataset, tmp_path, toy_network, scripted):
    scripted(0.5, 0.7, 0.9, 0.95)
    done = train(with_head(head_epochs=2, epochs=4, stop_at=0.7), tiny_dataset, tmp_path, Silent())
    assert [e["stage"] for e in done.progression.history] == ["head", "head"]
    watch = Stops()
    again = train(with_head(head_epochs=2, epochs=4, stop_at=0.7), tiny_dataset, tmp_path, watch)
    assert watch.epochs == 0 and again.progression == done.progression


def planned(model: ModelConfig = SMALL, **settings) -> list[Stage]:
    return stages(Config(model=model, train=TrainConfig(**settings)))


def test_stages_follow_the_settings():
    pretrained = replace(SMALL, weights="imagenet")
    head, rest = planned(pretrained, head_epochs=2, epochs=5, fine_tune_layers=7)
    assert (head.name, head.epochs, head.last_layers, head.schedule) == ("head", 2, -1, "constant")
    assert (rest.name, rest.epochs, rest.last_layers, rest.schedule) == (
        "fine-tune",
        5,
        7,
        "cosine",
    )
    assert head.learning_rate == TrainConfig().head_learning_rate
    assert rest.learning_rate == TrainConfig().learning_rate
    # Without pretrained weights a frozen backbone would only waste the head's epochs.
    assert [(s.name, s.epochs) for s in planned(head_epochs=2, epochs=5)] == [("fine-tune", 7)]
    assert [s.name for s in planned(pretrained, head_epochs=0)] == ["fine-tune"]
    assert [s.name for s in planned(pretrained, epochs=0)] == ["head"]


def with_head(fine_tune_layers: int = 0, **settings) -> Config:
    made = config(**settings)
    return replace(
        made,
        model=replace(made.model, weights="given"),
        train=replace(made.train, fine_tune_layers=fine_tune_layers),
    )


def after_each_epoch(monkeypatch) -> list[dict[str, np.ndarray]]:
    """A list that gets the model's weights by name after every epoch."""
    seen: list[dict[str, np.ndarray]] = []
    real = stage_module.Snapshot.of

    def of(model, *rest):
        seen.append({w.name: w.numpy() for w in model.weights})
        return real(model, *rest)

    monkeypatch.setattr(stage_module.Snapshot, "of", of)
    return seen


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}


def test_the_head_stage_leaves_the_backbone_alone(tiny_dataset, tmp_path, toy_network, monkeypatch):
    seen = after_each_epoch(monkeypatch)
    train(with_head(head_epochs=2, epochs=1), tiny_dataset, tmp_path, Silent())
    # "norm" too: a frozen BatchNorm must not follow the batches with its statistics.
    assert moved(seen[0], seen[1]) == {"probabilities"}
    assert moved(seen[1], seen[2]) == {"conv", "norm", "conv2", "probabilities"}


def test_fine_tuning_of_the_last_layers_leaves_the_others(
    tiny_dataset, tmp_path, toy_network, monkeypatch
):
    seen = after_each_epoch(monkeypatch)
    settings = with_head(head_epochs=1, epochs=1, fine_tune_layers=1)
    train(settings, tiny_dataset, tmp_path, Silent())
    assert moved(seen[0], seen[1]) == {"conv2", "probabilities"}


def test_the_cosine_falls_to_a_hundredth_and_the_head_s_rate_stays(
    tiny_dataset, tmp_path, toy_network
):
    settings = with_head(head_epochs=2, epochs=3, head_learning_rate=0.5, learning_rate=0.01)
    history = train(settings, tiny_dataset, tmp_path, Silent()).progression.history
    rates = [entry["learning_rate"] for entry in history]
    # The rate of each epoch's last step, number 1, 3 and 5 of 0…5: the start's
    # 0.01 + 0.99 · (1 + cos(π · step/6)) / 2.
    shares = [0.01 + 0.99 * (1 + math.cos(math.pi * k / 6)) / 2 for k in (1, 3, 5)]
    assert rates == pytest.approx([0.5, 0.5, *(0.01 * s for s in shares)], rel=1e-5)


def test_a_plateau_halves_the_rate_after_three_epochs_without_a_better_one(
    tiny_dataset, tmp_path, toy_network, scripted
):
    scripted(0.5, 0.6, 0.6, 0.5, 0.6, 0.5, 0.7, 0.1)
    settings = config(epochs=8, schedule="plateau", learning_rate=0.01)
    history = train(settings, tiny_dataset, tmp_path, Silent()).progression.history
    # Epochs 3, 4 and 5 bring nothing; 7 is better, so the count starts anew.
    expected = [0.01] * 5 + [0.005] * 3
    assert [entry["learning_rate"] for entry in history] == pytest.approx(expected)


def test_early_stopping_counts_from_the_best_epoch_and_keeps_it(
    tiny_dataset, tmp_path, toy_network, scripted
):
    scripted(0.4, 0.6, 0.5, 0.6)
    watch = Stops()
    settings = config(epochs=9, patience=2)
    done = train(settings, tiny_dataset, tmp_path, watch)
    assert len(done.progression.history) == 4
    assert done.progression.best_epoch == 2
    assert watch.lines == ["no better val accuracy for 2 epochs: stopping early"]
    # Called again, a training that has stopped stays stopped: the script has no more lines.
    again = train(settings, tiny_dataset, tmp_path, Silent())
    assert again.progression == done.progression


def test_patience_ends_the_head_stage_and_fine_tuning_gets_its_full_length(
    tiny_dataset, tmp_path, toy_network, scripted
):
    scripted(0.6, 0.5, 0.4, 0.5, 0.7)
    settings = with_head(head_epochs=4, epochs=3, patience=1)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tiny_dataset, tmp_path, Stops(at_epoch=3))
    found = Checkpoint(tmp_path).load(state_key(settings, tiny_dataset))
    assert found is not None
    assert (found.stage, found.stage_epochs) == (0, 2)
    # Goes on in fine-tuning, which is too poor for its patience after its first epoch.
    history = train(settings, tiny_dataset, tmp_path, Silent()).progression.history
    assert [entry["stage"] for entry in history] == ["head", "head", "fine-tune"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]


def test_a_diverging_training_says_so_and_saves_nothing(tiny_dataset, tmp_path, toy_network):
    settings = config(learning_rate=10.0, optimizer="sgd", momentum=0.99, epochs=30, batch_size=4)
    with pytest.raises(DivergedError, match=r"diverged; lower --learning-rate \(now 10.0\)"):
        train(settings, tiny_dataset, tmp_path, Silent())
    for saved in tmp_path.glob("*.npz"):  # of epochs before it diverged
        with np.load(saved) as arrays:
            assert all(np.isfinite(arrays[name]).all() for name in arrays.files)


def test_a_loss_that_is_nan_on_val_alone_says_so(tiny_dataset, tmp_path, toy_network, monkeypatch):
    monkeypatch.setattr(stage_module, "validate", lambda *_: {"loss": math.nan, "accuracy": 0.3})
    with pytest.raises(DivergedError, match=r"nan on val in epoch 1: the training diverged"):
        train(config(), tiny_dataset, tmp_path, Silent())
    assert not (tmp_path / "state.json").exists()


def test_one_class_is_refused(tiny_dataset, tmp_path):
    labels = np.ones_like(tiny_dataset.train.labels)
    alone = replace(tiny_dataset, train=Split("train", tiny_dataset.train.source, labels))
    with pytest.raises(DataError, match="images of 1 class; a classifier needs at least 2"):
        train(config(), alone, tmp_path, Silent())


def test_a_corrupt_image_of_a_streamed_split_is_a_data_error(
    tiny_dataset, tmp_path, toy_network, monkeypatch
):
    source = tiny_dataset.train.source
    real = type(source).read

    def read(self, index):
        if self is source and index == 5:
            raise DataError("picture 5 is a corrupt image")
        return real(self, index)

    monkeypatch.setattr(type(source), "read", read)

    def streaming(*args, **options):
        return prepare(*args, **options, memory_limit=0)

    monkeypatch.setattr(train_module, "prepare", streaming)
    with pytest.raises(DataError, match="picture 5 is a corrupt image"):
        train(config(), tiny_dataset, tmp_path, Silent())


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimizers_are_what_they_are_called(name, kind):
    made = make_optimizer(TrainConfig(optimizer=name, momentum=0.8, weight_decay=0.1), 0.02)
    assert type(made).__name__ == kind
    assert float(made.learning_rate) == pytest.approx(0.02)
    assert made.weight_decay == (None if name == "adam" else 0.1)
    if name == "sgd":
        assert (made.momentum, made.nesterov) == (0.8, True)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_batchnorm(name):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    before = {v.name.split("/")[-1]: v.numpy() for v in model.trainable_variables}
    made = make_optimizer(TrainConfig(optimizer=name, weight_decay=0.5), 0.1)
    made.build(model.trainable_variables)
    # The gradients are 0, so that only the decay changes anything: by 1 − 0.1 · 0.5.
    made.apply_gradients([(tf.zeros_like(v), v) for v in model.trainable_variables])
    after = {v.name.split("/")[-1]: v.numpy() for v in model.trainable_variables}
    np.testing.assert_allclose(after["kernel:0"], 0.95 * before["kernel:0"], rtol=1e-5)
    for key in ("bias:0", "gamma:0", "beta:0"):
        np.testing.assert_array_equal(after[key], before[key])


def test_dropout_s_generator_is_found_in_the_real_network():
    """The attribute is Keras' private one: should it move, dropout would no longer be repeatable."""
    device.configure(0, deterministic=False)
    model = build_model(SMALL, 3, 0.9)
    images = tf.random.stateless_uniform((2, 32, 32, 3), (0, 0)) * 255
    pool = keras.Model(model.input, model.get_layer("pool").output)(images)
    drop = model.get_layer("dropout")

    def draw(seed: int) -> np.ndarray:
        device.reseed_random_layers(model, seed)
        return drop(tf.ones_like(pool), training=True).numpy()

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_a_gpu_gets_memory_growth_and_mixed_precision(monkeypatch):
    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["a GPU"])
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on))
    )
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda _: {"device_name": "G1"}
    )
    try:
        facts = device.configure(0, deterministic=False)
        assert grown == [("a GPU", True)]
        assert (facts["device"], facts["gpus"]) == ("GPU", ["G1"])
        assert facts["precision_policy"] == "mixed_float16"
        made = build_model(SMALL, 3, 0.9)
        assert made.output.dtype == "float32"
        plain = train_module.in_float32(made, Config(model=SMALL), 3, TASKS["multi-class"])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    for one, two in zip(made.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_gpu_in_use_keeps_its_setting(monkeypatch):
    def refuse(*_):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: {})
    try:
        assert device.configure(0, deterministic=False)["gpus"] == ["GPU"]
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_a_fresh_progression_has_seen_nothing():
    assert Progression().epochs_done == Progression().best_epoch == 0
