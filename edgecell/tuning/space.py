"""Which settings are searched, and within which limits: a ``[space]`` table in TOML.

    [space]
    "train.learning_rate" = {low = 1e-4, high = 1e-2, log = true}
    "train.batch_size" = {low = 32, high = 128, step = 32}
    "model.alpha" = [0.35, 0.5]

A list holds choices, a table the ends of a range. Every end and every choice must be a value that
the configuration allows.
"""

from __future__ import annotations

import difflib
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from edgecell.config import Config
from edgecell.config_file import from_toml, to_toml
from edgecell.documents import DocumentError
from edgecell.errors import ConfigError
from edgecell.toml_document import toml_of, toml_text

Space = dict[str, BaseDistribution]
Value = bool | int | float | str

# Training does not depend on the other tables; those in data change the images that are counted on.
NOT_SEARCHED = {
    "data": "its figures would be of different images and could not be compared",
    "train.seed": "the luckiest seed on val is luck, not a setting",
    "train.deterministic": "it changes no figure on purpose",
    "train.strategy": "it shares the work and is no setting of the model",
}
TABLES = ("model", "augment", "train", "teacher")
_RANGE_KEYS = ("low", "high", "step", "log")


def default_space_text() -> str:
    """The space that is searched where none is given."""
    return resources.files(__package__).joinpath("space.toml").read_text(encoding="utf-8")


def load_space(path: Path | None) -> Space:
    """Read a space from a file, or the one that comes with edgecell.

    Raises:
        ConfigError: missing, unreadable, or not a valid space.
    """
    if path is None:
        return parse_space(default_space_text(), "the default space")
    try:
        return parse_space(toml_text(path), str(path))
    except (OSError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the search space {path}: {reason}") from error


def parse_space(text: str, where: str) -> Space:
    """Parse a ``[space]`` table; ``where`` names it in errors.

    Raises:
        ConfigError: not TOML, no space, an unknown setting (the nearest valid one is named), or a
            range or choice that the configuration does not allow.
    """
    try:
        data = toml_of(text)
    except DocumentError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from error
    others = [key for key in data if key != "space"]
    if others:
        raise ConfigError(
            f"{where}: unknown key '{others[0]}'; a space file holds the table [space] alone, other"
            " settings come from --recipe or flags"
        )
    table = data.get("space")
    if not isinstance(table, dict) or not table:
        raise ConfigError(
            f"{where} has no settings to search; add a table [space], see 'edgecell tune --print-space'"
        )
    return {key: _dimension(key, spec, where) for key, spec in _flat(table)}


def with_values(config: Config, values: Mapping[str, Value]) -> Config:
    """``config`` with dotted settings replaced, each checked as in a recipe.

    Raises:
        ConfigError: a value that is not allowed, alone or beside the others.
    """
    data = tomllib.loads(to_toml(config))
    for key, value in values.items():
        table, _, name = key.partition(".")
        data[table][name] = value
    return from_toml(tomli_w.dumps(data), "the trial")


def values_in(config: Config, space: Space) -> dict[str, Value] | None:
    """The configuration's own values of the searched settings; None where the space lacks one."""
    data = tomllib.loads(to_toml(config))
    found: dict[str, Value] = {}
    for key, dimension in space.items():
        table, _, name = key.partition(".")
        value = data[table][name]
        if not _holds(dimension, value):
            return None
        found[key] = value
    return found


def describe(space: Space) -> dict[str, dict[str, Any]]:
    """The space as JSON: for each setting its choices, or its ends, step and whether logarithmic."""
    out: dict[str, dict[str, Any]] = {}
    for key, found in space.items():
        if isinstance(found, CategoricalDistribution):
            out[key] = {"choices": list(found.choices)}
        elif isinstance(found, IntDistribution | FloatDistribution):
            out[key] = {"low": found.low, "high": found.high, "step": found.step, "log": found.log}
    return out


def _flat(table: dict[str, Any]) -> list[tuple[str, Any]]:
    """Settings and what is said of them; ``train.epochs = …`` without quotes makes nested tables."""
    found: list[tuple[str, Any]] = []
    for key, entry in table.items():
        nested = "." not in key and isinstance(entry, dict)
        if nested and not set(entry) & set(_RANGE_KEYS):
            found += [(f"{key}.{name}", spec) for name, spec in entry.items()]
        else:
            found.append((key, entry))
    return found


def _dimension(key: str, spec: Any, where: str) -> BaseDistribution:
    _check_key(key, where)
    if isinstance(spec, list):
        if len(spec) < 2:
            raise ConfigError(
                f"{where}: '{key}' has {len(spec)} choices; a search needs 2 (one value goes into the"
                " recipe)"
            )
        for choice in spec:
            _check_value(key, choice, where)
        if len(set(map(repr, spec))) < len(spec):
            raise ConfigError(f"{where}: '{key}' names a choice twice; once is enough")
        return CategoricalDistribution(spec)
    if isinstance(spec, dict):
        return _range(key, spec, where)
    raise ConfigError(
        f"{where}: '{key}' is {spec!r}; it must be a list of choices or {{low = …, high = …}}"
    )


def _range(key: str, spec: dict[str, Any], where: str) -> BaseDistribution:
    for name in spec:
        if name not in _RANGE_KEYS:
            near = difflib.get_close_matches(name, _RANGE_KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(_RANGE_KEYS)}"
            raise ConfigError(f"{where}: '{key}' has the unknown key '{name}'; {hint}")
    kind = _number_kind(key)
    if kind is None:
        raise ConfigError(f'{where}: \'{key}\' is no number; give a list of choices, ["…", "…"]')
    numbers = {name: spec[name] for name in ("low", "high", "step") if name in spec}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int if kind is int else int | float):
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{where}: '{key}' has {name} = {number!r}; it must be {wanted}")
    missing = [name for name in ("low", "high") if name not in numbers]
    if missing:
        raise ConfigError(f"{where}: '{key}' lacks {' and '.join(missing)}")
    log = spec.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: '{key}' has log = {log!r}; it must be true or false")
    low, high, step = numbers["low"], numbers["high"], numbers.get("step")
    for end in (low, high):
        _check_value(key, end, where)
    _check_range(key, low, high, step, log, where)
    if kind is int:
        return IntDistribution(low, high, log=log, step=1 if step is None else step)
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _check_range(
    key: str, low: float, high: float, step: float | None, log: bool, where: str
) -> None:
    if low >= high:
        raise ConfigError(f"{where}: '{key}' goes from {low} to {high}; low must be below high")
    if log and low <= 0:
        raise ConfigError(f"{where}: '{key}' is logarithmic from {low}; low must be above 0")
    if step is None:
        return
    if log:
        raise ConfigError(
            f"{where}: '{key}' has a step and log = true; only one of them is possible"
        )
    steps = (high - low) / step if step > 0 else 0.0
    if steps < 1 or not math.isclose(steps, round(steps), rel_tol=1e-9):
        raise ConfigError(
            f"{where}: '{key}' cannot go from {low} to {high} in steps of {step}; high must be low plus"
            " a whole number of steps"
        )


