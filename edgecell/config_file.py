"""Settings as TOML, in and out: no unknown keys, no other types."""

from __future__ import annotations

import difflib
import types
import typing
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from edgecell.config import Config
from edgecell.documents import DocumentError
from edgecell.errors import ConfigError
from edgecell.toml_document import toml_of, toml_text


def to_toml(config: Config) -> str:
    """The config as TOML text that :func:`from_toml` reads back to an equal config."""
    data = asdict(config)
    data["quantize"]["precisions"] = list(config.quantize.precisions)
    if not data["expected"]:
        del data["expected"]
    return tomli_w.dumps(data)


def from_toml(text: str, where: str) -> Config:
    """Parse a recipe or a ``config.toml``; ``where`` names it in errors.

    Raises:
        ConfigError: not TOML, an unknown key (the nearest valid one is named), a wrong type or value.
    """
    try:
        data = toml_of(text)
    except DocumentError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from error
    built: Config = _build(Config, data, where, "")
    return built


def load_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        ConfigError: missing, unreadable, or not a valid config.
    """
    try:
        return from_toml(toml_text(path), str(path))
    except (OSError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the recipe {path}: {reason}") from error


def _build(kind: type, data: dict[str, Any], where: str, prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    values = {}
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"allowed: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'; {hint}")
        if is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: '{prefix}{key}' must be a table [{prefix}{key}]")
            values[key] = _build(typing.cast(type, hints[key]), value, where, f"{prefix}{key}.")
        else:
            values[key] = _coerce(hints[key], value, f"{where}: '{prefix}{key}'")
    return kind(**values)


def _coerce(hint: Any, value: Any, what: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ConfigError(f"{what} is {value!r}; allowed: {', '.join(map(str, allowed))}")
        return value
    if origin is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list) or not all(isinstance(v, item) for v in value):
            raise ConfigError(f"{what} must be a list of {item.__name__}")
        return tuple(value)
    if origin in (dict, types.GenericAlias) or hint is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{what} must be a table")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{what} is {value!r}; it must be {_type_name(hint)}")
    return value


def _type_name(hint: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]
