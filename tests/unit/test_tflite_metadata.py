"""TFLite Metadata: written beside a graph that stays as it was, and read from any file."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import toys
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecell.errors import ArtifactError
from edgecell.metadata_schema import ENUMS, TABLES, UNIONS, pack, unpack
from edgecell.runtime import TFLitePredictor
from edgecell.tflite_file import parse
from edgecell.tflite_metadata import Metadata, attach, read

MODEL = {
    "name": "toy",
    "description": "eine Übung",
    "min_parser_version": "1.0.0",
    "subgraph_metadata": [
        {
            "input_tensor_metadata": [
                {
                    "name": "image",
                    "content": {
                        "content_properties": {"table": "ImageProperties", "color_space": "RGB"}
                    },
                    "process_units": [
                        {"options": {"table": "NormalizationOptions", "mean": [0.0], "std": [1.0]}}
                    ],
                }
            ],
            "output_tensor_metadata": [
                {
                    "name": "probability",
                    "content": {
                        "content_properties": {"table": "FeatureProperties"},
                        "range": {"min": 2, "max": 2},
                    },
                    "associated_files": [{"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}],
                }
            ],
        }
    ],
}
FILES = {"labels.txt": "\n".join(toys.CLASSES).encode()}


@pytest.fixture(scope="module")
def plain() -> bytes:
    return toys.converted("int8")


@pytest.fixture(scope="module")
def described(plain) -> bytes:
    return attach(plain, Metadata(MODEL, FILES))


def test_what_is_written_is_read_again(described):
    assert read(described) == Metadata(MODEL, FILES)


def test_a_file_without_metadata_has_none(plain):
    assert read(plain) is None


def values(of: str):
    """Something for a field of this type."""
    if of in ENUMS:
        return st.sampled_from(ENUMS[of][1:])  # the first is the default, which is not stored
    if of in UNIONS:
        return st.sampled_from(UNIONS[of]).flatmap(
            lambda name: tables(name).map(lambda found: {"table": name, **found})
        )
    if of in TABLES:
        return tables(of)
    if of.startswith("[") and of != "[ubyte]":
        return st.lists(values(of[1:-1]), min_size=1, max_size=2)
    return {
        "string": st.text(max_size=8),
        "int": st.integers(-(2**31), 2**31 - 1).filter(bool),
        "uint": st.integers(1, 2**32 - 1),
        "float": st.floats(width=32, allow_nan=False).filter(bool),
        "[ubyte]": st.binary(min_size=1, max_size=9),
    }[of]


def tables(name: str):
    fields = {key: values(of) for key, of in TABLES[name].items()}
    return st.fixed_dictionaries({}, optional=fields)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(tables("ModelMetadata"))
def test_every_table_of_the_schema_comes_back(model):
    assert unpack(pack(model)) == model


def test_a_field_that_the_schema_lacks_is_refused():
    with pytest.raises(KeyError, match="ModelMetadata has no licence"):
        pack({"licence": "MIT"})


@pytest.mark.parametrize(
    ("precision", "input_type"),
    [
        ("float32", None),
        ("float16", None),
        ("dynamic", None),
        ("int8", "uint8"),
        ("int8", "float32"),
        ("int16x8", "int16"),
    ],
)
def test_predictions_stay_bit_for_bit(precision, input_type):
    model = toys.converted(precision, input_type)
    described = attach(model, Metadata(MODEL, FILES))
    images = np.random.default_rng(2).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    before, after = TFLitePredictor(model), TFLitePredictor(described)
    np.testing.assert_array_equal(before.raw(images), after.raw(images))
    assert len(np.unique(before.raw(images), axis=0)) > 10  # a model that answers


def test_the_graph_is_not_written_anew(plain, described):
    """Its bytes stand in the new file as they were, a multiple of 64 further back."""
    at = described.index(plain)
    assert at > 0 and at % 64 == 0
    assert parse(described).tensors == parse(plain).tensors
    assert parse(described).operators == parse(plain).operators


def test_other_entries_of_the_model_stay(plain, described):
    def facts(data):
        root = schema.Model.GetRootAs(data, 0)
        names = {root.Metadata(i).Name() for i in range(root.MetadataLength())}
        signatures = [
            root.SignatureDefs(i).SignatureKey() for i in range(root.SignatureDefsLength())
        ]
        return names, signatures, root.Version(), root.Description(), root.OperatorCodesLength()

    before, after = facts(plain), facts(described)
    assert before[0]
    assert after == (before[0] | {b"TFLITE_METADATA"}, *before[1:])


def test_older_metadata_are_replaced(described):
    again = attach(described, Metadata({"name": "second"}, {"a.txt": b"a"}))
    assert read(again) == Metadata({"name": "second"}, {"a.txt": b"a"})
    root = schema.Model.GetRootAs(again, 0)
    names = [root.Metadata(i).Name() for i in range(root.MetadataLength())]
    assert names.count(b"TFLITE_METADATA") == 1


def test_the_same_metadata_give_the_same_bytes(plain, described):
    assert attach(plain, Metadata(MODEL, FILES)) == described


def test_associated_files_are_stored_for_others_to_map(described):
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        [entry] = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED
        assert described[entry.header_offset :].startswith(b"PK")
        assert archive.read("labels.txt") == FILES["labels.txt"]


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(position=st.floats(0, 1), value=st.integers(0, 255))
def test_damage_is_an_error_or_another_text(described, position, value):
    """Whatever byte is changed, reading ends in metadata or in one clear error."""
    start = described.index(b"M001") - 4
    data = bytearray(described)
    data[start + int(position * 700)] = value
    try:
        found = read(bytes(data), "x.tflite")
    except ArtifactError as error:
        assert "x.tflite" in str(error)
    else:
        assert found is None or isinstance(found.model, dict)


def test_damaged_metadata_are_named(described):
    start = described.index(b"M001")
    data = described[:start] + b"M009" + described[start + 4 :]
    with pytest.raises(ArtifactError, match="x.tflite has damaged metadata .no identifier 'M001'"):
        read(data, "x.tflite")


def test_no_model_takes_no_metadata():
    with pytest.raises(ArtifactError, match="not a TFLite file"):
        attach(b"PK" * 40, Metadata(MODEL, {}))
