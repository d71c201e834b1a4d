"""Whether the bytes of a .tflite file hold together, before anything native follows an offset in them.

The runtime maps the file and trusts it. Here every table, vector, string and index is looked at first:
all within the file, every operator of every graph of tensors that exist, read after they were written,
constants of the size that their shape says, graphs that call no graph that calls them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgecell.tflite_tables import TABLES, UNIONS, names_of, options_table

MOST_ELEMENTS = 2**31 - 1
MOST_DIMENSIONS = 32
_BITS = {
    **dict.fromkeys(("FLOAT64", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT32", "INT32", "UINT32"), 32),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL"), 8),
    "COMPLEX128": 128,
    "INT4": 4,
    "UINT4": 4,
    "INT2": 2,
}
_TYPES = names_of(schema.TensorType)
_NAMES = names_of(schema.BuiltinOperator)
# Operators that we look into ourselves: how many inputs, the first of them there, they need.
_LEAST_INPUTS = {
    **dict.fromkeys(("DEQUANTIZE", "QUANTIZE", "DENSIFY", "RESHAPE", "SQUEEZE"), 1),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"), 2),
}
# Options with the number of another graph of the file.
_CALLS: dict[str, tuple[str, ...]] = {
    "IfOptions": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "WhileOptions": ("CondSubgraphIndex", "BodySubgraphIndex"),
    "CallOnceOptions": ("InitSubgraphIndex",),
    "CallOptions": ("Subgraph",),
    "StableHLOCompositeOptions": ("DecompositionSubgraphIndex",),
    "StablehloReduceOptions": ("BodySubgraphIndex",),
    "StablehloReduceWindowOptions": ("BodySubgraphIndex",),
    "StablehloScatterOptions": ("UpdateComputationSubgraphIndex",),
    "StablehloSortOptions": ("ComparatorSubgraphIndex",),
    "StablehloWhileOptions": ("CondSubgraphIndex", "BodySubgraphIndex"),
    "StablehloCaseOptions": (),
}


def check(data: bytes) -> None:
    """Look at all of a .tflite flatbuffer.

    Raises:
        ValueError: it does not hold together; struct.error, IndexError and the like never.
    """
    _Walk(data).root()
    _check_model(schema.Model.GetRootAs(data, 0), data)


class _Walk:
    """Follows every offset of the flatbuffer once; what several share is counted each time."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        # Vectors do not overlap in a file that somebody wrote, but for names and shapes that were written
        # once; a small file in which they do can stand for more than the memory holds.
        self.left = 8 * len(data) + (1 << 20)

    def root(self) -> None:
        self._table(self._target(0), "Model")

    def _target(self, at: int) -> int:
        """Where the offset at ``at`` leads."""
        if at + 4 > self.size:
            raise ValueError(f"an offset at byte {at} of {self.size}")
        (offset,) = struct.unpack_from("<I", self.data, at)
        if offset < 4 or at + offset + 4 > self.size:
            raise ValueError(f"the offset at byte {at} leads to {at + offset} of {self.size}")
        return int(at + offset)

    def _table(self, at: int, name: str) -> None:
        (back,) = struct.unpack_from("<i", self.data, at)
        start = at - back
        if not 0 <= start <= self.size - 4:
            raise ValueError(f"a table at byte {at} is described at {start} of {self.size}")
        length, inline = struct.unpack_from("<HH", self.data, start)
        if length < 4 or length % 2 or start + length > self.size:
            raise ValueError(f"the description at byte {start} has {length} bytes")
        if inline < 4 or at + inline > self.size:
            raise ValueError(f"the table at byte {at} has {inline} bytes, the file ends before")
        self._spend(inline)
        fields = struct.unpack_from(f"<{(length - 4) // 2}H", self.data, start + 4)
        known = TABLES.get(name, {})
        for slot, offset in enumerate(fields):
            if offset == 0:
                continue
            kind = known.get(slot, 1)
            width = kind if isinstance(kind, int) else 4
            if offset < 4 or offset + width > inline:
                raise ValueError(f"field {slot} of a {name} is outside of its table")
            if not isinstance(kind, int):
                self._field(at + offset, kind, self._member(at, fields, slot, kind))

    def _member(self, at: int, fields: tuple[int, ...], slot: int, kind: str) -> str:
        """The table that a union holds here, told by the field before it."""
        if not kind.startswith("union "):
            return ""
        number = self.data[at + fields[slot - 1]] if fields[slot - 1] else 0
        union = kind.removeprefix("union ")
        if union in UNIONS:
            return UNIONS[union].get(number, "")
        return options_table(union, number)

    def _field(self, at: int, kind: str, member: str) -> None:
        target = self._target(at)
        if kind.startswith("union "):
            self._table(target, member)
        elif kind.startswith("table "):
            self._table(target, kind.removeprefix("table "))
        elif kind.startswith("tables "):
            for i in range(self._vector(target, 4)):
                self._table(self._target(target + 4 + 4 * i), kind.removeprefix("tables "))
        elif kind == "string":
            count = self._vector(target, 1)
            if target + 4 + count >= self.size or self.data[target + 4 + count] != 0:
                raise ValueError(f"the text at byte {target} has no end")
        else:
            self._vector(target, int(kind.removeprefix("vector ")))

    def _vector(self, at: int, width: int) -> int:
        (count,) = struct.unpack_from("<I", self.data, at)
        if at + 4 + count * width > self.size:
            raise ValueError(f"a list of {count} entries at byte {at} of {self.size}")
        self._spend(4 + count * width)
        return int(count)

    def _spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise ValueError("its parts overlap: it stands for many times its size")


