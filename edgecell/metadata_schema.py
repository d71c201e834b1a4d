"""The tables of TFLite Metadata, to and from plain dicts.

As in the published ``metadata_schema.fbs`` (identifier "M001"): a field's place in its row below is its
place there. A dict has a key per field that is set; a union is ``{"table": NAME, …}``, an enumeration its
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

IDENTIFIER = b"M001"

ENUMS: dict[str, tuple[str, ...]] = {
    "AssociatedFileType": (
        *("UNKNOWN", "DESCRIPTIONS", "TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS"),
        *("TENSOR_AXIS_SCORE_CALIBRATION", "VOCABULARY", "SCANN_INDEX_FILE"),
    ),
    "ColorSpaceType": ("UNKNOWN", "RGB", "GRAYSCALE"),
    "BoundingBoxType": ("UNKNOWN", "BOUNDARIES", "UPPER_LEFT", "CENTER"),
    "CoordinateType": ("RATIO", "PIXEL"),
    "ScoreTransformationType": ("IDENTITY", "LOG", "INVERSE_LOGISTIC"),
}
# Member n of a union has the number n + 1; 0 is none.
UNIONS: dict[str, tuple[str, ...]] = {
    "ContentProperties": (
        *("FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties"),
    ),
    "ProcessUnitOptions": (
        *("NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions"),
        *("BertTokenizerOptions", "SentencePieceTokenizerOptions", "RegexTokenizerOptions"),
    ),
}
TABLES: dict[str, dict[str, str]] = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": "string",
        "license": "string",
        "associated_files": "[AssociatedFile]",
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
        "associated_files": "[AssociatedFile]",
        "input_process_units": "[ProcessUnit]",
        "output_process_units": "[ProcessUnit]",
        "input_tensor_groups": "[TensorGroup]",
        "output_tensor_groups": "[TensorGroup]",
        "custom_metadata": "[CustomMetadata]",
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": "[string]",
        "content": "Content",
        "process_units": "[ProcessUnit]",
        "stats": "Stats",
        "associated_files": "[AssociatedFile]",
    },
    "AssociatedFile": {
        "name": "string",
        "description": "string",
        "type": "AssociatedFileType",
        "locale": "string",
        "version": "string",
    },
    "Content": {"content_properties": "ContentProperties", "range": "ValueRange"},
    "ValueRange": {"min": "int", "max": "int"},
    "FeatureProperties": {},
    "ImageProperties": {"color_space": "ColorSpaceType", "default_size": "ImageSize"},
    "ImageSize": {"width": "uint", "height": "uint"},
    "BoundingBoxProperties": {
        "index": "[uint]",
        "type": "BoundingBoxType",
        "coordinate_type": "CoordinateType",
    },
    "AudioProperties": {"sample_rate": "uint", "channels": "uint"},
    "ProcessUnit": {"options": "ProcessUnitOptions"},
    "NormalizationOptions": {"mean": "[float]", "std": "[float]"},
    "ScoreCalibrationOptions": {
        "score_transformation": "ScoreTransformationType",
        "default_score": "float",
    },
    "ScoreThresholdingOptions": {"global_score_threshold": "float"},
    "BertTokenizerOptions": {"vocab_file": "[AssociatedFile]"},
    "SentencePieceTokenizerOptions": {
        "sentencePiece_model": "[AssociatedFile]",
        "vocab_file": "[AssociatedFile]",
    },
    "RegexTokenizerOptions": {"delim_regex_pattern": "string", "vocab_file": "[AssociatedFile]"},
    "Stats": {"max": "[float]", "min": "[float]"},
    "TensorGroup": {"name": "string", "tensor_names": "[string]"},
    "CustomMetadata": {"name": "string", "data": "[ubyte]"},
}
_NUMBERS: dict[str, Any] = {
    "int": number_types.Int32Flags,
    "uint": number_types.Uint32Flags,
    "float": number_types.Float32Flags,
    "ubyte": number_types.Uint8Flags,
    **dict.fromkeys(ENUMS, number_types.Int8Flags),
}


def pack(model: Mapping[str, Any]) -> bytes:
    """The flatbuffer of a ModelMetadata table."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_put_table(builder, "ModelMetadata", model), IDENTIFIER)
    return bytes(builder.Output())


