"""From flags to a configuration: decorators that add them to a verb, and what was given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import click

from edgecell.cli.flags import DATA, Flag
from edgecell.config import BENCH_PACES, PRECISIONS, Config
from edgecell.errors import ConfigError
from edgecell.recipes import load_recipe


class _NamedPath(click.Path):
    """A path of at least a character: "" would be the working folder."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path; a usage error for an empty one."""
        if value in ("", b""):
            self.fail("an empty path names no file and no folder.", param, ctx)
        return super().convert(value, param, ctx)


PATH = _NamedPath(path_type=Path)


def flags(*groups: tuple[Flag, ...]) -> Callable[[Any], Any]:
    """A decorator that adds the flags of ``groups``; a default is the configuration's, or what the flag says."""

    def decorate(command: Any) -> Any:
        for flag in reversed([flag for group in groups for flag in group]):
            default = flag.default or _shown(_lookup(Config(), flag.field))
            help_text = f"{flag.help} [default: {default}]"
            if flag.switch:
                kind: dict[str, Any] = {"is_flag": True}
                if "/" not in flag.name:
                    kind["flag_value"] = True
            else:
                kind = {"type": flag.type, "multiple": flag.multiple}
            option = click.option(flag.name, flag.parameter, help=help_text, default=None, **kind)
            command = option(command)
        return command

    return decorate


def run_data_flags(command: Any) -> Any:
    """The flags of DATA for a verb that is pointed at a run: the run's images are the default."""
    return flags((replace(DATA[0], default="the run's images"), *DATA[1:]))(command)


def configure(parameters: dict[str, Any], base: Config) -> Config:
    """``base`` with every flag that was given; removes the flags from ``parameters``.

    Raises:
        ConfigError: a value that is not allowed.
    """
    tables: dict[str, dict[str, Any]] = {}
    for name in [n for n in parameters if n.startswith("set_")]:
        value = parameters.pop(name)
        if value is None or value == ():
            continue
        table, key = name.removeprefix("set_").split("__")
        kind = get_type_hints(type(getattr(base, table)))[key]
        tables.setdefault(table, {})[key] = kind(value) if kind in (int, float, str) else value
    changed = {table: replace(getattr(base, table), **values) for table, values in tables.items()}
    return replace(base, **changed)


def names_data(parameters: dict[str, Any]) -> bool:
    """Whether the user named a data set on the command line."""
    return parameters.get("set_data__source") is not None


def base_config(recipe: str | None) -> Config:
    """The configuration that flags start from: a recipe by name or path, else the defaults.

    The environment variable EDGECELL_DETERMINISTIC (not empty, not 0) turns ``deterministic`` on.
    """
    config = load_recipe(recipe) if recipe else Config()
    if os.environ.get("EDGECELL_DETERMINISTIC", "0") in ("", "0"):
        return config
    return replace(config, train=replace(config.train, deterministic=True))


def precision_flags(command: Any) -> Any:
    """``--float32 --float16 --dynamic --int8 --int16x8``, any of them together."""
    meanings = {
        "float32": "Float weights, float kernels.",
        "float16": "Float16 weights, float kernels.",
        "dynamic": "int8 weights, float activations.",
        "int8": "int8 weights and activations, integer kernels only.",
        "int16x8": "int8 weights, int16 activations.",
    }
    for precision in reversed(PRECISIONS):
        option = click.option(
            f"--{precision}", f"make_{precision}", is_flag=True, help=meanings[precision]
        )
        command = option(command)
    return command


def take_precisions(parameters: dict[str, Any]) -> tuple[str, ...]:
    """The precisions that were asked for; removes their flags from ``parameters``."""
    return tuple(p for p in PRECISIONS if parameters.pop(f"make_{p}"))


def with_precisions(config: Config, precisions: tuple[str, ...]) -> Config:
    """``config`` with these precisions, or unchanged where none was asked for."""
    if not precisions:
        return config
    return replace(config, quantize=replace(config.quantize, precisions=precisions))


