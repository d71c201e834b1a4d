"""A .tflite file of unknown origin: what its metadata and its graph tell, and what has to be assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecell.graph import last_operator
from edgecell.pixels import Normalization
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_CLASS, MULTI_LABEL
from edgecell.tflite_metadata import Metadata, read


@dataclass(frozen=True)
class Told:
    """What the metadata say: the labels of the outputs, and how pixels are to be scaled."""

    labels: tuple[str, ...] | None = None
    normalization: Normalization | None = None


@dataclass(frozen=True)
class Guess:
    """Labels, task and whether the outputs are logits; ``notes`` say what was assumed."""

    labels: tuple[str, ...]
    task: str
    logits: bool
    notes: tuple[str, ...]


def told_by(data: bytes, name: str) -> Told:
    """What a file's TFLite Metadata say.

    Raises:
        ArtifactError: no TFLite file, or damaged metadata.
    """
    metadata = read(data, name)
    if metadata is None:
        return Told()
    graph = (metadata.model.get("subgraph_metadata") or [{}])[0]
    [entry, leave] = [
        (graph.get(f"{side}_tensor_metadata") or [{}])[0] for side in ("input", "output")
    ]
    return Told(_labels(metadata, leave), _normalization(entry))


def guess(predictor: TFLitePredictor, told: Told) -> Guess:
    """How to read the answers of a file without a run."""
    count, notes = predictor.class_count, []
    labels = told.labels
    if labels is not None and len(labels) != count:
        notes.append(f"its metadata name {len(labels)} labels for {count} outputs; not used")
        labels = None
    if labels is None:
        notes.append(
            f"{predictor.name} belongs to no run and names no labels: classes are numbered"
        )
        labels = tuple(f"class {i}" for i in range(count))
    pixels = np.arange(256, dtype=np.uint8)
    if told.normalization is None and np.array_equal(predictor.entry(pixels), pixels):
        notes.append("how pixels are scaled is not said: they enter as 0 to 255")
    height, width = predictor.image_size
    notes.append(f"the whole image is resized to {width} × {height}, bilinear with antialias")
    task, logits, said = _head(predictor)
    return Guess(labels, task, logits, (*notes, *said))


def _labels(metadata: Metadata, leave: dict[str, Any]) -> tuple[str, ...] | None:
    """The lines of the label file; of several languages the one that is said to be of none."""
    files = [
        file
        for file in leave.get("associated_files", [])
        if file.get("type") == "TENSOR_AXIS_LABELS" and file.get("name") in metadata.files
    ]
    if not files:
        return None
    chosen = next((file for file in files if not file.get("locale")), files[0])
    lines = metadata.files[chosen["name"]].decode("utf-8", "replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)


def _normalization(entry: dict[str, Any]) -> Normalization | None:
    for unit in entry.get("process_units", []):
        options = unit.get("options", {})
        mean, std = options.get("mean", []), options.get("std", [])
        usable = len(mean) in (1, 3) and len(std) in (1, 3) and 0.0 not in std
        if usable and all(map(math.isfinite, (*mean, *std))):
            return tuple(mean), tuple(std)
    return None


def _head(predictor: TFLitePredictor) -> tuple[str, bool, tuple[str, ...]]:
    """The task, whether outputs are logits, and what to say of it, by the graph's last operator."""
    name = last_operator(predictor.file)
    if name == "SOFTMAX":
        return MULTI_CLASS, False, ()
    if name == "LOGISTIC":
        return (
            MULTI_LABEL,
            False,
            ("it ends with a sigmoid: each label is decided by itself, at 0.5",),
        )
    return MULTI_CLASS, True, (f"it ends with {name}: a softmax was applied to its outputs",)
