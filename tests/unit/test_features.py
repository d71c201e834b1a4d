"""Cached features train the head as the frozen network does, and the batch size is picked by rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgecell import autobatch, features
from edgecell import stage as stage_module
from edgecell.autobatch import pick
from edgecell.config import AugmentConfig, Config, ModelConfig, TrainConfig
from edgecell.pipeline.training import with_batch_size
from edgecell.progress import Silent
from edgecell.train import train

PLAIN = AugmentConfig(
    flip=False, quarter_turns=False, brightness=0, contrast=0, saturation=0, shift=0
)


def with_head(cache: bool) -> Config:
    return Config(
        model=ModelConfig(alpha=0.35, image_size=32, weights="given", dropout=0.0),
        augment=PLAIN,
        train=TrainConfig(head_epochs=3, epochs=1, batch_size=24, cache_features=cache),
    )


def told(trained) -> list[tuple[float, float]]:
    return [(e["loss"], e["val_loss"]) for e in trained.progression.history]


def test_the_head_learns_the_same_from_cached_features(
    tiny_dataset,
    tmp_path,
    toy_network,
    monkeypatch,
):
    calls = []
    real = features.compute

    def compute(*args):
        calls.append(args[1])
        return real(*args)

    monkeypatch.setattr(stage_module, "compute_features", compute)
    slow = train(with_head(False), tiny_dataset, tmp_path / "slow", Silent())
    assert calls == []
    fast = train(with_head(True), tiny_dataset, tmp_path / "fast", Silent())
    assert calls == ["pool"]
    # The same float32 sums in other batch sizes: equal to within rounding.
    np.testing.assert_allclose(told(fast), told(slow), rtol=1e-4)
    augmented = replace(with_head(False), augment=replace(PLAIN, brightness=0.5))
    other = train(augmented, tiny_dataset, tmp_path / "other", Silent())
    assert not np.allclose(told(other)[:3], told(slow)[:3], rtol=1e-3), "the comparison has teeth"


def test_one_epoch_of_the_head_is_not_worth_a_cache(
    tiny_dataset,
    tmp_path,
    toy_network,
    monkeypatch,
):
    monkeypatch.setattr(stage_module, "compute_features", None)
    settings = with_head(True)
    train(
        replace(settings, train=replace(settings.train, head_epochs=1)),
        *(tiny_dataset, tmp_path, Silent()),
    )


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({32: 100.0, 64: 200.0, 128: 300.0, 256: 310.0}, 128),
        ({32: 100.0, 64: 99.0}, 32),
        ({32: 100.0, 64: 200.0}, 64),
    ],
)
def test_the_smallest_size_near_the_best_rate_wins(rates, size):
    assert pick(rates) == size


def test_sizes_that_leave_too_few_steps_are_not_tried(monkeypatch):
    monkeypatch.setattr(autobatch, "build_model", None)
    assert autobatch.choose(Config(), 3, 48, Silent()) == 32
    assert autobatch.choose(Config(), 3, 20, Silent()) == 20


def test_rates_are_measured_until_memory_ends(monkeypatch):
    import tensorflow as tf

    seen = []

    def measure(_model, _config, _classes, size):
        seen.append(size)
        if size > 64:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return float(size)

    monkeypatch.setattr(autobatch, "build_model", lambda *_: None)
    monkeypatch.setattr(autobatch, "set_trainable", lambda *_: 0)
    monkeypatch.setattr(autobatch, "images_per_second", measure)
    assert autobatch.choose(Config(), 3, 10_000, Silent()) == 64
    assert seen == [32, 64, 128]


def test_it_is_measured_as_it_will_be_trained(monkeypatch, tiny_dataset):
    """On a GPU in mixed precision, and with its memory not taken as a whole before."""
    import tensorflow as tf
    import tf_keras as keras

    seen = []

    def choose(*_):
        seen.append(keras.mixed_precision.global_policy().name)
        return 8

    monkeypatch.setattr(autobatch, "choose", choose)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["a GPU"])
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: seen.append((gpu, on))
    )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: {})
    settings = replace(Config(), train=replace(Config().train, batch_size=0))
    try:
        chosen = with_batch_size(settings, tiny_dataset, Silent())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert chosen.train.batch_size == 8
    assert seen == [("a GPU", True), "mixed_float16"]


def test_a_real_rate_is_positive_and_leaves_no_learning(monkeypatch):
    import tf_keras as keras

    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(pooled))
    settings = replace(Config(), model=replace(Config().model, image_size=32))
    assert autobatch.images_per_second(model, settings, 4, 8) > 0
