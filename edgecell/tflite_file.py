"""What is written in a .tflite file: operators, tensors, element types, scales.

Reads the flatbuffer itself and runs nothing, so that a claim about a file ("int8, no float in it")
rests on its bytes. Every offset and length is checked before it is followed.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgecell.documents import DocumentError, check_regular, read_regular
from edgecell.errors import ArtifactError
from edgecell.tflite_check import check
from edgecell.tflite_tables import names_of

MOST_BYTES = 2**31 - 1
"""A flatbuffer's offsets reach no further."""
_IDENTIFIER = b"TFL3"
_DTYPES = names_of(schema.TensorType)
_OPERATORS = names_of(schema.BuiltinOperator)
_CHECKED: set[bytes] = set()
_SOMEDAY = 1000  # operators of a later schema have numbers below; a larger one is damage
_NUMPY: dict[str, str] = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "FLOAT64": "<f8",
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "BOOL": "?",
}

# What reading a damaged flatbuffer raises: offsets beyond the end (struct, index), lengths that
# numpy refuses (value, memory, overflow), a missing table read as None (type, attribute), names.
DAMAGE = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph.

    ``scales`` and ``zero_points`` are empty for a tensor that is not quantized, have length 1 per
    tensor, or one entry per slice of ``quantized_dimension``. ``constant`` tells weights and biases
    from activations; of a ``sparse`` one only the values that are not 0 are stored.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    constant: bool
    sparse: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator; ``inputs`` may hold -1 for an optional tensor that is not there."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TFLiteFile:
    """The main graph of a .tflite file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraph_count: int
    size_bytes: int
    _constants: dict[int, memoryview] = field(repr=False, compare=False, default_factory=dict)

    def operator_counts(self) -> dict[str, int]:
        """Operator name → how often it occurs, most frequent first."""
        return dict(Counter(op.name for op in self.operators).most_common())

    def dtype_counts(self) -> dict[str, int]:
        """Element type → number of tensors, most frequent first."""
        return dict(Counter(tensor.dtype for tensor in self.tensors).most_common())

    @cached_property
    def _readers(self) -> dict[int, list[int]]:
        """Tensor → places of the operators that read it, each once."""
        found: dict[int, list[int]] = {}
        for place, op in enumerate(self.operators):
            for index in dict.fromkeys(op.inputs):
                found.setdefault(index, []).append(place)
        return found

    @cached_property
    def _writers(self) -> dict[int, int]:
        """Tensor → place of the operator that writes it."""
        return {i: place for place, op in enumerate(self.operators) for i in op.outputs}

    def consumers(self, index: int) -> tuple[Operator, ...]:
        """The operators that read tensor ``index``."""
        return tuple(self.operators[i] for i in self._readers.get(index, ()))

    def producer(self, index: int) -> Operator | None:
        """The operator that writes tensor ``index``; None for an input or a constant."""
        found = self._writers.get(index)
        return None if found is None else self.operators[found]

    def constant(self, index: int) -> NDArray[Any]:
        """The stored values of a constant tensor, in its shape and element type.

        Raises:
            ArtifactError: not a constant, a sparse one, or an element type without a NumPy twin.
        """
        tensor = self.tensors[index]
        if not tensor.constant or tensor.sparse or tensor.dtype not in _NUMPY:
            raise ArtifactError(f"tensor '{tensor.name}' ({tensor.dtype}) holds no constant values")
        return np.frombuffer(self._constants[index], _NUMPY[tensor.dtype]).reshape(tensor.shape)

    def constant_bytes(self, index: int) -> int:
        """Stored bytes of a constant tensor; 0 where it is none."""
        return len(self._constants[index]) if index in self._constants else 0


def read(path: Path) -> TFLiteFile:
    """Parse the file at ``path``; ArtifactError as in :func:`read_bytes` and :func:`parse`."""
    return parse(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ArtifactError: missing or unreadable, a pipe or a device, or larger than MOST_BYTES.
    """
    with _told(path):
        return read_regular(path, MOST_BYTES)


def check_file(path: Path) -> None:
    """Refuse what has no end to be read to; ArtifactError as :func:`read_bytes`."""
    with _told(path):
        check_regular(path, MOST_BYTES)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactError(
            f"no model file at {path}; 'edgecell quantize' writes .tflite files"
        ) from error
    except IsADirectoryError as error:
        raise ArtifactError(
            f"cannot read {path}: it is a folder; give one .tflite file, such as RUN/quantize/X-int8.tflite"
        ) from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except DocumentError as error:
        raise ArtifactError(f"cannot read {path}: {error}; give one .tflite file") from error


def parse(data: bytes, name: str = "the model") -> TFLiteFile:
    """Parse a .tflite flatbuffer.

    Raises:
        ArtifactError: not a TFLite file, or a damaged one (cut off, offsets out of bounds).
    """
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise ArtifactError(
            f"{name} is not a TFLite file ({len(data)} bytes, no identifier 'TFL3' at byte 4);"
            " 'edgecell quantize' writes .tflite files"
        )
    try:
        _check_once(data)
        return _parse(data)
    except DAMAGE as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(
            f"{name} is a damaged TFLite file ({len(data)} bytes: {detail});"
            " get it again, or write it anew with 'edgecell quantize'"
        ) from error