def _check_model(model: Any, data: bytes) -> None:
    if model.ExternalBufferGroupsLength() or model.ExternalBuffersLength():
        raise ValueError("some of its constants lie in other files")
    count, buffers = model.SubgraphsLength(), model.BuffersLength()
    if count < 1:
        raise ValueError("it has no graph")
    for i in range(model.MetadataLength()):
        _index(model.Metadata(i).Buffer(), buffers, "metadata", "buffer")
    for i in range(model.MetadataBufferLength()):
        _index(model.MetadataBuffer(i), buffers, "metadata", "buffer")
    sizes = [_buffer_size(model.Buffers(i), data) for i in range(buffers)]
    calls: dict[int, set[int]] = {}
    for number in range(count):
        graph = model.Subgraphs(number)
        _check_tensors(graph, sizes)
        _check_operators(model, graph, sizes)
        calls[number] = set(_called(graph, count))
    _check_calls(calls)
    for i in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(i)
        _index(signature.SubgraphIndex(), count, "a signature", "graph")
        tensors = model.Subgraphs(signature.SubgraphIndex()).TensorsLength()
        for k in range(signature.InputsLength()):
            _index(signature.Inputs(k).TensorIndex(), tensors, "a signature", "tensor")
        for k in range(signature.OutputsLength()):
            _index(signature.Outputs(k).TensorIndex(), tensors, "a signature", "tensor")


def _index(number: int, count: int, who: str, what: str) -> None:
    if not 0 <= number < count:
        raise ValueError(f"{who} names {what} {number} of {count}")


def _buffer_size(buffer: Any, data: bytes) -> int:
    """Bytes of a constant: in the flatbuffer, or, of files above 2 GB, behind it."""
    if buffer.DataLength():
        return int(buffer.DataLength())
    if buffer.Size() <= 1:
        return 0
    if buffer.Offset() + buffer.Size() > len(data):
        end = buffer.Offset() + buffer.Size()
        raise ValueError(f"a constant ends at byte {end}, the file is cut off")
    return int(buffer.Size())


def _check_tensors(graph: Any, sizes: list[int]) -> None:
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        _index(tensor.Buffer(), len(sizes), f"tensor {i}", "buffer")
        kind = _TYPES.get(tensor.Type())
        if kind is None:
            raise ValueError(f"tensor {i} is of type {tensor.Type()}, which is none")
        if tensor.ShapeLength() > MOST_DIMENSIONS:
            raise ValueError(f"tensor {i} has {tensor.ShapeLength()} dimensions")
        shape = [tensor.Shape(k) for k in range(tensor.ShapeLength())]
        elements = math.prod(shape)
        if any(length < 0 for length in shape) or elements > MOST_ELEMENTS:
            raise ValueError(f"tensor {i} has the shape {shape}")
        stored = sizes[tensor.Buffer()]
        if stored and kind in _BITS and tensor.Sparsity() is None:
            needed = (elements * _BITS[kind] + 7) // 8
            if stored != needed:
                raise ValueError(f"tensor {i} needs {needed} bytes and has {stored}")
        _check_quantization(i, tensor, shape)


