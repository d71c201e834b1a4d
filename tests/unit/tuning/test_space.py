from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from edgecell.config import Config, ModelConfig, TrainConfig
from edgecell.errors import ConfigError
from edgecell.tuning.space import (
    default_space_text,
    describe,
    load_space,
    parse_space,
    values_in,
    with_values,
)

GOOD = """
[space]
"train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}
"train.label_smoothing" = {low = 0, high = 0.3, step = 0.1}
"train.epochs" = {low = 2, high = 10, step = 4}
"train.patience" = {low = 1, high = 64, log = true}
"model.alpha" = [0.35, 0.5]
"train.optimizer" = ["adam", "sgd"]
"augment.flip" = [true, false]
"""


def parsed(line: str):
    return parse_space(f"[space]\n{line}\n", "s.toml")


def test_ranges_and_choices_become_what_they_say():
    space = parse_space(GOOD, "s.toml")
    assert space == {
        "train.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "train.label_smoothing": FloatDistribution(0.0, 0.3, step=0.1),
        "train.epochs": IntDistribution(2, 10, step=4),
        "train.patience": IntDistribution(1, 64, log=True),
        "model.alpha": CategoricalDistribution([0.35, 0.5]),
        "train.optimizer": CategoricalDistribution(["adam", "sgd"]),
        "augment.flip": CategoricalDistribution([True, False]),
    }
    assert describe(space)["train.epochs"] == {"low": 2, "high": 10, "step": 4, "log": False}
    assert describe(space)["augment.flip"] == {"choices": [True, False]}


def test_keys_may_stand_without_quotes():
    quoted = parsed(
        '"train.learning_rate" = {low = 1e-4, high = 1e-2}\n"model.alpha" = [0.35, 0.5]'
    )
    plain = parsed("train.learning_rate = {low = 1e-4, high = 1e-2}\nmodel.alpha = [0.35, 0.5]")
    assert quoted == plain


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"train.learning_rat" = [1, 2]', "unknown setting 'train.learning_rat'; did you mean 'train.learning_rate'?"),
        ('"modle.alpha" = [0.35, 0.5]', "unknown setting 'modle.alpha'; did you mean 'model.alpha'?"),
        ('"xyz" = [1, 2]', "unknown setting 'xyz'; allowed: model.name"),
        ('"data.limit" = [1, 2]', "'data.limit' cannot be searched: its figures would be of different images"),
        ('"train.seed" = [1, 2]', "'train.seed' cannot be searched: the luckiest seed"),
        ('"train.strategy" = ["one", "mirrored"]', "'train.strategy' cannot be searched: it shares the work"),
        ('"verify.margin" = [0.1, 0.2]', "'verify.margin' cannot be searched: training does not depend on it"),
        ('"model.alpha" = [0.35, 0.4]', "model.alpha is 0.4; allowed: 0.35, 0.5"),
        ('"train.optimizer" = ["adam", "adma"]', "'train.optimizer' is 'adma'; allowed: adam, adamw, sgd"),
        ('"train.learning_rate" = {low = 1e-9, high = 1e-2}', "train.learning_rate is 1e-09; allowed: 1e-08 to 10.0"),
        ('"train.learning_rate" = {low = 1e-4, high = 11.0}', "train.learning_rate is 11.0; allowed: 1e-08 to 10.0"),
        ('"train.learning_rate" = {low = 1e-2, high = 1e-4}', "goes from 0.01 to 0.0001; low must be below high"),
        ('"train.learning_rate" = {low = 1e-4}', "'train.learning_rate' lacks high"),
        ('"train.learning_rate" = {lo = 1e-4, high = 1}', "the unknown key 'lo'; did you mean 'low'?"),
        ('"train.learning_rate" = {low = "a", high = 1}', "low = 'a'; it must be a number"),
        ('"train.learning_rate" = {low = 0.1, high = 1, log = 1}', "log = 1; it must be true or false"),
        ('"train.label_smoothing" = {low = 0, high = 0.3, log = true}', "logarithmic from 0; low must be above 0"),
        ('"train.label_smoothing" = {low = 0.1, high = 0.3, log = true, step = 0.1}', "only one of them"),
        ('"train.label_smoothing" = {low = 0, high = 0.3, step = 0.2}', "from 0 to 0.3 in steps of 0.2; high must be"),
        ('"train.label_smoothing" = {low = 0, high = 0.3, step = -0.1}', "in steps of -0.1"),
        ('"train.epochs" = {low = 2.5, high = 4}', "low = 2.5; it must be a whole number"),
        ('"train.epochs" = {low = true, high = 4}', "low = True; it must be a whole number"),
        ('"train.epochs" = {low = 2, high = 9, step = 2}', "from 2 to 9 in steps of 2"),
        ('"train.optimizer" = {low = 1, high = 2}', "'train.optimizer' is no number; give a list of choices"),
        ('"augment.flip" = {low = 0, high = 1}', "'augment.flip' is no number"),
        ('"model.alpha" = [0.35]', "'model.alpha' has 1 choices; a search needs 2"),
        ('"model.alpha" = [0.35, 0.35]', "names a choice twice"),
        ('"model.alpha" = 0.35', "is 0.35; it must be a list of choices or"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_is_allowed(line, message):
    with pytest.raises(ConfigError) as caught:
        parsed(line)
    assert message in str(caught.value)
    assert str(caught.value).startswith("s.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[space", "s.toml is not valid TOML"),
        ("", r"s.toml has no settings to search; add a table \[space\]"),
        ("[space]", "has no settings to search"),
        ("space = 3", "has no settings to search"),
        ("[space]\nmodel.alpha = [0.35, 0.5]\n[train]\nepochs = 3", "unknown key 'train'; a space"),
    ],
)
def test_a_file_that_is_no_space_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_space(text, "s.toml")


