"""Quantization-aware training: a trained float model in, the same model at ease with int8 out.

After each epoch the int8 file itself is written and judged on val.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from converters.fake_quant import Twin, build_twin
from converters.fine_tuning import Judge, Lesson, Title, predictor, tune
from converters.lowering import CalibratedModel, quantize_int8
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import QatConfig
from edgecell.progress import Progress
from edgecell.runtime import TFLitePredictor


@dataclass(frozen=True)
class Tuned:
    """A finished quantization-aware training.

    ``model`` is the float architecture with the tuned weights, ``calibrated`` the flatbuffer that
    carries the tuned ranges, ``facts`` figures on val for the record.
    """

    model: keras.Model
    calibrated: CalibratedModel
    progression: Progression
    facts: dict[str, Any]


@dataclass(frozen=True)
class Rounded:
    """The student of quantization-aware training: a fake-quantized twin, judged by its int8 file."""

    twin: Twin
    title = Title("qat", "quantization-aware training", "--qat-learning-rate")

    @property
    def model(self) -> keras.Model:
        """Takes scaled pixels."""
        return self.twin.model

    def enter(self, pixels: tf.Tensor) -> tf.Tensor:
        """The scaling that an int8 file has in its input."""
        return pixels * self.twin.scaling.scale + self.twin.scaling.offset

    def settle(self, frozen: bool) -> None:
        """Ranges move in the forward pass; nothing is left to do."""

    def measure(self, judge: Judge) -> dict[str, float]:
        """Figures of the file that the twin becomes, and how far the twin is like it."""
        file = TFLitePredictor(quantize_int8(self.twin.calibrated()), name="the int8 file")
        found = judge.answers(file.predict)
        rounded = judge.answers(predictor(self.model, self.enter))
        return judge.figures(found) | {"twin_agreement": float((found == rounded).mean())}

    def ready(self) -> bool:
        """From the first epoch on."""
        return True


def fine_tune(
    reference: keras.Model,
    lesson: Lesson,
    settings: QatConfig,
    checkpoint: Checkpoint,
    key: str,
    progress: Progress,
) -> Tuned:
    """Train ``reference``'s fake-quantized twin and return it at its best epoch.

    Raises:
        ConvertError: a model that cannot be converted or whose layers cannot be matched.
        Otherwise as :func:`converters.fine_tuning.tune`.
    """
    twin = build_twin(reference, lesson.calibration)
    student = Rounded(twin)
    progression, facts = tune(student, reference, lesson, settings, checkpoint, key, progress)
    return Tuned(twin.tuned(), twin.calibrated(), progression, facts)
