from __future__ import annotations

import dataclasses
import typing

import click
import pytest
from click.testing import CliRunner

from edgecell.cli import cli
from edgecell.cli import flags as tables
from edgecell.cli import options as opt
from edgecell.cli.flags import BENCH, QAT, SEARCH, SLIM, Flag
from edgecell.config import PRECISIONS, Config
from edgecell.errors import ConfigError

GROUPS = [
    group
    for group in vars(tables).values()
    if isinstance(group, tuple) and group and all(isinstance(flag, Flag) for flag in group)
]
FLAGS = [flag for group in GROUPS for flag in group]
SWITCHES = [flag for flag in FLAGS if flag.switch]
# A value other than the default, as it is typed, and what it becomes.
VALUES = {
    "quantize.keep_float": ("11", "11"),
    "data.source": ("x.npz", "x.npz"),
    "data.size": ("64", 64),
    "data.root": ("/r", "/r"),
    "data.class_names": ("A,B", "A,B"),
    "data.columns": ("path=A", "path=A"),
    "model.name": ("other", "other"),
    "model.alpha": ("1.4", 1.4),
    "model.image_size": ("128", 128),
    "model.weights": ("w.h5", "w.h5"),
    "model.fit": ("crop", "crop"),
    "model.central_fraction": ("0.875", 0.875),
    "train.optimizer": ("sgd", "sgd"),
    "train.schedule": ("plateau", "plateau"),
    "train.strategy": ("mirrored", "mirrored"),
    "teacher.runs": ("runs/big", ("runs/big",)),
    "quantize.input_type": ("int8", "int8"),
    "verify.split": ("test", "test"),
    "confidence.target_accuracy": ("0.75", 0.75),
    "confidence.certainty": ("0.75", 0.75),
    "confidence.coverage": ("0.75", 0.75),
    "confidence.sensitivity": ("0.75", 0.75),
    "bench.runs": ("300", 300),
    "bench.delegate": ("none", "none"),
}


def value_of(config: Config, field: str):
    table, key = field.split(".")
    return getattr(getattr(config, table), key)


def hint_of(field: str):
    table, key = field.split(".")
    return typing.get_type_hints(typing.get_type_hints(Config)[table])[key]


def configured(*arguments: str, base: Config | None = None, groups=GROUPS) -> Config:
    """The Config that these arguments make of ``base``."""
    made = []

    @click.command()
    @opt.flags(*groups)
    def command(**parameters) -> None:
        made.append(opt.configure(parameters, base or Config()))
        assert not parameters

    result = CliRunner().invoke(command, list(arguments))
    if result.exception is not None:
        raise (
            result.exception
            if not isinstance(result.exception, SystemExit)
            else click.UsageError(result.output)
        )
    return made[0]


def option_of(flag: Flag) -> click.Option:
    @click.command()
    @opt.flags((flag,))
    def command(**_parameters) -> None: ...

    option = command.params[0]
    assert isinstance(option, click.Option)
    return option


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_flag_sets_a_field_and_shows_its_default(flag):
    default = value_of(Config(), flag.field)
    words = {True: "on", False: "off"} if flag.switch else {(): "none", "": "none"}
    shown = words[default] if default in words else str(default)
    option = option_of(flag)
    assert option.help is not None
    assert option.help.endswith(f" [default: {shown}]")
    assert option.default is None or not isinstance(option.default, bool | int | str)
    assert flag.switch == (hint_of(flag.field) is bool)


def test_no_flag_and_no_field_stands_twice():
    names = [part for flag in FLAGS for part in flag.name.split("/")]
    assert len(set(names)) == len(names)
    assert len({flag.field for flag in FLAGS}) == len(FLAGS)


# What --qat has flags for: two more sets of them would make quantize --help longer than one reads.
RECIPE_ONLY = ("distillation", "temperature", "mixup", "freeze_batchnorm_epochs", "seed")


