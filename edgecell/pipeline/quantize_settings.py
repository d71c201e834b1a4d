"""Which settings of ``edgecell quantize`` go together, and what their outcome depends on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from edgecell.config import Config
from edgecell.data import Dataset
from edgecell.errors import ConfigError
from edgecell.pipeline.pairing import chosen_on_val
from edgecell.pipeline.verification import budget_of

CALIBRATED = ("int8", "int16x8", "mixed")
"""Precisions with ranges that images give them."""
AUTO = "auto"
"""As many layers in float as verify's budgets ask for."""


def slim_name(config: Config) -> str:
    """``pruned0.5``, ``clustered16``, ``pruned0.5-clustered16``, or nothing."""
    parts = []
    if config.prune.sparsity:
        parts.append(f"pruned{config.prune.sparsity:g}")
    if config.cluster.clusters:
        parts.append(f"clustered{config.cluster.clusters}")
    return "-".join(parts)


def needs_images(config: Config) -> bool:
    """Whether any of the files needs images to be made."""
    settings = config.quantize
    calibrated = any(precision in CALIBRATED for precision in settings.precisions)
    return calibrated or settings.keep_float != "none" or bool(slim_name(config))


def hashes_of(config: Config, dataset: Dataset) -> dict[str, str]:
    """The data behind the files as inputs of the record: train, and val where it chose a file."""
    trained = config.qat.enabled or bool(slim_name(config))
    chosen = config.quantize.search or config.quantize.keep_float != "none" or trained
    splits = ("train", "val") if chosen else ("train",)
    return {f"data:{dataset.name}:{split}": dataset.fingerprint for split in splits}


def hashes_behind(entries: Iterable[dict[str, Any]], record: dict[str, Any]) -> dict[str, str]:
    """The data behind ``entries`` of ``record``, as its inputs name them.

    Calibration and training read train; each file that a method is named of was chosen on val.
    """
    splits = {
        split
        for entry in entries
        for split, read in (
            ("train", entry["calibrated"] or chosen_on_val(entry)),
            ("val", chosen_on_val(entry)),
        )
        if read
    }
    return {
        name: digest
        for name, digest in record["inputs"].items()
        if name.startswith("data:") and name.rpartition(":")[2] in splits
    }


def check_settings(config: Config) -> None:
    """Refuse settings that do not go together."""
    if config.qat.enabled and "int8" not in config.quantize.precisions:
        raise ConfigError(
            "quantization-aware training makes an int8 file, and int8 was not asked for; add --int8"
            " or leave --qat out"
        )
    if config.quantize.search and "int8" not in config.quantize.precisions:
        raise ConfigError(
            "the search looks for an int8 file, and int8 was not asked for; add --int8 or leave"
            " --search out"
        )
    slim = slim_name(config)
    if slim and (config.quantize.search or config.quantize.keep_float != "none"):
        flag = "--search" if config.quantize.search else "--keep-float"
        raise ConfigError(
            f"{flag} works on the model as it was trained, not on one that is {slim.replace('-', ' and ')}:"
            " what it does to weights would undo that; run it without --prune and --cluster, or take"
            " --qat with them"
        )


def settings_of(config: Config) -> dict[str, Any]:
    """The settings that the converted files depend on, for the record and for skipping."""
    settings = asdict(config.quantize)
    settings["split_channels"] &= settings["search"]  # which alone asks for it
    for younger in ("resize_in_graph", "split_channels"):
        if not settings[younger]:
            del settings[younger]  # records made before it was a setting stay current
    for name, table, used in (
        ("qat", config.qat, config.qat.enabled),
        ("prune", config.prune, config.prune.sparsity),
        ("cluster", config.cluster, config.cluster.clusters),
    ):
        if used:
            settings[name] = asdict(table)
    if settings["keep_float"] == AUTO:  # how many layers stay in float is decided by the budgets
        settings["verify"] = asdict(budget_of(config.verify))
    return settings
