"""What a written .tflite file is, judged by its bytes, against what its name says it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from converters.resizing import Size, resize_violations
from converters.scaling import EDGECELL, InputScaling
from edgecell.errors import ConvertError
from edgecell.graph import (
    enlarging_operators,
    other_operators,
    scaling_operators,
    stray_operators,
)
from edgecell.tflite_file import Operator, Tensor, TFLiteFile, parse

# Weighted operators: position of the weights, of the bias, and the dimension of output channels.
_WEIGHTED = {
    "CONV_2D": (1, 2, 0),
    "DEPTHWISE_CONV_2D": (1, 2, 3),
    "FULLY_CONNECTED": (1, 2, 0),
}
_EXPECTED = frozenset(_WEIGHTED) | {
    *("ADD", "MUL", "PAD", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "SOFTMAX"),
    *("LOGISTIC", "HARD_SWISH", "QUANTIZE", "DEQUANTIZE"),
}
_FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16")
# One float32 rounding of a scale: 2^-24 relative; the rest is slack for a nudged zero point.
_SCALE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Port:
    """The input or output tensor; scale and zero point are None where it is float."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class AuditReport:
    """What the file holds, and in ``violations`` one line for each way it is not what it claims.

    ``hygiene`` counts operators that cost time for nothing when they are avoidable; ``others`` are all
    that are not convolution, add, pooling, dense or softmax, ``stray`` those an integer file can do
    without, both by name.
    """

    precision: str
    input_type: str
    size_bytes: int
    operators: dict[str, int]
    dtypes: dict[str, int]
    input: Port
    output: Port
    hygiene: dict[str, int]
    others: dict[str, int]
    stray: dict[str, int]
    violations: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """No violations."""
        return not self.violations

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        return asdict(self) | {"violations": list(self.violations), "passed": self.passed}


def audit(
    model: bytes,
    precision: str,
    input_type: str | None = None,
    *,
    scaling: InputScaling = EDGECELL,
    source_size: Size | None = None,
    name: str = "the model",
) -> AuditReport:
    """Open the bytes of a file and hold them against ``precision`` and ``input_type``.

    ``input_type`` None takes the precision's default (uint8 for int8 and mixed, else float32). ``scaling`` is
    the pixel scaling that an int8 input must express; edgecell's own models: scale 1/128 exactly.
    ``source_size`` (height, width) is that of the images which a file with a resize in it enlarges.

    Raises:
        ArtifactError: no TFLite file, or a damaged one. ConvertError: unknown precision.
    """
    checks = {
        "float32": _check_float32,
        "float16": _check_float16,
        "dynamic": _check_dynamic,
        "int8": _check_int8,
        "int16x8": _check_int16x8,
        "mixed": _check_mixed,
    }
    if precision not in checks:
        raise ConvertError(f"unknown precision '{precision}'; allowed: {', '.join(checks)}")
    input_type = input_type or ("uint8" if precision in ("int8", "mixed") else "float32")
    file = parse(model, name)
    violations = [*_check_shape(file), *checks[precision](file, input_type, scaling)]
    if source_size is not None:
        violations += resize_violations(model, source_size)
    return AuditReport(
        precision,
        input_type,
        file.size_bytes,
        file.operator_counts(),
        file.dtype_counts(),
        _port(file, file.inputs),
        _port(file, file.outputs),
        _hygiene(file),
        other_operators(file),
        stray_operators(file),
        tuple(violations),
    )


def require(report: AuditReport, name: str = "the file") -> None:
    """Raise ConvertError, naming the first violation and how many there are, unless it passed."""
    if report.violations:
        more = len(report.violations) - 1
        rest = f" and {more} more" if more else ""
        raise ConvertError(
            f"{name} is not {report.precision}: {report.violations[0]}{rest};"
            " convert it again with 'edgecell quantize'"
        )


def _check_shape(file: TFLiteFile) -> Iterator[str]:
    if file.subgraph_count != 1:
        yield f"{file.subgraph_count} graphs, allowed 1"
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        yield f"{len(file.inputs)} inputs and {len(file.outputs)} outputs, allowed 1 and 1"
        return
    entry = file.tensors[file.inputs[0]]
    if len(entry.shape) != 4 or entry.shape[0] != 1 or entry.shape[3] != 3:
        yield f"input shape {entry.shape}, allowed (1, H, W, 3)"
    for op in file.operators:
        if op.name.startswith(("CUSTOM", "FLEX")):
            yield f"operator {op.name} is not one of TFLite's own"