def _check_key(key: str, where: str) -> None:
    table, _, name = key.partition(".")
    for refused, reason in NOT_SEARCHED.items():
        if key == refused or table == refused:
            raise ConfigError(
                f"{where}: '{key}' cannot be searched: {reason}; set it in the recipe"
            )
    known = _settings()
    if table not in TABLES and hasattr(Config(), table) and name:
        raise ConfigError(
            f"{where}: '{key}' cannot be searched: training does not depend on it; what can: settings"
            f" of {', '.join(TABLES)}"
        )
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(known)}"
        raise ConfigError(f"{where}: unknown setting '{key}'; {hint}")


def _check_value(key: str, value: Any, where: str) -> None:
    """Whether the configuration takes this value, beside defaults."""
    table, _, name = key.partition(".")
    try:
        text = tomli_w.dumps({table: {name: value}})
        from_toml(text, where)
    except TypeError as error:
        raise ConfigError(f"{where}: '{key}' holds {value!r}, which is no setting") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error


def _settings() -> list[str]:
    """Every setting that can be searched, dotted."""
    config = Config()
    return [
        f"{table}.{entry.name}"
        for table in TABLES
        for entry in fields(getattr(config, table))
        if f"{table}.{entry.name}" not in NOT_SEARCHED
        and not isinstance(getattr(getattr(config, table), entry.name), tuple)
    ]


def _number_kind(key: str) -> type | None:
    """int, float, or None for a setting that is no number."""
    table, _, name = key.partition(".")
    hint = typing.get_type_hints(type(getattr(Config(), table)))[name]
    options = typing.get_args(hint) or (hint,)
    return next((kind for kind in (float, int) if kind in options), None)


def _holds(dimension: BaseDistribution, value: Value) -> bool:
    if isinstance(dimension, CategoricalDistribution):
        return any(type(c) is type(value) and c == value for c in dimension.choices)
    if isinstance(value, bool | str):
        return False
    assert isinstance(dimension, IntDistribution | FloatDistribution)
    if not dimension.low <= value <= dimension.high:
        return False
    steps = (value - dimension.low) / (dimension.step or 1)
    return dimension.step is None or math.isclose(steps, round(steps), abs_tol=1e-9)
