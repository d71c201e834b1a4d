from __future__ import annotations

import dataclasses
import math
import typing
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecell.config import (
    ALPHAS,
    CORRUPTIONS,
    MAX_SEED,
    PRECISIONS,
    SIZES,
    AugmentConfig,
    BenchConfig,
    ClusterConfig,
    ConfidenceConfig,
    Config,
    DataConfig,
    ModelConfig,
    PruneConfig,
    QatConfig,
    QuantizeConfig,
    RobustnessConfig,
    TeacherConfig,
    TrainConfig,
    VerifyConfig,
)
from edgecell.config_file import from_toml, load_config, to_toml
from edgecell.errors import ConfigError

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
SEED = st.integers(0, MAX_SEED)
SHARE = st.floats(0.0, 0.9)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
RATE = st.floats(1e-8, 10.0)
CONFIGS = st.builds(
    Config,
    name=NAMES,
    data=st.builds(
        DataConfig,
        source=TEXT,
        size=st.sampled_from(SIZES),
        root=TEXT,
        val_fraction=st.floats(0.01, 0.9),
        test_fraction=st.floats(0.01, 0.9),
        seed=SEED,
        strict_splits=st.booleans(),
        limit=st.integers(0, 10**7),
    ),
    model=st.builds(
        ModelConfig,
        name=TEXT,
        alpha=st.sampled_from(ALPHAS),
        image_size=st.integers(28, 512),
        weights=TEXT,
        dropout=SHARE,
        fit=st.sampled_from(["stretch", "crop"]),
        central_fraction=st.floats(0.1, 1.0),
    ),
    augment=st.builds(AugmentConfig, st.booleans(), st.booleans(), SHARE, SHARE, SHARE, SHARE),
    train=st.builds(
        TrainConfig,
        head_epochs=st.integers(1, 1000),
        optimizer=st.sampled_from(["adam", "adamw", "sgd"]),
        head_learning_rate=RATE,
        learning_rate=RATE,
        schedule=st.sampled_from(["cosine", "plateau", "constant"]),
        seed=SEED,
        deterministic=st.booleans(),
    ),
    quantize=st.builds(
        QuantizeConfig,
        precisions=st.lists(st.sampled_from(PRECISIONS), min_size=1, unique=True).map(tuple),
        input_type=st.sampled_from(["uint8", "int8", "float32"]),
        calibration_images=st.integers(8, 100_000),
        seed=SEED,
    ),
    verify=st.builds(
        VerifyConfig,
        st.floats(0, 1),
        st.floats(0, 1),
        split=st.sampled_from(["val", "val+test", "test"]),
        require_equivalence=st.booleans(),
    ),
    confidence=st.builds(ConfidenceConfig, st.floats(0.5, 0.9999), seed=SEED),
    robustness=st.builds(
        RobustnessConfig,
        st.lists(st.sampled_from(CORRUPTIONS), min_size=1, unique=True).map(tuple),
        images=st.integers(0, 10_000_000),
    ),
    bench=st.builds(BenchConfig, st.integers(10, 10**6), st.floats(0, 3600)),
    expected=st.dictionaries(NAMES, st.floats(allow_nan=False) | st.integers(-9, 9) | TEXT),
)


@settings(max_examples=100)
@given(CONFIGS)
def test_a_config_survives_toml(config):
    assert from_toml(to_toml(config), "config.toml") == config


