"""Named runs: TOML files whose header says what to expect of them."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from edgecell.config import Config
from edgecell.config_file import from_toml, load_config
from edgecell.errors import ConfigError


def names() -> list[str]:
    """The recipes that come with edgecell."""
    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def load_recipe(name: str) -> Config:
    """A recipe by its name, or from a .toml file.

    Raises:
        ConfigError: no such recipe, or a recipe with a mistake in it.
    """
    if name.endswith(".toml"):
        return load_config(Path(name))
    return from_toml(recipe_text(name), f"recipe {name}")


def recipe_text(name: str) -> str:
    """The TOML text of a recipe that comes with edgecell; ConfigError when there is none."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}"
        raise ConfigError(f"no recipe '{name}'; {hint} (the path of a recipe ends in .toml)")
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