def _check_quantization(i: int, tensor: Any, shape: list[int]) -> None:
    told = tensor.Quantization()
    if told is None:
        return
    scales, zeros = told.ScaleLength(), told.ZeroPointLength()
    if not all(math.isfinite(told.Scale(k)) for k in range(scales)):
        raise ValueError(f"tensor {i} has a scale that is no number")
    if zeros not in (0, 1, scales):
        raise ValueError(f"tensor {i} has {scales} scales and {zeros} zero points")
    if scales > 1:
        axis = told.QuantizedDimension()
        if not 0 <= axis < len(shape) or shape[axis] != scales:
            raise ValueError(f"tensor {i} has {scales} scales for axis {axis} of {shape}")


def _check_operators(model: Any, graph: Any, sizes: list[int]) -> None:
    count = graph.TensorsLength()
    inputs = [graph.Inputs(i) for i in range(graph.InputsLength())]
    for number in inputs:
        _index(number, count, "the graph's input", "tensor")
    fixed = {i for i in range(count) if sizes[graph.Tensors(i).Buffer()]}
    if fixed & set(inputs):
        raise ValueError(f"its input {min(fixed & set(inputs))} is a constant")
    known = fixed | set(inputs)
    written: set[int] = set()
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        _index(operator.OpcodeIndex(), model.OperatorCodesLength(), f"operator {i}", "code")
        reads = [operator.Inputs(k) for k in range(operator.InputsLength())]
        writes = [operator.Outputs(k) for k in range(operator.OutputsLength())]
        between = [operator.Intermediates(k) for k in range(operator.IntermediatesLength())]
        for number in (*(r for r in (*reads, *between) if r != -1), *writes):
            _index(number, count, f"operator {i}", "tensor")
        for number in reads:
            if number != -1 and number not in known and not _needs_no_writer(graph.Tensors(number)):
                raise ValueError(f"operator {i} reads tensor {number} before it is written")
        for number in writes:
            if number in known or number in written:
                raise ValueError(f"operator {i} writes tensor {number}, which is not its own")
            written.add(number)
        known |= written
        _check_least(i, _name(model.OperatorCodes(operator.OpcodeIndex())), reads, writes)
        _check_custom(i, operator)
    for k in range(graph.OutputsLength()):
        _index(graph.Outputs(k), count, "the graph's output", "tensor")


def _needs_no_writer(tensor: Any) -> bool:
    """A variable keeps its value from before; a tensor without elements has none."""
    shape = [tensor.Shape(k) for k in range(tensor.ShapeLength())]
    return bool(tensor.IsVariable()) or 0 in shape


def _name(code: Any) -> str:
    return _NAMES.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "")


def _check_least(i: int, name: str, reads: list[int], writes: list[int]) -> None:
    least = _LEAST_INPUTS.get(name, 0)
    if least and (len(reads) < least or -1 in reads[:least] or not writes):
        raise ValueError(f"operator {i}, {name}, has {len(reads)} inputs and {len(writes)} outputs")


def _check_custom(i: int, operator: Any) -> None:
    if operator.LargeCustomOptionsOffset() > 1 or operator.LargeCustomOptionsSize() > 1:
        raise ValueError(f"operator {i} has options behind the flatbuffer")


def _called(graph: Any, count: int) -> Iterator[int]:
    """The other graphs that operators of this one run."""
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        for name, options in (
            (
                options_table("BuiltinOptions", operator.BuiltinOptionsType()),
                operator.BuiltinOptions(),
            ),
            (
                options_table("BuiltinOptions2", operator.BuiltinOptions2Type()),
                operator.BuiltinOptions2(),
            ),
        ):
            if options is None or name not in _CALLS:
                continue
            table = getattr(schema, name)()
            table.Init(options.Bytes, options.Pos)
            numbers = [getattr(table, field)() for field in _CALLS[name]]
            if name == "StablehloCaseOptions":
                numbers = [
                    table.BranchSubgraphIndices(k)
                    for k in range(table.BranchSubgraphIndicesLength())
                ]
            for number in numbers:
                _index(number, count, f"operator {i}", "graph")
                yield number


def _check_calls(calls: dict[int, set[int]]) -> None:
    """Graphs that run one another in a ring would do so until the stack is full."""
    left = {number: set(called) for number, called in calls.items()}
    while left:
        done = {number for number, called in left.items() if not called & left.keys()}
        if not done:
            raise ValueError(f"its graphs {sorted(left)} call one another in a ring")
        left = {number: called for number, called in left.items() if number not in done}
