"""Quantization-aware training: a trained float model in, the same model at ease with int8 out.

After each epoch the int8 file itself is written and judged on val. A pruned or clustered model keeps
its zeros and its shared values: TFMOT calls this collaborative optimization (PQAT, CQAT, PCQAT). Its
own schemes extend its own 8-bit scheme, which is not used here (see :mod:`converters.fake_quant`);
what they do to kernels, :meth:`converters.kept.Pattern.restore` does after each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
import tf_keras as keras

from converters.fake_quant import Twin, build_twin
from converters.fine_tuning import Judge, Lesson, Title, predictor, tune
from converters.kept import Pattern, patterns
from converters.lowering import CalibratedModel, quantize_int8
from converters.shared_scales import share_scales
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
    clustered: bool = False

    def int8(self, input_type: str = "uint8") -> bytes:
        """The int8 file; types as :func:`~converters.lowering.quantize_int8` has them."""
        return _file(self.calibrated, self.model, self.clustered, input_type)


@dataclass(frozen=True)
class Rounded:
    """The student of quantization-aware training: a fake-quantized twin, judged by its int8 file.

    ``kept``: by layer, which zeros and shared values of a kernel must outlive every step.
    """

    twin: Twin
    kept: Mapping[str, Pattern] = field(default_factory=dict)
    clustered: bool = False
    title = Title("qat", "quantization-aware training", "--qat-learning-rate")

    @property
    def model(self) -> keras.Model:
        """Takes scaled pixels."""
        return self.twin.model

    def enter(self, pixels: tf.Tensor) -> tf.Tensor:
        """The scaling that an int8 file has in its input."""
        return pixels * self.twin.scaling.scale + self.twin.scaling.offset

    def settle(self, frozen: bool) -> None:
        """Ranges move in the forward pass; kernels go back to their zeros and shared values."""
        kernels = self.twin.kernels() if self.kept else {}
        for name, pattern in self.kept.items():
            pattern.restore(kernels[name])

    def measure(self, judge: Judge) -> dict[str, float]:
        """Figures of the file that the twin becomes, and how far the twin is like it."""
        data = _file(self.twin.calibrated(), self.twin.plain, self.clustered, "uint8")
        file = TFLitePredictor(data, name="the int8 file")
        found = judge.ask(file.predict)
        rounded = judge.ask(predictor(self.model, self.enter))
        return judge.figures(found) | {"twin_agreement": judge.agreement(found, rounded)}

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
    *,
    slim: keras.Model | None = None,
    clustered: bool = False,
) -> Tuned:
    """Train ``reference``'s fake-quantized twin and return it at its best epoch.

    ``slim`` is the reference pruned, or ``clustered``, or both: the twin is then its twin, and keeps
    the zeros and the shared values of its kernels. The reference stays the teacher and the judge.

    Raises:
        ConvertError: a model that cannot be converted or whose layers cannot be matched.
        Otherwise as :func:`converters.fine_tuning.tune`.
    """
    twin = build_twin(slim or reference, lesson.calibration, shared=clustered)
    kept = patterns(slim, clustered=clustered) if slim is not None else {}
    student = Rounded(twin, kept, clustered)
    progression, facts = tune(student, reference, lesson, settings, checkpoint, key, progress)
    return Tuned(twin.tuned(), twin.calibrated(), progression, facts, clustered)


def _file(
    calibrated: CalibratedModel, model: keras.Model, clustered: bool, input_type: str
) -> bytes:
    data = quantize_int8(calibrated, input_type)
    return share_scales(data, calibrated.flatbuffer, model) if clustered else data