def test_the_defaults_are_an_empty_file():
    assert from_toml("", "f") == Config()
    assert "expected" not in to_toml(Config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepocs = 3", "f: unknown key 'train.epocs'; did you mean 'train.epochs'?"),
        ("[modell]", "f: unknown key 'modell'; did you mean 'model'?"),
        ("[data]\nxyz = 1", "f: unknown key 'data.xyz'; allowed: source, size, root"),
        ("train = 3", r"f: 'train' must be a table \[train\]"),
        ("train =", "f is not valid TOML"),
        ("expected = 1", "f: 'expected' must be a table"),
        ("name = 3", "f: 'name' is 3; it must be a text"),
        ("[train]\nepochs = 3.5", "'train.epochs' is 3.5; it must be a whole number"),
        ("[train]\nepochs = true", "'train.epochs' is True; it must be a whole number"),
        ("[train]\nepochs = '3'", "'train.epochs' is '3'; it must be a whole number"),
        ("[train]\nlearning_rate = 'fast'", "'train.learning_rate' is 'fast'; it must be a number"),
        ("[train]\nlearning_rate = true", "it must be a number"),
        ("[train]\nclass_weights = 1", "it must be true or false"),
        ("[train]\noptimizer = 'adma'", "is 'adma'; allowed: adam, adamw, sgd"),
        ("[model]\ncentral_fraction = 1.5", "central_fraction is 1.5; allowed"),
        ("[model]\nfit = 3", "is 3; allowed: stretch, crop"),
        ("[quantize]\nprecisions = 'int8'", "must be a list of str"),
        ("[quantize]\nprecisions = [8]", "must be a list of str"),
        ("[quantize]\nprecisions = ['int9']", "is int9; allowed: .*did you mean int8?"),
        ("[quantize]\nprecisions = ['int8', 'int8']", "names int8 twice"),
        ("[quantize]\nprecisions = []", "no precision asked for; allowed: float32"),
        ("[model]\nalpha = 0.4", "model.alpha is 0.4; allowed: 0.35, 0.5"),
        ("[data]\nsize = 32", "data.size is 32; allowed: 28, 64, 128, 224"),
        ("[train]\nepochs = 0\nhead_epochs = 0", "both 0; at least 1 epoch"),
        ("name = 'a/b'", "cannot be a folder name"),
        ("name = '..'", "cannot be a folder name"),
        ("name = ''", "cannot be a folder name"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        from_toml(text, "f")
    assert "\n" not in str(caught.value)


def test_a_whole_number_may_stand_for_a_number():
    rate = from_toml("[train]\nlearning_rate = 1", "f").train.learning_rate
    assert (rate, type(rate)) == (1.0, float)


RANGES = [
    (DataConfig, "val_fraction", 0.01, 0.9),
    (DataConfig, "test_fraction", 0.01, 0.9),
    (DataConfig, "limit", 0, 10**7),
    (DataConfig, "seed", 0, MAX_SEED),
    (ModelConfig, "image_size", 28, 512),
    (ModelConfig, "dropout", 0, 0.9),
    (ModelConfig, "central_fraction", 0.1, 1.0),
    (AugmentConfig, "brightness", 0, 0.9),
    (AugmentConfig, "contrast", 0, 0.9),
    (AugmentConfig, "saturation", 0, 0.9),
    (AugmentConfig, "shift", 0, 0.9),
    (AugmentConfig, "zoom", 0, 0.9),
    (AugmentConfig, "rotation", 0, 180),
    (TrainConfig, "head_epochs", 0, 1000),
    (TrainConfig, "epochs", 0, 10_000),
    (TrainConfig, "batch_size", 0, 8192),
    (TrainConfig, "head_learning_rate", 1e-8, 10),
    (TrainConfig, "learning_rate", 1e-8, 10),
    (TrainConfig, "weight_decay", 0, 1),
    (TrainConfig, "momentum", 0, 0.9999),
    (TrainConfig, "fine_tune_layers", 0, 10_000),
    (TrainConfig, "label_smoothing", 0, 0.5),
    (TrainConfig, "patience", 0, 10_000),
    (TrainConfig, "batchnorm_momentum", 0, 0.999),
    (TrainConfig, "mixup", 0, 10),
    (TrainConfig, "cutmix", 0, 10),
    (TrainConfig, "ema", 0, 0.99999),
    (TrainConfig, "warmup_epochs", 0, 1000),
    (TrainConfig, "focal_gamma", 0, 10),
    (TrainConfig, "first_layer_rate", 0.001, 1),
    (TrainConfig, "stop_at", 0, 1),
    (TrainConfig, "seed", 0, MAX_SEED),
    (TeacherConfig, "distillation", 0, 1),
    (TeacherConfig, "temperature", 0.1, 100),
    (QuantizeConfig, "calibration_images", 8, 100_000),
    (QuantizeConfig, "seed", 0, MAX_SEED),
    (QatConfig, "epochs", 1, 10_000),
    (QatConfig, "learning_rate", 1e-8, 1),
    (QatConfig, "batch_size", 1, 8192),
    (QatConfig, "distillation", 0, 1),
    (QatConfig, "temperature", 0.1, 100),
    (QatConfig, "mixup", 0.0, 1.0),
    (QatConfig, "freeze_batchnorm_epochs", 0, 10_000),
    (QatConfig, "seed", 0, MAX_SEED),
    (PruneConfig, "epochs", 1, 10_000),
    (PruneConfig, "learning_rate", 1e-8, 1),
    (PruneConfig, "batch_size", 1, 8192),
    (PruneConfig, "distillation", 0, 1),
    (PruneConfig, "temperature", 0.1, 100),
    (PruneConfig, "mixup", 0.0, 1.0),
    (PruneConfig, "freeze_batchnorm_epochs", 0, 10_000),
    (PruneConfig, "seed", 0, MAX_SEED),
    (PruneConfig, "sparsity", 0, 0.99),
    (ClusterConfig, "epochs", 1, 10_000),
    (ClusterConfig, "learning_rate", 1e-8, 1),
    (ClusterConfig, "batch_size", 1, 8192),
    (ClusterConfig, "distillation", 0, 1),
    (ClusterConfig, "temperature", 0.1, 100),
    (ClusterConfig, "mixup", 0.0, 1.0),
    (ClusterConfig, "freeze_batchnorm_epochs", 0, 10_000),
    (ClusterConfig, "seed", 0, MAX_SEED),
    (ClusterConfig, "clusters", 3, 256),  # or 0: off
    (VerifyConfig, "max_accuracy_drop", 0, 1),
    (VerifyConfig, "max_f1_drop", 0, 1),
    (VerifyConfig, "max_auc_drop", 0, 1),
    (VerifyConfig, "max_label_auc_drop", 0, 1),
    (VerifyConfig, "class_margin", 0, 1),
    (VerifyConfig, "margin", 0.0001, 0.5),
    (VerifyConfig, "alpha", 0.001, 0.4),
    (ConfidenceConfig, "target_accuracy", 0.5, 0.9999),
    (ConfidenceConfig, "certainty", 0.5, 0.9999),
    (ConfidenceConfig, "coverage", 0.5, 0.9999),
    (ConfidenceConfig, "sensitivity", 0.5, 0.9999),
    (ConfidenceConfig, "seed", 0, MAX_SEED),
    (RobustnessConfig, "images", 0, 10_000_000),
    (RobustnessConfig, "seed", 0, MAX_SEED),
    (BenchConfig, "runs", 10, 10**6),
    (BenchConfig, "seconds", 0, 3600),
    (BenchConfig, "warmup_runs", 1, 100_000),
    (BenchConfig, "cooldown", 0, 600),
]


@pytest.mark.parametrize(("table", "key", "low", "high"), RANGES)
def test_a_number_keeps_to_its_range(table, key, low, high):
    whole = typing.get_type_hints(table)[key] is int
    for value in (low, high):
        assert getattr(table(**{key: value}), key) == value
    below = low - 1 if whole else math.nextafter(low, -math.inf)
    above = high + 1 if whole else math.nextafter(high, math.inf)
    for value in (below, above, math.nan):
        with pytest.raises(ConfigError, match=rf"\.{key} is .*; allowed: {low}.* to {high}"):
            table(**{key: value})


def test_every_number_has_a_range():
    """A number that no range guards reaches TensorFlow, which answers with a traceback."""
    listed = {(table, key) for table, key, _, _ in RANGES}
    listed |= {(ModelConfig, "alpha"), (DataConfig, "size")}  # one of a list
    for config_field in dataclasses.fields(Config):
        table = typing.get_type_hints(Config)[config_field.name]
        if dataclasses.is_dataclass(table):
            hints = typing.get_type_hints(table)
            numbers = {(table, key) for key, hint in hints.items() if hint in (int, float)}
            assert numbers <= listed


def test_every_other_choice_is_a_literal():
    hints = typing.get_type_hints(TrainConfig)
    for key in ("optimizer", "schedule"):
        assert typing.get_origin(hints[key]) is Literal


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content):
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot read the recipe .*r.toml"):
        load_config(path)
    with pytest.raises(ConfigError, match="cannot read the recipe .*Is a directory"):
        load_config(tmp_path)
