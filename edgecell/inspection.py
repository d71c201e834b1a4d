"""What any .tflite file is, whoever made it: ports, operators, sizes, quantization, metadata.

Reads bytes and runs nothing. A file is read as its main graph; of further graphs only the number is told.
"""

from __future__ import annotations

from collections import Counter
from math import isfinite, prod
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgecell.disk import sha256_bytes
from edgecell.errors import ArtifactError
from edgecell.graph import work
from edgecell.tflite_file import DAMAGE, Operator, Tensor, TFLiteFile, parse
from edgecell.tflite_metadata import Metadata, read

_LABELS = ("TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS")
_INDICES = ("INT32", "INT64")  # constants that are shapes, axes, paddings, biases: no weights
_INTEGERS = {"INT8", "UINT8", "INT4", "INT2", "INT16"}
_VALUES = _INTEGERS | {"FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64"}
_UNPACK = ("DEQUANTIZE", "DENSIFY")
_MANY = 1000


def inspect(data: bytes, name: str = "the model") -> dict[str, Any]:
    """Everything that is shown of a file, in JSON types.

    Raises:
        ArtifactError: not a TFLite file, or a damaged one.
    """
    file = parse(data, name)
    metadata = read(data, name)
    try:
        found = {"file": name, "size_bytes": len(data), "sha256": sha256_bytes(data)}
        return found | _jsonable(_report(data, file, metadata))
    except DAMAGE as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{name} is a damaged TFLite file ({detail}); get it again") from error


def _report(data: bytes, file: TFLiteFile, metadata: Metadata | None) -> dict[str, Any]:
    return {
        **_root(schema.Model.GetRootAs(data, 0)),
        "inputs": [_port(file.tensors[i]) for i in file.inputs if i >= 0],
        "outputs": [_port(file.tensors[i]) for i in file.outputs if i >= 0],
        "quantization": _quantization(file),
        "operators": _operators(file),
        "weights": _weights(file),
        "activations": _activations(file),
        "layers": _layers(file),
        "metadata": None if metadata is None else metadata.model,
        "associated_files": {} if metadata is None else _files(metadata),
        "labels": {} if metadata is None else _labels(metadata),
    }


def _jsonable(value: Any) -> Any:
    """JSON has no bytes, and no numbers that are none."""
    if isinstance(value, dict):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value


def _root(model: Any) -> dict[str, Any]:
    """What the root of a file says: version of its schema, description, graphs, attached entries."""
    names, runtime = [], None
    for i in range(min(model.MetadataLength(), _MANY)):
        entry = model.Metadata(i)
        names.append((entry.Name() or b"").decode("utf-8", errors="replace"))
        if names[-1] == "min_runtime_version" and model.Buffers(entry.Buffer()).DataLength():
            stored = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            runtime = stored.split(b"\0")[0].decode("ascii", errors="replace")
    return {
        "schema_version": model.Version(),
        "description": (model.Description() or b"").decode("utf-8", errors="replace"),
        "graphs": model.SubgraphsLength(),
        "entries": names,
        "min_runtime_version": runtime,
    }


def _port(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "scales": list(tensor.scales),
        "zero_points": list(tensor.zero_points),
    }


def _operators(file: TFLiteFile) -> list[dict[str, Any]]:
    """By type, most bytes of constants first: how many, their constants, multiply-accumulates.

    A constant counts where it is first read; float16 weights that a DEQUANTIZE makes float32 count at
    the operator behind it.
    """
    rows: dict[str, dict[str, Any]] = {}
    owner = _owners(file)
    for op in file.operators:
        row = rows.setdefault(
            op.name, {"name": op.name, "count": 0, "constants": 0, "constant_bytes": 0, "macs": 0}
        )
        row["count"] += 1
        row["macs"] += work(file, op).macs
    for index, op_name in owner.items():
        rows[op_name]["constants"] += prod(file.tensors[index].shape)
        rows[op_name]["constant_bytes"] += file.constant_bytes(index)
    return sorted(
        rows.values(), key=lambda row: (-row["constant_bytes"], -row["count"], row["name"])
    )


def _unpacked(file: TFLiteFile) -> dict[int, int]:
    """Tensor that only unpacks a constant (float16, sparse) → that constant."""
    behind: dict[int, int] = {}
    for op in file.operators:
        if op.name in _UNPACK and op.inputs and op.outputs and op.inputs[0] >= 0:
            source = behind.get(op.inputs[0], op.inputs[0])
            if file.tensors[source].constant:
                behind[op.outputs[0]] = source
    return behind


