"""Quantization-aware training of a run's model, as part of ``edgecell quantize --qat``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.qat import Tuned, fine_tune
from edgecell import disk, plots
from edgecell.pipeline.searching import Material
from edgecell.pipeline.slimming import Slim
from edgecell.pipeline.training import save_keras
from edgecell.pipeline.tuning_state import open_state, seed, state_key


@dataclass(frozen=True)
class Qat:
    """A finished training with what it left in the folder, and its figures for the record."""

    tuned: Tuned
    name: str
    outputs: list[Path]
    facts: dict[str, Any]


def tune(material: Material, slim: Slim | None) -> Qat:
    """Train the fake-quantized twin of the run's model, or of what pruning and clustering made of it.

    A training that was killed goes on, see :mod:`edgecell.pipeline.tuning_state`.

    Raises:
        EdgecellError: see :func:`converters.qat.fine_tune`.
    """
    settings = material.config.qat
    seed(material, settings)
    name = f"{slim.name}-qat" if slim else "qat"
    key = state_key(material, "qat", settings, slim.key if slim else "")
    tuned = fine_tune(
        material.model,
        material.lesson,
        settings,
        open_state(material, name, key),
        key,
        material.progress,
        slim=slim.model if slim else None,
        clustered=slim is not None and slim.clustered,
    )
    folder = material.run.stage("quantize")
    model, table, picture = (
        folder / f"{material.target.name}-{name}.keras",
        folder / f"{name}-history.json",
        folder / f"{name}.png",
    )
    history = tuned.progression.history
    save_keras(tuned.model, model)
    disk.atomic_write_json(table, history)
    curves = plots.fine_tuning_curves(
        history, best_epoch=tuned.progression.best_epoch, what="The int8 file"
    )
    plots.save(curves, picture)
    return Qat(tuned, name, [model, table, picture], {"settings": asdict(settings)} | tuned.facts)