def configure_conversion(
    parameters: dict[str, Any], base: Config, precisions: tuple[str, ...]
) -> Config:
    """``base`` with flags and precisions; what only ``base`` asks for yields where it does not fit them.

    A recipe's search, training and layers in float are for its own int8 file: they are no reason to
    refuse other precisions, or a pruned model, that the command line asks for. Removes the flags from ``parameters``.

    Raises:
        ConfigError: a value that is not allowed, or split channels where nothing is searched.
    """
    said = {name for name, value in parameters.items() if value is not None}
    slim = any(parameters.get(f"set_{field}") for field in ("prune__sparsity", "cluster__clusters"))
    split = parameters.get("set_quantize__split_channels")
    config = with_precisions(configure(parameters, base), precisions)
    quantize, qat = config.quantize, config.qat
    integers = "int8" in quantize.precisions
    if "set_quantize__search" not in said and (slim or not integers):
        quantize = replace(quantize, search=False)
    if split and not quantize.search:
        raise ConfigError(
            "--split-channels is one of the methods that --search tries; add --search"
        )
    if "set_quantize__keep_float" not in said and (slim or (precisions and not integers)):
        quantize = replace(quantize, keep_float="none")
    if "set_qat__enabled" not in said and not integers:
        qat = replace(qat, enabled=False)
    return replace(config, quantize=quantize, qat=qat)


def pace_flags(command: Any) -> Any:
    """``--quick`` and ``--full``: how thoroughly latency is measured."""
    quick, full = (BENCH_PACES[name] for name in ("quick", "full"))
    for name, text in (
        (
            "full",
            f"Measure {full['runs']:,} runs and {full['seconds']:.0f} s with rests between models.",
        ),
        ("quick", f"Measure {quick['runs']} runs or {quick['seconds']:.0f} s, whichever is first."),
    ):
        command = click.option(f"--{name}", f"pace_{name}", is_flag=True, help=text)(command)
    return command


def take_pace(parameters: dict[str, Any]) -> None:
    """Make ``--quick`` or ``--full`` the flags they stand for; flags that were given keep their values.

    Raises:
        ConfigError: both.
    """
    wanted = [name for name in BENCH_PACES if parameters.pop(f"pace_{name}")]
    if len(wanted) > 1:
        raise ConfigError("--quick and --full exclude one another; give one of them")
    for name in wanted:
        for key, value in BENCH_PACES[name].items():
            if parameters.get(f"set_bench__{key}") is None:
                parameters[f"set_bench__{key}"] = value


def device_flags(command: Any) -> Any:
    """``--device`` and what some devices need."""
    for name, default, text in (
        ("--benchmark-model", "", "With adb: LiteRT's benchmark_model for Android."),
        ("--remote-python", "python3", "With ssh: the Python there that has ai-edge-litert."),
        (
            "--device",
            "host",
            "Where the files run: host, ssh:user@host[:port], adb[:serial], browser, qemu-arm64, or tflm.",
        ),
    ):
        shown = bool(default)
        command = click.option(name, default=default, show_default=shown, help=text)(command)
    return command


def output_to(default: str) -> Callable[[Any], Any]:
    """``--output DIR``, which without it is ``default``."""
    return click.option(
        "--output",
        type=PATH,
        default=None,
        help=f"Folder to write to [default: {default}].",
    )


output_option = output_to("inside the run; without a run it has to be given")
"""``--output DIR`` of verbs that are pointed at a run."""
new_run_option = output_to("artifacts/runs/<name>-<UTC time>")
"""``--output DIR`` of verbs that make a run."""


def json_option(command: Any) -> Any:
    """``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the results as JSON on stdout."
    )(command)


def _lookup(config: Config, field: str) -> Any:
    table, key = field.split(".")
    return getattr(getattr(config, table), key)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in ("", ()):
        return "none"
    return str(value)


def named_data(parameters: dict[str, Any]) -> Any:
    """The data set named on the command line, or None; removes its flags from ``parameters``."""
    named = names_data(parameters)
    mine = {k: parameters.pop(k) for k in list(parameters) if k.startswith("set_data__")}
    if not named:
        given = [k for k, v in mine.items() if v is not None]
        if given:
            flag = "--" + given[0].removeprefix("set_data__").replace("_", "-")
            raise ConfigError(f"{flag} goes with --data; name the data set too")
        return None
    return configure(mine, Config()).data