def _check_once(data: bytes) -> None:
    # What a process opens again and again, and times, is looked at once.
    digest = hashlib.sha256(data).digest()
    if digest not in _CHECKED:
        check(data)
        _CHECKED.add(digest)


def _parse(data: bytes) -> TFLiteFile:
    model = schema.Model.GetRootAs(data, 0)
    limit = len(data)
    count = _bounded(model.SubgraphsLength(), limit, "subgraphs")
    if count < 1:
        raise ValueError("it has no graph")
    codes = [
        _operator_name(model.OperatorCodes(i))
        for i in range(_bounded(model.OperatorCodesLength(), limit, "operator codes"))
    ]
    buffers = [
        _buffer(model.Buffers(i), data)
        for i in range(_bounded(model.BuffersLength(), limit, "buffers"))
    ]
    graph = model.Subgraphs(0)
    tensors = []
    constants = {}
    for i in range(_bounded(graph.TensorsLength(), limit, "tensors")):
        raw = graph.Tensors(i)
        stored = buffers[raw.Buffer()]
        tensors.append(_tensor(i, raw, stored, limit))
        if stored is not None:
            constants[i] = stored
    operators = tuple(
        _operator(i, graph.Operators(i), codes, len(tensors), limit)
        for i in range(_bounded(graph.OperatorsLength(), limit, "operators"))
    )
    inputs = _indices(graph.InputsLength(), graph.Inputs, len(tensors), limit, "graph inputs")
    outputs = _indices(graph.OutputsLength(), graph.Outputs, len(tensors), limit, "graph outputs")
    return TFLiteFile(tuple(tensors), operators, inputs, outputs, count, limit, constants)


def _bounded(length: int, limit: int, what: str) -> int:
    """A count from the file; no list in it can have more entries than the file has bytes."""
    if not 0 <= length <= limit:
        raise ValueError(f"{length} {what} in {limit} bytes")
    return length


def _operator_name(code: Any) -> str:
    # Codes above 127 do not fit the first, one-byte field: the schema keeps both.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = _OPERATORS.get(number, f"BUILTIN:{number}") if number < _SOMEDAY else _OPERATORS[number]
    if name == "CUSTOM":
        custom = code.CustomCode()
        return f"CUSTOM:{custom.decode() if custom else '?'}"
    return name


def _buffer(buffer: Any, data: bytes) -> memoryview | None:
    length = buffer.DataLength()
    if length == 0:
        if buffer.Size() > 1:  # constants of files above 2 GB lie behind the flatbuffer
            return _slice(data, buffer.Offset(), buffer.Size())
        return None
    start = buffer._tab.Vector(buffer._tab.Offset(4))
    return _slice(data, start, length)


def _slice(data: bytes, start: int, length: int) -> memoryview:
    if start < 0 or length < 0 or start + length > len(data):
        raise ValueError(f"a constant ends at byte {start + length}, the file is cut off")
    return memoryview(data)[start : start + length]


def _tensor(index: int, raw: Any, stored: memoryview | None, limit: int) -> Tensor:
    shape = tuple(
        int(raw.Shape(i)) for i in range(_bounded(raw.ShapeLength(), limit, "dimensions"))
    )
    dtype = _DTYPES[raw.Type()]
    sparse = raw.Sparsity() is not None
    if stored is not None and dtype in _NUMPY and not sparse:
        expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(_NUMPY[dtype]).itemsize
        if expected != len(stored):
            raise ValueError(f"tensor {index} needs {expected} bytes and has {len(stored)}")
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    dimension = 0
    quantization = raw.Quantization()
    if quantization is not None:
        n_scales = _bounded(quantization.ScaleLength(), limit, "scales")
        n_zeros = _bounded(quantization.ZeroPointLength(), limit, "zero points")
        scales = tuple(float(quantization.Scale(i)) for i in range(n_scales))
        zero_points = tuple(int(quantization.ZeroPoint(i)) for i in range(n_zeros))
        dimension = int(quantization.QuantizedDimension())
    name = raw.Name()
    return Tensor(
        index,
        name.decode("utf-8") if name else "",
        dtype,
        shape,
        scales,
        zero_points,
        dimension,
        stored is not None,
        sparse,
    )


def _operator(index: int, raw: Any, codes: list[str], tensor_count: int, limit: int) -> Operator:
    inputs = _indices(raw.InputsLength(), raw.Inputs, tensor_count, limit, "operator inputs")
    outputs = _indices(raw.OutputsLength(), raw.Outputs, tensor_count, limit, "operator outputs")
    return Operator(index, codes[raw.OpcodeIndex()], inputs, outputs)


def _indices(
    length: int, read_one: Callable[[int], int], tensor_count: int, limit: int, what: str
) -> tuple[int, ...]:
    found = tuple(int(read_one(i)) for i in range(_bounded(length, limit, what)))
    for number in found:
        if not -1 <= number < tensor_count:
            raise ValueError(f"{what} name tensor {number} of {tensor_count}")
    return found