def test_every_field_has_a_flag():
    fields = {
        f"{table.name}.{key.name}"
        for table in dataclasses.fields(Config)
        if dataclasses.is_dataclass(getattr(Config(), table.name))
        for key in dataclasses.fields(getattr(Config(), table.name))
    }
    without = fields - {flag.field for flag in FLAGS}
    # The precisions have a flag each, the others are set in a recipe only.
    assert without == {
        *("quantize.precisions", "robustness.corruptions", "confidence.seed"),
        *("bench.stop", "bench.cooldown"),  # --quick and --full set them
        *(f"{table}.{key}" for table in ("prune", "cluster") for key in RECIPE_ONLY),
    }


def test_without_flags_the_base_is_unchanged():
    base = dataclasses.replace(
        Config(),
        train=dataclasses.replace(Config().train, epochs=3, class_weights=False),
        augment=dataclasses.replace(Config().augment, flip=False),
        data=dataclasses.replace(Config().data, strict_splits=True, seed=5),
    )
    assert configured(base=base) == base


@pytest.mark.parametrize("flag", [f for f in FLAGS if not f.switch], ids=lambda flag: flag.name)
def test_a_value_reaches_its_field_with_its_type_and_changes_nothing_else(flag):
    hint = hint_of(flag.field)
    typed, expected = VALUES.get(flag.field, ("0.125", 0.125) if hint is float else ("11", 11))
    config = configured(flag.name, typed)
    seen = value_of(config, flag.field)
    assert (seen, type(seen)) == (expected, type(expected))
    assert seen != value_of(Config(), flag.field)
    table, key = flag.field.split(".")
    back = dataclasses.replace(getattr(config, table), **{key: value_of(Config(), flag.field)})
    assert dataclasses.replace(config, **{table: back}) == Config()


@pytest.mark.parametrize("flag", SWITCHES, ids=lambda flag: flag.name)
def test_a_switch_switches_both_ways_where_it_can(flag):
    names = flag.name.split("/")
    assert value_of(configured(names[0]), flag.field) is True
    if len(names) == 2:
        assert value_of(configured(names[1]), flag.field) is False
    else:
        assert value_of(Config(), flag.field) is False


@pytest.mark.parametrize("flag", [f for f in FLAGS if f.type in (int, float)], ids=lambda f: f.name)
def test_a_number_that_is_none_is_refused(flag):
    with pytest.raises(click.UsageError, match=f"Invalid value for '{flag.name}'"):
        configured(flag.name, "many")


@pytest.mark.parametrize(
    "flag", [f for f in FLAGS if isinstance(f.type, click.Choice)], ids=lambda f: f.name
)
def test_the_choices_are_the_configuration_s(flag):
    for choice in flag.type.choices:
        assert str(value_of(configured(flag.name, choice), flag.field)) == choice
    with pytest.raises(click.UsageError, match="is not one of"):
        configured(flag.name, "nonsense")


def test_a_value_out_of_range_is_a_config_error():
    with pytest.raises(ConfigError, match=r"train.epochs is -1; allowed: 0 to 10000"):
        configured("--epochs", "-1")
    with pytest.raises(ConfigError, match=r"train.seed is -1; allowed: 0 to"):
        configured("--seed", "-1")


def test_flags_override_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nepochs = 7\nbatch_size = 16\n")
    config = configured("--epochs", "9", base=opt.base_config(str(path)))
    assert (config.train.epochs, config.train.batch_size) == (9, 16)
    assert opt.base_config(None) == Config()


def test_precisions_are_what_was_asked_for_in_their_order():
    seen = []

    @click.command()
    @opt.precision_flags
    def command(**parameters) -> None:
        seen.append(opt.with_precisions(Config(), opt.take_precisions(parameters)))
        assert not parameters

    for arguments in ([], ["--int8"], ["--int8", "--float32"], [f"--{p}" for p in PRECISIONS]):
        assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert [config.quantize.precisions for config in seen] == [
        Config().quantize.precisions,
        ("int8",),
        ("float32", "int8"),
        PRECISIONS,
    ]


