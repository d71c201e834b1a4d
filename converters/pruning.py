"""Pruning: the smallest weights of a trained model become zero while it learns to do without them.

Zhu and Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model
compression": sparsity rises steeply at first and ever more slowly, s_t = s (1 - (1 - t/T)³). TFMOT
does it, layer by layer, to convolutions and dense layers; depthwise kernels, few and needed, it
leaves alone. A .tflite file stores zeros like any other number: it is the compressed file that shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from converters.fine_tuning import Judge, Lesson, Title, predictor, tune
from converters.kept import wrapped
from edgecell.batches import steps_per_epoch
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import PruneConfig
from edgecell.progress import Progress

RISING = 0.5
"""Share of the steps in which sparsity rises; in the rest the zeros stay where they are."""

_UPDATES = 20
_PREFIX = "prune_low_magnitude_"
_tfmot: Any = tfmot.sparsity.keras  # made at import time, mypy sees nothing in it


@dataclass(frozen=True)
class Slimmed:
    """A finished pruning or clustering: the reference's architecture with other weights (float)."""

    model: keras.Model
    progression: Progression
    facts: dict[str, Any]


@dataclass
class Pruned:
    """The student of pruning: TFMOT's wrappers around the kernels, pixels in, probabilities out."""

    model: keras.Model
    last_update: int
    title = Title("prune", "pruning", "--prune-learning-rate")

    def enter(self, pixels: tf.Tensor) -> tf.Tensor:
        """As they are: the scaling is in the model."""
        return pixels

    def settle(self, frozen: bool) -> None:
        """Put the zeros back that the update moved; frozen, TFMOT's wrapper does not count steps."""
        for layer in self._wrappers():
            if frozen:
                layer.pruning_step.assign_add(1)
                layer.pruning_obj.conditional_mask_update()
            layer.pruning_obj.weight_mask_op()

    def measure(self, judge: Judge) -> dict[str, float]:
        """Figures of the pruned float model, and the share of zeros in what is pruned."""
        found = judge.ask(predictor(self.model))
        values = np.concatenate([layer.layer.kernel.numpy().ravel() for layer in self._wrappers()])
        return judge.figures(found) | {"sparsity": float((values == 0).mean())}

    def ready(self) -> bool:
        """Once sparsity has risen to what was asked for."""
        return all(int(layer.pruning_step) >= self.last_update for layer in self._wrappers())

    def _wrappers(self) -> list[Any]:
        return [layer for layer in self.model.layers if layer.name.startswith(_PREFIX)]


def prune(
    reference: keras.Model,
    lesson: Lesson,
    settings: PruneConfig,
    checkpoint: Checkpoint,
    key: str,
    progress: Progress,
) -> Slimmed:
    """Make a share ``settings.sparsity`` of each prunable kernel zero and train it meanwhile.

    Raises:
        ConvertError: no layer that can be pruned, or a model inside the model.
        Otherwise as :func:`converters.fine_tuning.tune`.
    """
    steps = settings.epochs * steps_per_epoch(lesson.train, settings.batch_size)
    rising = max(1, int(RISING * steps))
    frequency = max(1, rising // _UPDATES)
    last = frequency * (rising // frequency)
    schedule = _tfmot.PolynomialDecay(0.0, settings.sparsity, 0, last, frequency=frequency)
    model = wrapped(
        reference, lambda layer: _tfmot.prune_low_magnitude(layer, pruning_schedule=schedule)
    )
    counter = _tfmot.UpdatePruningStep()
    counter.set_model(model)
    counter.on_train_begin()
    student = Pruned(model, last)
    progression, facts = tune(student, reference, lesson, settings, checkpoint, key, progress)
    slim = keras.models.clone_model(reference)
    slim.set_weights(_tfmot.strip_pruning(model).get_weights())
    return Slimmed(slim, progression, facts)
