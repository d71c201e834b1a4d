"""Samples that cannot be compiled here: their syntax, and that what they decode is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_bundle import make_bundle

from edgecell.bundle.targets import SAMPLES

SUFFIXES = {".kt": "kotlin", ".kts": "kotlin", ".swift": "swift"}
SOURCES = sorted(path for path in SAMPLES.rglob("*") if path.suffix in SUFFIXES)
SWIFT = "samples/ios"


def mistakes(source: bytes, language: str) -> list[str]:
    """Where a parser of ``language`` is at a loss."""
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip(f"tree_sitter_{language}")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))

    def walk(node: Any) -> Iterator[str]:
        if node.type == "ERROR" or node.is_missing:
            yield f"line {node.start_point[0] + 1}: {node.text.decode()[:60]}"
        for child in node.children:
            yield from walk(child)

    return list(walk(parser.parse(source).root_node))


def test_there_are_sources_of_both_languages():
    assert {SUFFIXES[path.suffix] for path in SOURCES} == {"kotlin", "swift"}
    assert len(SOURCES) >= 11


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_it_parses(path):
    assert mistakes(path.read_bytes(), SUFFIXES[path.suffix]) == []


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("kotlin", b"fun f(): Int {\n    return (1 + \n}\n"),
        ("swift", b"func f() -> Int {\n    return (1 + \n}\n"),
        ("kotlin", b"class A { fun f( = 1 }"),
        ("swift", b"struct A { let x Int }"),
    ],
)
def test_the_parsers_bite(language, source):
    assert mistakes(source, language) != []


Structs = dict[str, dict[str, str]]


def structs(source: str) -> Structs:
    """Swift's Decodable structs: name → property → type. Names are unique in a file."""
    found: Structs = {}
    open_ones: list[tuple[int, str]] = []
    for line in source.splitlines():
        indent = len(line) - len(line.lstrip())
        while open_ones and line.strip() and indent <= open_ones[-1][0]:
            open_ones.pop()
        if begun := re.search(r"struct (\w+): Decodable", line):
            open_ones.append((indent, begun[1]))
            found[begun[1]] = {}
        elif (held := re.search(r"\blet (\w+): ([\w\[\]?.]+)$", line)) and open_ones:
            found[open_ones[-1][1]][held[1]] = held[2]
    return found


def undecodable(value: Any, kind: str, known: Structs, at: str = "") -> list[str]:
    """Where Swift's decoder would give up on ``value``."""
    if kind.endswith("?"):
        return [] if value is None else undecodable(value, kind[:-1], known, at)
    if kind.startswith("["):
        if not isinstance(value, list):
            return [f"{at} is no list"]
        return [said for v in value for said in undecodable(v, kind[1:-1], known, f"{at}[]")]
    if kind in known:
        if not isinstance(value, dict):
            return [f"{at} is no object"]
        fields = known[kind].items()
        return [s for k, t in fields for s in undecodable(value.get(k), t, known, f"{at}.{k}")]
    types = {"String": str, "Int": int, "Double": (int, float), "Bool": bool}
    return [] if isinstance(value, types[kind]) else [f"{at} is {value!r}, no {kind}"]


@pytest.fixture(scope="module", params=["int8", "float16"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "toy", ["ios"], request.param)


def test_swift_can_decode_model_json(bundle):
    known = structs((bundle / SWIFT / "Sources/EdgecellSample/Card.swift").read_text())
    assert known["Tensor"]["scale"] == "Double?"
    assert len(known["Card"]) == 12
    card = json.loads((bundle / "model.json").read_text())
    assert undecodable(card, "Card", known) == []
    scaling = {"slopes": [1.0, 2.0], "offsets": [0.0, 0.5]}
    card["decision"]["labels"] = {"thresholds": [0.25, None], "scaling": scaling}
    assert undecodable(card, "Card", known) == []
    scaling["slopes"] = None
    assert undecodable(card, "Card", known) == [".decision.labels.scaling.slopes is no list"]
    del card["decision"]["labels"]
    card["input"]["dtype"] = None
    assert undecodable(card, "Card", known) == [".input.dtype is None, no String"]


def test_swift_can_decode_golden_json(bundle):
    path = bundle / SWIFT / "Tests/EdgecellSampleTests/GoldenTests.swift"
    known = structs(path.read_text())
    assert set(known["Case"]) == {"image", "decoded", "resized", "input", "output", "top1"}
    golden = json.loads((bundle / "golden" / "golden.json").read_text())
    assert undecodable(golden, "Golden", known) == []
    golden["cases"][0]["top1"] = None
    assert undecodable(golden, "Golden", known) == []


def test_the_swift_tests_find_the_bundle(bundle):
    """They go up as many folders as lie between them and it."""
    path = bundle / SWIFT / "Tests/EdgecellSampleTests/GoldenTests.swift"
    up = int(re.search(r"\(0\.\.<(\d)\)\.reduce\(URL", path.read_text())[1])
    assert path.parents[up - 1] == bundle
