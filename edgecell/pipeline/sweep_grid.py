"""The cells of a sweep: every model, width, input size and precision that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgecell import disk
from edgecell.config import Config, ModelConfig
from edgecell.errors import ArtifactError, ConfigError
from edgecell.models.registry import MODELS, architecture_of
from edgecell.pipeline.quantize_settings import check_settings
from edgecell.pipeline.train_settings import weights_file


@dataclass(frozen=True)
class Grid:
    """The axes; a network of one width ignores ``alphas``.

    Raises:
        ConfigError: an axis that is empty or names something twice.
    """

    models: tuple[str, ...]
    alphas: tuple[float, ...]
    sizes: tuple[int, ...]
    precisions: tuple[str, ...]

    def __post_init__(self) -> None:
        for axis in fields(self):
            values = getattr(self, axis.name)
            twice = [str(value) for value in dict.fromkeys(values) if values.count(value) > 1]
            if twice or not values:
                what = f"names {', '.join(twice)} twice; once is enough" if twice else "is empty"
                raise ConfigError(f"the axis '{axis.name}' of the sweep {what}")

    def networks(self, config: Config) -> dict[str, Config]:
        """Name → the configuration of each network to train; its precisions share the training.

        ``{model}``, ``{alpha}`` and ``{size}`` in ``model.weights`` stand for the network's own.

        Raises:
            ConfigError: a model that is unknown, or does not take a width, a size or weights of its
                own. ArtifactError: a weights file that is not there.
        """
        settings = replace(config.quantize, precisions=self.precisions)
        config = replace(config, quantize=settings)
        check_settings(config)
        found: dict[str, Config] = {}
        for model in self.models:
            for alpha in self._widths(model):
                for size in self.sizes:
                    weights = _weights(config.model.weights, model, alpha, size)
                    chosen = replace(
                        config.model, name=model, alpha=alpha, image_size=size, weights=weights
                    )
                    name = network_name(chosen)
                    found[name] = replace(config, name=name, model=chosen)
        for network in found.values():
            _check_weights(network)
        _one_file_fits_one(config.model.weights, found)
        return found

    def _widths(self, model: str) -> tuple[float, ...]:
        """Those of the axis, or the only one there is; an unknown model is refused with them."""
        many = model not in MODELS or MODELS[model].widths
        return self.alphas if many else (ModelConfig.alpha,)

    def to_json(self) -> dict[str, list[Any]]:
        """All axes."""
        return {axis.name: list(getattr(self, axis.name)) for axis in fields(self)}


def network_name(model: ModelConfig) -> str:
    """``mobilenet_v2-0.35-96``, ``resnet18_28-28``.

    Raises:
        ConfigError: a model that is unknown or does not take its settings.
    """
    width = f"-{model.alpha}" if architecture_of(model).widths else ""
    return f"{model.name}{width}-{model.image_size}"


def task_of(network: Config) -> dict[str, Any]:
    """A network and its precisions as a task of the queue, the same on every machine."""
    files = weights_file(network)
    return {
        "network": network.name,
        "precisions": list(network.quantize.precisions),
        "weights": disk.sha256_file(files[0]) if files else network.model.weights,
    }


def _weights(named: str, model: str, alpha: float, size: int) -> str:
    if "{" not in named:
        return named
    try:
        return named.format(model=model, alpha=alpha, size=size)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"--weights {named} cannot be filled in ({error}); allowed in it: {{model}}, {{alpha}},"
            " {size}"
        ) from error


def _check_weights(network: Config) -> None:
    for path in weights_file(network):
        if not path.exists():
            raise ArtifactError(
                f"no weights at {path}, which {network.name} is to start from; give an existing file"
                " with --weights, or --weights none"
            )


def _one_file_fits_one(named: str, networks: dict[str, Config]) -> None:
    """A file holds the weights of one network and width."""
    kinds = {(each.model.name, each.model.alpha) for each in networks.values()}
    if named not in ("imagenet", "none") and "{" not in named and len(kinds) > 1:
        raise ConfigError(
            f"--weights {Path(named).name} fits one network of one width, and {len(kinds)} are asked"
            " for; name a file for each with {model} and {alpha} in its path, or --weights none"
        )