def conversion(*arguments: str, base: Config) -> Config:
    """The Config that these arguments of ``quantize`` make of ``base``."""
    made = []

    @click.command()
    @opt.precision_flags
    @opt.flags(SEARCH, QAT, SLIM)
    def command(**parameters) -> None:
        precisions = opt.take_precisions(parameters)
        made.append(opt.configure_conversion(parameters, base, precisions))
        assert not parameters

    CliRunner().invoke(command, arguments, catch_exceptions=False)
    return made[0]


FULL = dataclasses.replace(
    Config(),
    quantize=dataclasses.replace(Config().quantize, search=True, keep_float="2"),
    qat=dataclasses.replace(Config().qat, enabled=True),
)


@pytest.mark.parametrize(
    ("flags", "search", "split", "keep_float", "trained"),
    [
        ("", True, True, "2", True),
        ("--int8 --float16", True, True, "2", True),
        ("--float16", False, True, "none", False),
        ("--int16x8 --keep-float auto", False, True, "auto", False),
        ("--float16 --search", True, True, "none", False),
        ("--no-search", False, True, "2", True),
        ("--no-split-channels", True, False, "2", True),
        ("--no-search --no-split-channels", False, False, "2", True),
        ("--int8 --no-search --no-qat", False, True, "2", False),
        ("--int8 --prune 0.5", False, True, "none", True),
        ("--cluster 16 --search", True, True, "none", True),
        ("--prune 0 --int8", True, True, "2", True),
    ],
)
def test_what_a_recipe_asks_for_yields_to_the_command_line(
    flags, search, split, keep_float, trained
):
    config = conversion(*flags.split(), base=FULL)
    quantize = config.quantize
    seen = (quantize.search, quantize.split_channels, quantize.keep_float, config.qat.enabled)
    assert seen == (search, split, keep_float, trained)


def test_layers_in_float_beside_a_recipe_s_own_float_files_stay():
    quantize = dataclasses.replace(Config().quantize, precisions=("float16",), keep_float="auto")
    base = dataclasses.replace(Config(), quantize=quantize)
    assert conversion(base=base).quantize == quantize
    assert conversion("--float32", base=base).quantize.keep_float == "none"


@pytest.mark.parametrize("flags", ["--no-search", "--float16", "--prune 0.5"])
def test_split_channels_are_refused_where_nothing_is_searched(flags):
    with pytest.raises(ConfigError, match="one of the methods that --search tries; add --search"):
        conversion("--split-channels", *flags.split(), base=FULL)


def paced(*arguments: str) -> Config:
    """The Config that these arguments of ``bench`` make."""
    made = []

    @click.command()
    @opt.pace_flags
    @opt.flags(BENCH)
    def command(**parameters) -> None:
        opt.take_pace(parameters)
        made.append(opt.configure(parameters, Config()))

    CliRunner().invoke(command, list(arguments), standalone_mode=False, catch_exceptions=False)
    return made[0]


def test_quick_and_full_stand_for_settings_that_flags_override():
    assert paced().bench == Config().bench
    quick, full = paced("--quick").bench, paced("--full").bench
    assert (quick.runs, quick.seconds, quick.stop, quick.cooldown) == (128, 6.0, "either", 0.0)
    assert (full.runs, full.seconds, full.stop, full.cooldown) == (1024, 60.0, "both", 1.0)
    mixed = paced("--quick", "--seconds", "2").bench
    assert (mixed.runs, mixed.seconds, mixed.stop) == (128, 2.0, "either")
    with pytest.raises(ConfigError, match="--quick and --full exclude one another"):
        paced("--quick", "--full")


def test_whether_a_data_set_was_named():
    assert opt.names_data({"set_data__source": "x"})
    assert not opt.names_data({"set_data__source": None, "set_data__limit": 3})


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "", "--model", "x.tflite"],
        ["predict", "x.png", "--model", ""],
        ["predict", "x.png", "--model", "x.tflite", "--csv", ""],
        ["inspect", ""],
        ["verify", "x", "--output", ""],
    ],
)
def test_no_path_is_empty(arguments):
    """It would be the working folder, and everything in it."""
    shown = CliRunner().invoke(cli, arguments)
    assert shown.exit_code == 2
    assert shown.output.splitlines()[-1].endswith("an empty path names no file and no folder.")
