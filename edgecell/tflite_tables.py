"""The tables of the TFLite schema as a checker needs them: what kind of field each slot is.

A number is the bytes of a scalar; "string", "vector N" (entries of N bytes), "table T", "tables T" (a
list of them) and "union U", told by the slot before it, are offsets.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

Kind = int | str


def names_of(enum: type) -> dict[int, str]:
    """Number → name of the members of an enum of the schema's generated code."""
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}


TABLES: dict[str, dict[int, Kind]] = {
    "Model": {
        **{0: 4, 1: "tables OperatorCode", 2: "tables SubGraph", 3: "string", 4: "tables Buffer"},
        **{5: "vector 4", 6: "tables Metadata", 7: "tables SignatureDef"},
        **{8: "tables ExternalBufferGroup", 9: "tables ExternalBuffer"},
    },
    "ExternalBufferGroup": {0: "string"},
    "ExternalBuffer": {0: 4, 1: 4, 2: 8, 3: 8, 4: "string"},
    "OperatorCode": {0: 1, 1: "string", 2: 4, 3: 4},
    "SubGraph": {
        **{0: "tables Tensor", 1: "vector 4", 2: "vector 4", 3: "tables Operator", 4: "string"},
        **{5: 4},
    },
    "Tensor": {
        **{0: "vector 4", 1: 1, 2: 4, 3: "string", 4: "table QuantizationParameters", 5: 1},
        **{6: "table SparsityParameters", 7: "vector 4", 8: 1, 9: "tables VariantSubType", 10: 4},
    },
    "QuantizationParameters": {
        **{0: "vector 4", 1: "vector 4", 2: "vector 4", 3: "vector 8", 4: 1},
        **{5: "union QuantizationDetails", 6: 4},
    },
    "CustomQuantization": {0: "vector 1"},
    "BlockwiseQuantization": {0: 4, 1: 4, 2: 4, 3: "vector 4"},
    "MultiAxisQuantization": {0: 4, 1: 4, 2: 4, 3: "vector 4"},
    "SparsityParameters": {0: "vector 4", 1: "vector 4", 2: "tables DimensionMetadata"},
    "DimensionMetadata": {
        **{0: 1, 1: 4, 2: 1, 3: "union SparseIndexVector", 4: 1, 5: "union SparseIndexVector"},
    },
    "Int32Vector": {0: "vector 4"},
    "Uint16Vector": {0: "vector 2"},
    "Uint8Vector": {0: "vector 1"},
    "VariantSubType": {0: "vector 4", 1: 1, 2: 1},
    "Operator": {
        **{0: 4, 1: "vector 4", 2: "vector 4", 3: 1, 4: "union BuiltinOptions", 5: "vector 1"},
        **{6: 1, 7: "vector 1", 8: "vector 4", 9: 8, 10: 8, 11: 1, 12: "union BuiltinOptions2"},
        **{13: 4},
    },
    "Buffer": {0: "vector 1", 1: 8, 2: 8},
    "Metadata": {0: "string", 1: 4},
    "SignatureDef": {0: "tables TensorMap", 1: "tables TensorMap", 2: "string", 4: 4},
    "TensorMap": {0: "string", 1: 4},
    # Options with more than scalars in them.
    "ConcatEmbeddingsOptions": {1: "vector 4", 2: "vector 4"},
    "FullyConnectedOptions": {5: "vector 1"},
    "ReshapeOptions": {0: "vector 4"},
    "SqueezeOptions": {0: "vector 4"},
    "VarHandleOptions": {0: "string", 1: "string"},
    "BucketizeOptions": {0: "vector 4"},
    "StablehloGatherOptions": dict.fromkeys((0, 1, 2, 4), "vector 8"),
    "StablehloTransposeOptions": {0: "vector 8"},
    "StablehloDotGeneralOptions": {**dict.fromkeys(range(4), "vector 8"), 4: "vector 4"},
    "StablehloReduceWindowOptions": dict.fromkeys(range(5), "vector 8"),
    "StablehloBroadcastInDimOptions": {0: "vector 8"},
    "StablehloDynamicSliceOptions": {0: "vector 8"},
    "StablehloPadOptions": dict.fromkeys(range(3), "vector 8"),
    "StablehloCustomCallOptions": {0: "string", 2: "string", 4: "vector 4", 5: "vector 1"},
    "StablehloReduceOptions": {0: "vector 8"},
    "StablehloSliceOptions": dict.fromkeys(range(3), "vector 8"),
    "StablehloConvolutionOptions": {
        **dict.fromkeys((0, 1, 2, 3, 7, 10, 13), "vector 8"),
        **{4: "vector 1", 16: "vector 4"},
    },
    "StablehloScatterOptions": dict.fromkeys((1, 2, 3), "vector 8"),
    "StablehloCaseOptions": {0: "vector 4"},
    "StableHLOCompositeOptions": {0: "string", 2: "vector 1"},
}
UNIONS: dict[str, dict[int, str]] = {
    "QuantizationDetails": {
        1: "CustomQuantization",
        2: "BlockwiseQuantization",
        3: "MultiAxisQuantization",
    },
    "SparseIndexVector": {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"},
}
_OPTIONS = {
    "BuiltinOptions": names_of(schema.BuiltinOptions),
    "BuiltinOptions2": names_of(schema.BuiltinOptions2),
}


def options_table(union: str, number: int) -> str:
    """The table that member ``number`` of BuiltinOptions or BuiltinOptions2 is; "" for an unknown one."""
    return _OPTIONS[union].get(number, "")