def _check_float32(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    yield from _ports_are(file, ("FLOAT32",))
    for tensor in file.tensors:
        if tensor.scales or tensor.dtype in ("FLOAT16", "INT8", "INT16"):
            yield f"tensor '{_short(tensor)}' is {tensor.dtype}, a float32 file holds float32 only"


def _check_float16(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    yield from _ports_are(file, ("FLOAT32",))
    for op, position, tensor in _stored(file):
        if tensor.dtype != "FLOAT16":
            what = "weights" if position == _WEIGHTED[op.name][0] else "bias"
            yield f"{what} of {op.name} {op.index} are {tensor.dtype}, allowed FLOAT16"
    yield from (f"tensor '{_short(t)}' is quantized to {t.dtype}" for t in file.tensors if t.scales)


def _check_dynamic(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    yield from _ports_are(file, ("FLOAT32",))
    quantized = 0
    for tensor in file.tensors:
        if tensor.scales and not tensor.constant:
            yield f"activation '{_short(tensor)}' is {tensor.dtype}, dynamic keeps them float32"
        quantized += tensor.constant and tensor.dtype == "INT8"
    if not quantized:
        yield "no weights in INT8: every layer is too small for dynamic-range quantization"


def _check_int8(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    yield from _check_integer(file, input_type, "INT8", "INT32")
    yield from _check_scales(file, input_type, scaling)
    yield from _check_no_scaling_operator(file)


def _check_int16x8(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    yield from _check_integer(file, input_type, "INT16", "INT64")
    for tensor in file.tensors:
        if tensor.dtype == "INT16" and any(tensor.zero_points):
            yield f"activation '{_short(tensor)}' has zero point {tensor.zero_points[0]}, allowed 0"
    yield from _check_no_scaling_operator(file)


def _check_mixed(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    """int8 as int8 is, float32 for the rest, and at least one weighted operator of either kind."""
    yield from _ports_are(file, (input_type.upper(),))
    yield from _check_scales(file, input_type, scaling)
    yield from _check_no_scaling_operator(file)
    ports = {*file.inputs, *file.outputs}
    kinds = {"INT8": 0, "FLOAT32": 0}
    for tensor in file.tensors:
        if not tensor.constant and tensor.index not in ports and tensor.dtype not in kinds:
            yield f"activation '{_short(tensor)}' is {tensor.dtype}, allowed INT8 or FLOAT32"
    for op in file.operators:
        if op.name not in _WEIGHTED:
            continue
        kind = file.tensors[op.outputs[0]].dtype
        kinds[kind] = kinds.get(kind, 0) + 1
        weights = file.tensors[op.inputs[_WEIGHTED[op.name][0]]]
        if kind == "INT8":
            yield from _check_weights(op, weights)
        elif weights.dtype != "FLOAT32":
            yield f"weights of {op.name} {op.index} are {weights.dtype} and its output {kind}"
    for kind, count in kinds.items():
        if not count:
            yield f"no convolution or dense operator in {kind}; mixed has both"


def _check_integer(
    file: TFLiteFile, input_type: str, activation: str, bias_type: str
) -> Iterator[str]:
    port_type = input_type.upper()
    yield from _ports_are(file, (port_type,))
    ports = {*file.inputs, *file.outputs}
    for tensor in file.tensors:
        at_port = tensor.index in ports and tensor.dtype == port_type
        if tensor.dtype in _FLOATS and not at_port:
            yield f"tensor '{_short(tensor)}' is {tensor.dtype}, allowed integers only"
        elif tensor.scales and not tensor.constant and not at_port and tensor.dtype != activation:
            yield f"activation '{_short(tensor)}' is {tensor.dtype}, allowed {activation}"
    for op in file.operators:
        touched = [i for i in (*op.inputs, *op.outputs) if i >= 0]
        if not any(file.tensors[i].dtype in _FLOATS for i in touched):
            continue
        entry = op.name == "QUANTIZE" and op.inputs[0] in file.inputs
        leave = op.name == "DEQUANTIZE" and op.outputs[0] in file.outputs
        if not (input_type == "float32" and (entry or leave)):
            yield f"operator {op.name} {op.index} computes in float"
    for op, position, tensor in _stored(file):
        if position == _WEIGHTED[op.name][0]:
            yield from _check_weights(op, tensor)
        elif tensor.dtype != bias_type:
            yield f"bias of {op.name} {op.index} is {tensor.dtype}, allowed {bias_type}"
    if not any(op.name in _WEIGHTED for op in file.operators):
        yield "no convolution or dense operator in it"


def _check_weights(op: Operator, tensor: Tensor) -> Iterator[str]:
    if tensor.dtype != "INT8":
        yield f"weights of {op.name} {op.index} are {tensor.dtype}, allowed INT8"
        return
    dimension = _WEIGHTED[op.name][2]
    channels = tensor.shape[dimension]
    if len(tensor.scales) != channels or (channels > 1 and tensor.quantized_dimension != dimension):
        yield (
            f"weights of {op.name} {op.index} have {len(tensor.scales)} scales along dimension"
            f" {tensor.quantized_dimension}, allowed one for each of {channels} channels"
            f" (dimension {dimension})"
        )
    if any(tensor.zero_points):
        yield f"weights of {op.name} {op.index} have a zero point other than 0"


def _check_scales(file: TFLiteFile, input_type: str, scaling: InputScaling) -> Iterator[str]:
    """The step and the zero point at both ends; behind a float port those of the integers."""
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        return
    entry, leave = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
    if input_type == "float32":
        readers, writer = file.consumers(entry.index), file.producer(leave.index)
        if len(readers) != 1 or writer is None:
            return
        entry, leave = file.tensors[readers[0].outputs[0]], file.tensors[writer.inputs[0]]
    lowest = 0 if entry.dtype == "UINT8" else -128
    wanted = lowest - scaling.offset / scaling.scale
    if len(entry.scales) != 1 or len(leave.scales) != 1:
        yield "input or output without a scale"
        return
    if abs(entry.scales[0] / scaling.scale - 1) > _SCALE_TOLERANCE:
        yield f"input scale {entry.scales[0]:.8g}, allowed {scaling.scale:.8g}"
    # A foreign scaling whose zero lies between two levels is rounded to either.
    if abs(entry.zero_points[0] - wanted) > (0.0 if wanted == int(wanted) else 0.5):
        yield f"input zero point {entry.zero_points[0]}, allowed {wanted:g}"
    if abs(leave.scales[0] * 256 - 1) > _SCALE_TOLERANCE or leave.zero_points[0] != lowest:
        yield (
            f"output scale {leave.scales[0]:.8g} and zero point {leave.zero_points[0]},"
            f" allowed {1 / 256:.8g} and {lowest}"
        )


def _check_no_scaling_operator(file: TFLiteFile) -> Iterator[str]:
    for op in scaling_operators(file):
        yield f"operator {op.name} {op.index} scales the input, which the input's scale must do"


def _ports_are(file: TFLiteFile, allowed: tuple[str, ...]) -> Iterator[str]:
    for what, indices in (("input", file.inputs), ("output", file.outputs)):
        for index in indices:
            if file.tensors[index].dtype not in allowed:
                yield f"{what} is {file.tensors[index].dtype}, allowed {' or '.join(allowed)}"


def _stored(file: TFLiteFile) -> Iterator[tuple[Operator, int, Tensor]]:
    """Weights and biases of convolutions and dense layers, through a DEQUANTIZE where there is one."""
    for op in file.operators:
        if op.name not in _WEIGHTED:
            continue
        for position in _WEIGHTED[op.name][:2]:
            if position >= len(op.inputs) or op.inputs[position] < 0:
                continue
            tensor = file.tensors[op.inputs[position]]
            producer = file.producer(tensor.index)
            if producer is not None and producer.name == "DEQUANTIZE":
                tensor = file.tensors[producer.inputs[0]]
            yield op, position, tensor


def _hygiene(file: TFLiteFile) -> dict[str, int]:
    counts = file.operator_counts()
    return {
        "scaling_operators": sum(1 for _ in scaling_operators(file)),
        "pad": counts.get("PAD", 0) + counts.get("PADV2", 0),
        "quantize": counts.get("QUANTIZE", 0),
        "dequantize": counts.get("DEQUANTIZE", 0),
        "reshape": counts.get("RESHAPE", 0),
        "unusual": sum(n for name, n in counts.items() if name not in _EXPECTED)
        - len(enlarging_operators(file)),
    }


def _port(file: TFLiteFile, indices: tuple[int, ...]) -> Port:
    if not indices:
        return Port("", "none", (), None, None)
    tensor = file.tensors[indices[0]]
    scale, zero = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (None, None)
    return Port(tensor.name, tensor.dtype, tensor.shape, scale, zero)


def _short(tensor: Tensor) -> str:
    """A tensor's name; fused operators carry the names of all their parts, the last one is enough."""
    return tensor.name.rsplit(";", 1)[-1][-60:]
