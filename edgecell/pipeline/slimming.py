"""Pruning and weight clustering of a run's model, as part of ``edgecell quantize``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tf_keras as keras

from converters import tflite
from converters.clustering import cluster
from converters.kept import require_kept
from converters.lowering import lower, strip_scaling
from converters.pruning import Slimmed, prune
from converters.shared_scales import share_scales
from edgecell import disk, packing, plots, tflite_file
from edgecell.config import TuningConfig
from edgecell.pipeline.quantize_settings import slim_name
from edgecell.pipeline.searching import Material
from edgecell.pipeline.training import save_keras
from edgecell.pipeline.tuning_state import open_state, seed, state_key


@dataclass(frozen=True)
class Slim:
    """The run's model, pruned or clustered or both.

    ``name`` says what was done and ends file names; ``key`` is the hash of what it depends on.
    """

    model: keras.Model
    name: str
    key: str
    clustered: bool
    outputs: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def slim_in(material: Material) -> Slim | None:
    """What ``--prune`` and ``--cluster`` ask for, pruned first; None where neither is asked for.

    Each is a fine-tuning that goes on where it was killed.

    Raises:
        EdgecellError: see :func:`converters.pruning.prune`, :func:`converters.clustering.cluster`.
    """
    config, slim = material.config, None
    if config.prune.sparsity:
        name, key = f"pruned{config.prune.sparsity:g}", state_key(material, "prune", config.prune)
        seed(material, config.prune)
        made = prune(
            material.model,
            material.lesson,
            config.prune,
            open_state(material, name, key),
            key,
            material.progress,
        )
        slim = _kept(material, made, Slim(made.model, name, key, False), "prune", config.prune)
    if config.cluster.clusters:
        before = slim.key if slim else ""
        key = state_key(material, "cluster", config.cluster, before)
        seed(material, config.cluster)
        made = cluster(
            material.model,
            slim.model if slim else material.model,
            material.lesson,
            config.cluster,
            open_state(material, slim_name(config), key),
            key,
            material.progress,
            keep_zeros=slim is not None,
        )
        earlier = (slim.outputs, slim.facts) if slim else ([], {})
        slim = _kept(
            material,
            made,
            Slim(made.model, slim_name(config), key, True, *earlier),
            "cluster",
            config.cluster,
        )
    return slim


def convert(material: Material, slim: Slim, precision: str) -> bytes:
    """A file of the slim model, on scales that keep what is shared in it.

    Raises:
        ConvertError: it cannot be converted, or zeros or shared values are lost in the file.
    """
    data = tflite.convert(
        slim.model,
        precision,
        calibration=material.chosen.images,
        input_type=material.config.quantize.input_type,
    )
    if slim.clustered and precision in ("int8", "int16x8", "dynamic"):
        integer = precision != "dynamic"
        source = lower(strip_scaling(slim.model)[0] if integer else slim.model)
        data = share_scales(data, source, slim.model)
    return data


def weights_facts(data: bytes, model: keras.Model, name: str) -> dict[str, Any]:
    """What the file has of the zeros and values of ``model``, for the record.

    Raises:
        ConvertError: less than the model has.
    """
    require_kept(data, model, name)
    return {"weights": packing.summary(tflite_file.parse(data, name))}


def _kept(material: Material, made: Slimmed, slim: Slim, verb: str, settings: TuningConfig) -> Slim:
    """``slim`` with its model, history and curves written beside the files, and its figures."""
    folder = material.run.stage("quantize")
    model, table, picture = (
        folder / f"{material.target.name}-{slim.name}.keras",
        folder / f"{slim.name}-history.json",
        folder / f"{slim.name}.png",
    )
    history = made.progression.history
    save_keras(made.model, model)
    disk.atomic_write_json(table, history)
    what = "The clustered model" if slim.clustered else "The pruned model"
    curves = plots.fine_tuning_curves(history, best_epoch=made.progression.best_epoch, what=what)
    plots.save(curves, picture)
    return Slim(
        slim.model,
        slim.name,
        slim.key,
        slim.clustered,
        [*slim.outputs, model, table, picture],
        slim.facts | {verb: {"settings": asdict(settings)} | made.facts},
    )
