"""What the settings of a training say: what it depends on, what may change, how its run is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgecell.config import Config
from edgecell.config_file import load_config
from edgecell.errors import ConfigError
from edgecell.models.registry import architecture_of
from edgecell.models.weights import trained_file
from edgecell.rundir import RunDir

PARTS = ("data", "model", "augment", "train", "teacher")
RATES = ("learning_rate", "head_learning_rate")
"""What may be set otherwise when a training is taken up again: after it diverged, say."""
_ELSEWHERE = (
    *(("data", "source"), ("data", "root"), ("data", "strict_splits")),
    ("train", "strategy"),
)
"""What changes neither the images nor what is done with them."""


def only_alone(config: Config, what: str) -> None:
    """Refuse several workers for something that one process has to do.

    Raises:
        ConfigError: ``config`` is for several workers.
    """
    if config.train.strategy == "multiworker":
        raise ConfigError(
            f"{what} cannot be shared by several workers; use 'edgecell train --strategy multiworker'"
            " for one training, or the strategy mirrored or one"
        )


def settled(config: Config, run: RunDir) -> Config:
    """``config`` with the batch size that "auto" was found to be when ``run`` began."""
    written = run.path / "config.toml"
    if config.train.batch_size or not written.is_file():
        return config
    size = load_config(written).train.batch_size
    return replace(config, train=replace(config.train, batch_size=size))


def rates_of(config: Config) -> dict[str, float]:
    """The learning rates of ``config`` by their names in RATES."""
    return {key: getattr(config.train, key) for key in RATES}


def with_rates(config: Config, rates: Mapping[str, float]) -> Config:
    """``config`` with other learning rates, by their names in RATES.

    Raises:
        ConfigError: several workers, which would have to find the state changed at the same moment.
    """
    if rates:
        only_alone(config, "a training taken up with another rate")
    now = config.train
    train = replace(
        now,
        learning_rate=rates.get("learning_rate", now.learning_rate),
        head_learning_rate=rates.get("head_learning_rate", now.head_learning_rate),
    )
    return replace(config, train=train)


def settings_of(config: Config) -> dict[str, Any]:
    """The settings that a trained model depends on: not on how many devices share the work."""
    settings = {part: asdict(getattr(config, part)) for part in PARTS}
    settings["model"] = config.model.settings()
    del settings["train"]["strategy"]
    return settings


def default_name(config: Config) -> str:
    """A run's name from its data set and model, where the user gives none.

    Raises:
        ConfigError: a model that is unknown or does not take its settings.
    """
    model = config.model
    width = f"-{model.alpha}" if architecture_of(model).widths else ""
    return f"{data_name(config)}-{model.name}{width}-{model.image_size}"


def data_name(config: Config) -> str:
    """The data set's part of a name: letters, digits, - and _."""
    source = config.data.source.rstrip("/")
    stem = Path(source).stem if source.endswith((".npz", ".csv", ".tsv")) else Path(source).name
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-") or "run"


def weights_file(config: Config) -> list[Path]:
    """The file of the backbone's weights where the user names one, as inputs of a record."""
    named = config.model.weights in ("imagenet", "none")
    return [] if named else [trained_file(config.model.weights) or Path(config.model.weights)]


def first_difference(old: Config, new: Config) -> str:
    """The first setting in which a stopped training is another, with both values; empty for none.

    Where its images lie may be typed otherwise: the saved state knows them by their hash.
    """
    for part in PARTS:
        was, now = (asdict(getattr(config, part)) for config in (old, new))
        for key, value in was.items():
            if value != now[key] and (part, key) not in _ELSEWHERE:
                return f"{part}.{key} was {value!r}, now {now[key]!r}"
    return ""
