"""The bundle of a toy, with the samples that a test asks for, without a run around it; ways to spoil it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import toys
from conftest import Pictures

from edgecell.bundle import golden, manifest, writer
from edgecell.data.types import Split
from edgecell.disk import atomic_write_bytes, atomic_write_json, atomic_write_text
from edgecell.preprocess import PreprocessSpec
from edgecell.record import seal
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_CLASS, TASKS


def make_bundle(
    folder: Path,
    targets: Sequence[str],
    precision: str = "int8",
    input_type: str | None = None,
    *,
    labels: tuple[str, ...] = toys.CLASSES,
    fit: str = "stretch",
    fraction: float = 1.0,
    verdict: str = "passed",
    task: str = MULTI_CLASS,
    decision: Mapping[str, Any] | None = None,
) -> Path:
    """A bundle with 28 images of the toy's and four of odd shapes; ``decision`` is merged into its card's."""
    data = toys.converted(precision, input_type)
    predictor = TFLitePredictor(data, name="toy.tflite")
    subject = manifest.Subject(
        name="toy",
        source=data,
        predictor=predictor,
        spec=PreprocessSpec(toys.SIZE, toys.SIZE, fit, central_fraction=fraction),
        labels=labels,
        task=TASKS[task],
        verdict=verdict,
        precision=precision,
        calibration=None,
        records={},
        record_hashes={},
    )
    images, classes = toys.images(60, seed=4)
    split = Split("val", Pictures(images), classes)
    with writer.fresh_folder(folder) as scratch:
        model = manifest.model_json(subject, golden.COUNT)
        manifest.shipped(model, data)
        model["decision"] |= decision or {}
        atomic_write_bytes(scratch / "model.tflite", data)
        threshold = model["decision"]["abstention"]["threshold"]
        chosen = golden.gather(predictor, subject.spec, split, threshold)
        golden.write(scratch / "golden", chosen, predictor, subject.spec, labels, {})
        writer.add_samples(scratch, targets, model)
        atomic_write_text(scratch / "labels.txt", "\n".join(labels) + "\n")
        model["files"] = writer.file_hashes(scratch)
        model["seal"] = seal(model)
        atomic_write_json(scratch / "model.json", model)
    return folder


def weight_at(data: bytes, position: float = 0.0) -> int:
    """Where in a .tflite a weight of its first convolution lies; ``position`` from 0 to below 1."""
    file = TFLitePredictor(data).file
    kernel = next(op for op in file.operators if op.name == "CONV_2D").inputs[1]
    weights = bytes(file.constant(kernel).tobytes())
    return data.index(weights) + int(position * len(weights))