def test_a_space_is_read_from_a_file(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(GOOD)
    assert load_space(path) == parse_space(GOOD, "x")
    with pytest.raises(
        ConfigError, match=r"cannot read the search space .*gone\.toml: No such file"
    ):
        load_space(tmp_path / "gone.toml")


def test_the_default_space_holds_the_defaults_and_is_a_start_for_ones_own():
    space = load_space(None)
    assert parse_space(default_space_text(), "x") == space
    defaults = tomllib.loads("")
    assert defaults == {}
    values = values_in(Config(), space)
    assert values is not None and values["train.learning_rate"] == TrainConfig().learning_rate


def test_values_go_into_the_configuration_and_are_checked_together():
    base = Config(name="n", model=ModelConfig(weights="none"))
    made = with_values(
        base, {"train.learning_rate": 0.5, "model.alpha": 0.5, "augment.flip": False}
    )
    assert made == replace(
        base,
        model=replace(base.model, alpha=0.5),
        train=replace(base.train, learning_rate=0.5),
        augment=replace(base.augment, flip=False),
    )
    with pytest.raises(ConfigError, match="without pretrained weights"):
        with_values(base, {"train.fine_tune_layers": 20})


@pytest.mark.parametrize(
    ("line", "held"),
    [
        ("train.learning_rate = {low = 1e-4, high = 1e-2}", True),
        ("train.learning_rate = {low = 1e-4, high = 1e-3}", False),
        ("train.label_smoothing = {low = 0, high = 0.1, step = 0.025}", True),
        ("train.label_smoothing = {low = 0, high = 0.12, step = 0.04}", False),
        ("train.batch_size = [64, 128]", True),
        ("train.batch_size = [32, 64]", False),
        ("train.class_weights = [true, false]", True),
        ("train.epochs = {low = 5, high = 29}", True),
    ],
)  # fmt: skip
def test_whether_the_recipe_s_own_values_lie_in_the_space(line, held):
    found = values_in(Config(), parsed(line))
    assert (found is not None) == held
    if found is not None:
        assert with_values(Config(), found) == Config()
