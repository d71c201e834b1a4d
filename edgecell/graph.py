"""What the operators of a .tflite file are there for: counts, work, and those that are waste."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from edgecell.tflite_file import Operator, TFLiteFile

# Position of the weights among the inputs.
WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
_PLAIN = frozenset(WEIGHTED) | {
    *("ADD", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "SOFTMAX"),
}
_ARITHMETIC = ("MUL", "ADD", "SUB", "DIV")
_CASTS = ("QUANTIZE", "DEQUANTIZE")
_MOVES = ("PAD", "PADV2", "RESHAPE")
# What may stand between the activation and the output.
_TRANSPARENT = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")
_FORMS = {"SOFTMAX": False, "LOGISTIC": True}
_BITS = {
    **{"FLOAT64": 64, "INT64": 64, "UINT64": 64, "COMPLEX64": 64},
    **{"FLOAT32": 32, "INT32": 32, "UINT32": 32},
    **{"FLOAT16": 16, "BFLOAT16": 16, "INT16": 16, "UINT16": 16},
    **{"INT8": 8, "UINT8": 8, "BOOL": 8, "INT4": 4, "UINT4": 4, "INT2": 2},
}


@dataclass(frozen=True)
class Work:
    """What one operator has to do: multiply-accumulates, bytes of constants, bytes in and out."""

    macs: int
    constant_bytes: int
    activation_bytes: int


def last_operator(file: TFLiteFile) -> str:
    """What makes the answer, before casts and reshapes: `SOFTMAX`, `LOGISTIC`; "its input" without one."""
    last = file.producer(file.outputs[0])
    while last is not None and last.name in _TRANSPARENT:
        last = file.producer(last.inputs[0])
    return last.name if last else "its input"


def decides_labels(file: TFLiteFile) -> bool | None:
    """Whether a file ends in a sigmoid, each label by itself, or in a softmax; None where in neither."""
    return _FORMS.get(last_operator(file))


def working(file: TFLiteFile) -> list[Operator]:
    """The operators that run at every inference.

    Float16 weights are made float32 by a DEQUANTIZE each, which is done once, when the file is opened.
    """
    return [
        op
        for op in file.operators
        if not (op.name == "DEQUANTIZE" and file.tensors[op.inputs[0]].constant)
    ]


def other_operators(file: TFLiteFile) -> dict[str, int]:
    """Working operators that are not convolution, add, pooling, dense or softmax, by name."""
    found = Counter(op.name for op in working(file) if op.name not in _PLAIN)
    scaling = Counter(op.name for op in scaling_operators(file) if op.name in _PLAIN)
    return dict((found + scaling).most_common())


def stray_operators(file: TFLiteFile) -> dict[str, int]:
    """Working operators that an integer file can do without, by name.

    Arithmetic that scales the input (its scale and zero point do that for nothing), PAD (a convolution
    pads by itself), RESHAPE, and a change of type that is not that of the input or the output.
    """
    found = Counter(op.name for op in scaling_operators(file))
    for op in working(file):
        port = set(op.inputs) & set(file.inputs) or set(op.outputs) & set(file.outputs)
        if op.name in _MOVES or (op.name in _CASTS and not port):
            found[op.name] += 1
    return dict(found.most_common())


def enlarging_operators(file: TFLiteFile) -> list[Operator]:
    """The RESIZE_BILINEAR operators that bring the input to the network's size, in order."""
    found: list[Operator] = []
    here = file.inputs[0] if len(file.inputs) == 1 else -1
    while len(readers := file.consumers(here)) == 1 and here >= 0:
        [op] = readers
        if op.name == "RESIZE_BILINEAR":
            found.append(op)
        elif op.name not in _CASTS:
            break
        here = op.outputs[0]
    return found


def scaling_operators(file: TFLiteFile) -> Iterator[Operator]:
    """Elementwise arithmetic with a constant between the input and the first other operator."""
    frontier, seen = list(file.inputs), set()
    while frontier:
        for op in file.consumers(frontier.pop()):
            if op.index in seen:
                continue
            seen.add(op.index)
            if op.name in _CASTS or op.name == "RESIZE_BILINEAR":
                frontier.extend(op.outputs)
            elif op.name in _ARITHMETIC and any(_is_constant(file, i) for i in op.inputs if i >= 0):
                yield op
                frontier.extend(op.outputs)


def work(file: TFLiteFile, op: Operator) -> Work:
    """Counted from shapes and types; nothing is run.

    Multiply-accumulates are those of convolution and dense layers: output values times the weights
    behind each. Other operators have none.
    """
    inputs = [file.tensors[i] for i in op.inputs if i >= 0]
    outputs = [file.tensors[i] for i in op.outputs]
    macs = 0
    if op.name in WEIGHTED:
        weights = file.tensors[op.inputs[WEIGHTED[op.name]]].shape
        # (1, kh, kw, out) in a depthwise layer, (out, …) in the others
        behind = prod(weights[:3]) if op.name == "DEPTHWISE_CONV_2D" else prod(weights[1:])
        macs = prod(outputs[0].shape) * behind
    return Work(
        macs,
        sum(_size(t.shape, t.dtype) for t in inputs if _is_constant(file, t.index)),
        sum(_size(t.shape, t.dtype) for t in inputs if not _is_constant(file, t.index))
        + sum(_size(t.shape, t.dtype) for t in outputs),
    )


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return prod(shape) * _BITS.get(dtype, 0) // 8


def _is_constant(file: TFLiteFile, index: int) -> bool:
    writer = file.producer(index)
    if writer is not None and writer.name == "DEQUANTIZE":
        return file.tensors[writer.inputs[0]].constant
    return file.tensors[index].constant
