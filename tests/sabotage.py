"""Pipelines that are broken on purpose, each a mistake seen in the field.

``verify`` must refuse every one of them, and must pass the pipeline that they were made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecell.runtime import Predictor
from edgecell.tflite_file import parse


@dataclass
class Broken:
    """A predictor with something wrong before it (``spoil``) or behind it (``garble``)."""

    inner: Predictor
    name: str
    spoil: Callable[[np.ndarray], np.ndarray] = lambda images: images
    garble: Callable[[np.ndarray], np.ndarray] = lambda rows: rows

    def __post_init__(self) -> None:
        self.image_size = self.inner.image_size
        self.class_count = self.inner.class_count
        self.output_scale = self.inner.output_scale

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self.garble(self.inner.predict(self.spoil(images)))


def raw_int8_cast(inner: Predictor) -> Broken:
    """Bytes fed as int8 without taking off 128: pixel u is read as u + 128, modulo 256."""
    return Broken(inner, "raw int8 cast", spoil=lambda x: x ^ 128)


def bgr_for_rgb(inner: Predictor) -> Broken:
    return Broken(inner, "BGR for RGB", spoil=lambda x: np.ascontiguousarray(x[..., ::-1]))


def double_rescale(inner: Predictor) -> Broken:
    """Scaled to -1..1 by the app and again by the model: every pixel is 0 or 1 of 255."""
    return Broken(
        inner,
        "double rescale",
        spoil=lambda x: np.rint(((x.astype(np.float64) - 128) / 128).clip(0, 255)).astype(np.uint8),
    )


def rotated_labels(inner: Predictor) -> Broken:
    return Broken(inner, "rotated labels", garble=lambda p: np.roll(p, 1, axis=1))


def _first_class(rows: np.ndarray) -> np.ndarray:
    out = np.zeros_like(rows)
    out[:, 0] = 1.0
    return out


def constant_class(inner: Predictor) -> Broken:
    return Broken(inner, "constant class", garble=_first_class)


PIPELINES = (raw_int8_cast, bgr_for_rgb, double_rescale, rotated_labels, constant_class)


def with_class_broken(model: bytes, index: int) -> bytes:
    """The same file with one class that is never predicted: its structure stays perfect.

    The pooled features behind a ReLU6 are never negative, so weights of -127 keep its logit low.
    """
    dense = next(op for op in parse(model).operators if op.name == "FULLY_CONNECTED")
    content = schema.ModelT.InitFromPackedBuf(model, 0)
    tensor = content.subgraphs[0].tensors[dense.inputs[1]]
    weights = np.array(content.buffers[tensor.buffer].data, np.uint8).view(np.int8)
    rows = weights.reshape(tensor.shape).copy()
    rows[index] = -127
    content.buffers[tensor.buffer].data = rows.reshape(-1).view(np.uint8)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())
