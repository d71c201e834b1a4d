"""Change the constants of a flatbuffer: weights, biases, their scales. Nothing else in the file moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgecell import tflite_file
from edgecell.errors import ConvertError


def replace_constants(
    flatbuffer: bytes,
    values: Mapping[int, NDArray[Any]],
    scales: Mapping[int, NDArray[np.float64]] | None = None,
) -> bytes:
    """The same graph with other values in the named tensors (index → array), on other ``scales``.

    A buffer that several tensors share is split first: only the named tensor changes.

    Raises:
        ConvertError: a tensor that is no constant, another shape or element type.
    """
    file = tflite_file.parse(flatbuffer)
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    tensors = model.subgraphs[0].tensors
    for index, value in values.items():
        old = file.constant(index)
        if old.shape != value.shape or old.dtype != value.dtype:
            raise ConvertError(
                f"constant '{file.tensors[index].name}' is {old.dtype} {old.shape};"
                f" {value.dtype} {value.shape} cannot take its place"
            )
        _put(model, index, value)
    for index, steps in (scales or {}).items():
        tensors[index].quantization.scale = steps.astype(np.float32)
    return pack(model)


def resize_constants(
    flatbuffer: bytes, values: Mapping[int, NDArray[np.float32]], channels: Mapping[int, int]
) -> bytes:
    """The same graph with float constants (index → array) that may have another shape.

    ``channels`` (index → last axis) says how wide the activations become that they make.
    """
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    tensors = model.subgraphs[0].tensors
    for index, value in values.items():
        _put(model, index, value)
        tensors[index].shape = np.array(value.shape, np.int32)
    for index, width in channels.items():
        for attribute in ("shape", "shapeSignature"):
            shape = getattr(tensors[index], attribute)
            if shape is not None and len(shape):
                setattr(tensors[index], attribute, np.array([*shape[:-1], width], np.int32))
    return pack(model)


def _put(model: schema.ModelT, index: int, value: NDArray[Any]) -> None:
    """A new buffer for a tensor, in the place of its old one unless others share that."""
    tensors = model.subgraphs[0].tensors
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    shared = sum(tensor.buffer == tensors[index].buffer for tensor in tensors) > 1
    if shared:
        model.buffers.append(buffer)
        tensors[index].buffer = len(model.buffers) - 1
    else:
        model.buffers[tensors[index].buffer] = buffer


def pack(model: schema.ModelT) -> bytes:
    """The bytes of an unpacked model."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
