from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecell.errors import ArtifactError
from edgecell.record import UNITS, Measurement, check_envelope, envelope

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    value=FINITE,
    unit=st.sampled_from(UNITS),
    n=st.none() | st.integers(0, 10**9),
    ends=st.none() | st.tuples(FINITE, FINITE).map(sorted),
    kind=st.sampled_from(["measured", "estimated"]),
)
def test_a_measurement_survives_json(value, unit, n, ends, kind):
    low, high = ends or (None, None)
    made = Measurement(value, unit, n, low, high, kind)
    assert Measurement.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_json_holds_what_is_known_and_no_nulls():
    assert Measurement(0.5, "fraction", n=4).to_json() == {
        "value": 0.5,
        "unit": "fraction",
        "kind": "measured",
        "n": 4,
    }
    missing = Measurement.missing("ms", "no such device")
    assert missing.to_json() == {"reason": "no such device", "unit": "ms"}
    assert Measurement.from_json(missing.to_json()) == missing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": None, "unit": "ms"}, "a value or a reason"),
        ({"value": 1.0, "unit": "ms", "reason": "why"}, "a value or a reason"),
        ({"value": 1.0, "unit": "furlongs"}, "unknown unit 'furlongs'; allowed: fraction"),
        ({"value": float("nan"), "unit": "ms"}, "must be finite"),
        ({"value": 1.0, "unit": "ms", "high": float("inf")}, "must be finite"),
        ({"value": 1.0, "unit": "ms", "low": 2.0, "high": 1.0}, "upside down"),
        ({"value": 1.0, "unit": "ms", "kind": "guessed"}, "unknown kind 'guessed'"),
    ],
)
def test_what_is_no_measurement_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Measurement(**arguments)


@pytest.mark.parametrize(
    "data", [{}, {"value": 1.0}, {"value": "x", "unit": "ms"}, {"unit": "ms"}, [1.0], None]
)
def test_json_that_is_no_measurement_is_refused(data):
    with pytest.raises(ArtifactError, match="not a measurement"):
        Measurement.from_json(data)


def an_envelope(verb: str = "train") -> dict:
    empty: dict = {"inputs": {}, "outputs": {}, "environment": {}, "config": {}, "results": {}}
    return envelope(verb, created="2025-01-01T00:00:00Z", **empty)


@pytest.mark.parametrize("verb", ["train", "evaluate/val"])
def test_an_envelope_is_accepted_as_its_verb(verb):
    data = an_envelope(verb)
    assert check_envelope(json.loads(json.dumps(data)), verb, "f") == data
    assert data["schema"] == f"edgecell/{verb.split('/')[0]}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "edgecell/bench"}, "not an edgecell record of 'train'"),
        ({"schema_version": 2}, "schema version 2, this edgecell reads 1"),
        ({"outputs": []}, "lacks its 'outputs' part"),
        ({"results": None}, "lacks its 'results' part; delete it and run 'edgecell train' again"),
    ],
)
def test_a_damaged_envelope_is_refused(change, message):
    with pytest.raises(ArtifactError, match=message):
        check_envelope(an_envelope() | change, "train", "record.json")


@pytest.mark.parametrize("data", [None, [], "text", 3, {}])
def test_what_is_no_envelope_is_refused(data):
    with pytest.raises(ArtifactError, match="not an edgecell record"):
        check_envelope(data, "train", "record.json")