def _owners(file: TFLiteFile) -> dict[int, str]:
    """Constant tensor → the type of the operator that it belongs to."""
    behind = _unpacked(file)
    owners: dict[int, str] = {}
    unpacking: dict[int, str] = {}
    for op in file.operators:
        into = unpacking if _unpacks(op, behind) else owners
        for index in op.inputs:
            constant = behind.get(index, index)
            if constant >= 0 and file.tensors[constant].constant:
                into.setdefault(constant, op.name)
    return unpacking | owners


def _unpacks(op: Operator, behind: dict[int, int]) -> bool:
    return bool(op.outputs) and op.outputs[0] in behind


def _layers(file: TFLiteFile) -> list[dict[str, Any]]:
    """Every operator in order, with what it writes first."""
    rows = []
    for op in file.operators:
        done = work(file, op)
        leave = file.tensors[op.outputs[0]] if op.outputs else None
        rows.append(
            {
                "operator": op.name,
                "output": leave.name if leave else "",
                "dtype": leave.dtype if leave else "",
                "shape": list(leave.shape) if leave else [],
                "scale": leave.scales[0] if leave and len(leave.scales) == 1 else None,
                "zero_point": leave.zero_points[0]
                if leave and len(leave.zero_points) == 1
                else None,
                "macs": done.macs,
                "constant_bytes": done.constant_bytes,
            }
        )
    return rows


def _weights(file: TFLiteFile) -> list[dict[str, Any]]:
    """Constants by element type, most bytes first."""
    rows: dict[str, dict[str, Any]] = {}
    for tensor in file.tensors:
        if tensor.constant:
            row = rows.setdefault(
                tensor.dtype,
                {"dtype": tensor.dtype, "tensors": 0, "bytes": 0, "per_channel": 0, "sparse": 0},
            )
            row["tensors"] += 1
            row["bytes"] += file.constant_bytes(tensor.index)
            row["per_channel"] += len(tensor.scales) > 1
            row["sparse"] += tensor.sparse
    return sorted(rows.values(), key=lambda row: -row["bytes"])


def _activations(file: TFLiteFile) -> dict[str, int]:
    """Tensors that are computed or fed, by element type; not those that only unpack a constant."""
    return dict(Counter(tensor.dtype for tensor in _computed(file)).most_common())


def _computed(file: TFLiteFile) -> list[Tensor]:
    unpacked = _unpacked(file)
    used = {i for op in file.operators for i in (*op.inputs, *op.outputs)} | set(file.inputs)
    return [
        tensor
        for tensor in file.tensors
        if tensor.index in used and not tensor.constant and tensor.index not in unpacked
    ]


def _quantization(file: TFLiteFile) -> str:
    """What the file's numbers are, in the field's words; its inputs and outputs may be of another type."""
    weights = {t.dtype for t in file.tensors if t.constant and t.dtype not in _INDICES}
    ports = {*file.inputs, *file.outputs}
    inner = {t.dtype for t in _computed(file) if t.index not in ports and t.dtype in _VALUES}
    integer = inner & _INTEGERS
    if not integer and not weights & _INTEGERS:
        return "float16 weights, float activations" if "FLOAT16" in weights else "float32"
    if not integer:
        return "dynamic range: integer weights, float activations"
    if inner - integer:
        return "mixed: integer and float activations"
    if "INT16" in integer:
        return "integer: weights and int16 activations"
    return "integer: weights and activations quantized"


def _tensor_metadata(metadata: Metadata) -> list[dict[str, Any]]:
    return [
        tensor
        for graph in metadata.model.get("subgraph_metadata", [])
        for key in ("input_tensor_metadata", "output_tensor_metadata")
        for tensor in graph.get(key, [])
    ]


def _files(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """Name → size, and what the metadata call it."""
    kinds = {
        entry.get("name", ""): entry.get("type", "UNKNOWN")
        for tensor in _tensor_metadata(metadata)
        for entry in tensor.get("associated_files", [])
    }
    return {
        name: {"bytes": len(content), "type": kinds.get(name, "UNKNOWN")}
        for name, content in metadata.files.items()
    }


def _labels(metadata: Metadata) -> dict[str, list[str]]:
    """Tensor's name → its labels, of those that have a file of labels."""
    found = {}
    for number, tensor in enumerate(_tensor_metadata(metadata)):
        for entry in tensor.get("associated_files", []):
            content = metadata.files.get(entry.get("name", ""))
            if entry.get("type") in _LABELS and content is not None:
                lines = content.decode("utf-8", errors="replace").splitlines()
                found[tensor.get("name", f"tensor {number}")] = [line for line in lines if line]
    return found