def _put_table(builder: flatbuffers.Builder, kind: str, values: Mapping[str, Any]) -> int:
    fields = TABLES[kind]
    unknown = set(values) - set(fields) - {"table"}
    if unknown:
        raise KeyError(f"{kind} has no {', '.join(sorted(unknown))}")
    slot, placed = 0, []
    for name, of in fields.items():
        if of in UNIONS:
            if name in values:
                member = values[name]["table"]
                placed.append((slot, "ubyte", UNIONS[of].index(member) + 1))
                placed.append((slot + 1, "offset", _put_table(builder, member, values[name])))
            slot += 2
            continue
        if name in values:
            placed.append(
                (slot, of if of in _NUMBERS else "offset", _put(builder, of, values[name]))
            )
        slot += 1
    builder.StartObject(slot)
    for at, of, value in placed:
        if of == "offset":
            builder.PrependUOffsetTRelativeSlot(at, value, 0)
        else:
            builder.PrependSlot(_NUMBERS[of], at, value, None)
    return int(builder.EndObject())


def _put(builder: flatbuffers.Builder, of: str, value: Any) -> Any:
    """A number as it is stored, or the offset of what was written."""
    if of in ENUMS:
        return ENUMS[of].index(value)
    if of in _NUMBERS:
        return value
    if of == "string":
        return builder.CreateString(value)
    if not of.startswith("["):
        return _put_table(builder, of, value)
    item = of[1:-1]
    if item in _NUMBERS:
        flags = _NUMBERS[item]
        builder.StartVector(flags.bytewidth, len(value), flags.bytewidth)
        for number in reversed(value):
            builder.Prepend(flags, number)
        return builder.EndVector()
    offsets = [_put(builder, item, each) for each in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def unpack(data: bytes) -> dict[str, Any]:
    """The ModelMetadata table of a flatbuffer.

    Raises:
        ValueError and what else a damaged flatbuffer raises, see ``tflite_file.DAMAGE``.
    """
    if data[4:8] != IDENTIFIER:
        raise ValueError("no identifier 'M001'")
    position = int.from_bytes(data[:4], "little")
    return _get_table(Table(data, position), "ModelMetadata", _Budget(8 * len(data) + 65_536))


class _Budget:
    """What may still be read: parts that many lists share would otherwise be read for each of them."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise ValueError("its parts overlap: they stand for many times their size")


def _get_table(table: Table, kind: str, budget: _Budget) -> dict[str, Any]:
    budget.spend(4)
    slot, found = 0, {}
    for name, of in TABLES[kind].items():
        if of in UNIONS:
            number, at = table.Offset(4 + 2 * slot), table.Offset(6 + 2 * slot)
            if number and at:
                member = UNIONS[of][table.Get(number_types.Uint8Flags, table.Pos + number) - 1]
                inner = Table(table.Bytes, table.Indirect(table.Pos + at))
                found[name] = {"table": member, **_get_table(inner, member, budget)}
            slot += 2
            continue
        at = table.Offset(4 + 2 * slot)
        if at:
            found[name] = _get(table, of, table.Pos + at, budget)
        slot += 1
    return found


def _get(table: Table, of: str, at: int, budget: _Budget) -> Any:
    if of in ENUMS:
        return ENUMS[of][table.Get(_NUMBERS[of], at)]
    if of in _NUMBERS:
        return table.Get(_NUMBERS[of], at)
    if of == "string":
        text: bytes = table.String(at)
        budget.spend(len(text))
        return text.decode("utf-8")
    if not of.startswith("["):
        return _get_table(Table(table.Bytes, table.Indirect(at)), of, budget)
    item = of[1:-1]
    start = table.Vector(at - table.Pos)
    count = _bounded(table.VectorLen(at - table.Pos), table.Bytes)
    budget.spend(count)
    if item == "ubyte":
        return bytes(table.Bytes[start : start + count])
    return [_get(table, item, start + 4 * i, budget) for i in range(count)]


def _bounded(count: int, data: bytes) -> int:
    if not 0 <= count <= len(data):
        raise ValueError(f"a list of {count} entries in {len(data)} bytes")
    return count
