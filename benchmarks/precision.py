"""Which precision a .tflite file really has, read from its operators and not from its name."""

from __future__ import annotations

from edgecell.errors import ArtifactError
from edgecell.tflite_file import TFLiteFile

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_INTEGER = ("INT8", "UINT8")


def precision_of(file: TFLiteFile, name: str = "the model") -> str:
    """One of float32, float16, dynamic, int8, int16x8, or mixed (some layers integer, some float).

    Looks at the operators that carry weights, by what they put out: int8 → int8, int16 → int16x8;
    float with int8 weights → dynamic, with weights stored in float16 → float16, else float32.

    Raises:
        ArtifactError: no such operator, or one whose types fit no precision.
    """
    kinds = {
        _kind(file, operator.inputs[1], operator.outputs[0], name)
        for operator in file.operators
        if operator.name in _WEIGHTED
    }
    if not kinds:
        raise ArtifactError(
            f"{name} has no convolution or dense layer, so it is no classifier to bench"
        )
    if len(kinds) == 1:
        return kinds.pop()
    # a converter leaves small tensors in float32 beside float16 or int8 weights
    rest = kinds - {"float32"}
    return rest.pop() if len(rest) == 1 and rest <= {"float16", "dynamic"} else "mixed"


def _kind(file: TFLiteFile, weights: int, output: int, name: str) -> str:
    stored, produced = file.tensors[weights], file.tensors[output].dtype
    unpacking = file.producer(weights)
    if unpacking is not None and unpacking.name == "DEQUANTIZE":
        stored = file.tensors[unpacking.inputs[0]]
    if produced in _INTEGER and stored.dtype in _INTEGER:
        return "int8"
    if produced == "INT16" and stored.dtype in _INTEGER:
        return "int16x8"
    if produced == "FLOAT32":
        found = {"FLOAT32": "float32", "FLOAT16": "float16", "INT8": "dynamic"}.get(stored.dtype)
        if found:
            return found
    raise ArtifactError(
        f"{name} has a layer with {stored.dtype} weights and {produced} output; "
        "allowed: float32, float16, dynamic, int8, int16x8"
    )
