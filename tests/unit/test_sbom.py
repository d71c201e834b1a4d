"""The bill of materials: complete, the same each time, of CycloneDX's form, and vouched for."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from edgecell import sbom
from edgecell.custody import audit_run
from edgecell.disk import atomic_write_text
from edgecell.rundir import RunDir


def package(folder: Path, name: str, version: str, *lines: str) -> metadata.Distribution:
    """An installed package with these lines of metadata."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*head, *lines]) + "\n")
    return metadata.Distribution.at(info)


@pytest.fixture
def packages(tmp_path: Path) -> list[metadata.Distribution]:
    return [
        package(
            *(tmp_path, "B_two", "2.0+cpu", "License-Expression: MIT OR Apache-2.0"),
            *("Requires-Dist: a.one >=1", "Requires-Dist: c; extra == 'more'"),
            "Requires-Dist: gone; python_version < '3'",
        ),
        package(tmp_path, "A.One", "1.0", "Classifier: License :: OSI Approved :: MIT License"),
        package(tmp_path, "c", "3", f"License: Apache License {'and so on ' * 20}"),
        package(tmp_path, "d", "4"),
    ]


def test_names_versions_licences_and_dependencies_are_those_of_the_packages(packages):
    found = sbom.bill(packages)
    assert [each["bom-ref"] for each in found["components"]] == [
        *("pkg:pypi/a-one@1.0", "pkg:pypi/b-two@2.0%2Bcpu", "pkg:pypi/c@3", "pkg:pypi/d@4")
    ]
    assert [(each["name"], each.get("licenses")) for each in found["components"]] == [
        ("A.One", [{"license": {"name": "MIT License"}}]),
        ("B_two", [{"expression": "MIT OR Apache-2.0"}]),
        ("c", [{"license": {"name": "Apache-2.0"}}]),
        ("d", None),
    ]
    needs = {each["ref"]: each["dependsOn"] for each in found["dependencies"]}
    assert needs.pop("pkg:pypi/b-two@2.0%2Bcpu") == ["pkg:pypi/a-one@1.0"]
    assert list(needs.values()) == [[], [], []]


def test_it_is_the_same_each_time_and_another_for_another_version(packages, tmp_path):
    first = sbom.bill(packages)
    assert sbom.bill(reversed(packages)) == first
    (tmp_path / "newer").mkdir()
    newer = sbom.bill([*packages[:3], package(tmp_path / "newer", "d", "5")])
    assert newer["serialNumber"] != first["serialNumber"]
    assert newer["components"][:3] == first["components"][:3]


def test_of_two_packages_of_one_name_the_first_on_the_path_counts(packages, tmp_path):
    (tmp_path / "other").mkdir()
    shadowed = package(tmp_path / "other", "a-one", "0.9")
    assert sbom.bill([*packages, shadowed]) == sbom.bill(packages)


def test_everything_that_is_installed_here_is_in_it():
    found = sbom.bill()
    versions = {each["name"].lower(): each["version"] for each in found["components"]}
    for name in ("numpy", "tensorflow", "h5py", "click"):
        assert versions[name] == metadata.version(name)
    references = {each["bom-ref"] for each in found["components"]}
    assert len(references) == len(found["components"]) > 50
    assert references == {each["ref"] for each in found["dependencies"]}
    needed = {ref for each in found["dependencies"] for ref in each["dependsOn"]}
    assert needed and needed <= references
    tensorflow = next(e for e in found["dependencies"] if "/tensorflow@" in e["ref"])
    assert any("/numpy@" in ref for ref in tensorflow["dependsOn"])


def test_the_schema_of_cyclonedx_takes_it(packages):
    """And it does not take one without a version."""
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="cyclonedx-python-lib[json-validation] is not installed"
    )
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    for found in (sbom.bill(), sbom.bill(packages)):
        assert validator.validate_str(json.dumps(found)) is None
        del found["components"][0]["name"]
        assert validator.validate_str(json.dumps(found)) is not None


def recorded(folder: Path) -> RunDir:
    run = RunDir(folder)
    output = run.stage("quantize") / "x.txt"
    atomic_write_text(output, "x")
    run.write_record("quantize", inputs=[], outputs=[output], config={}, results={})
    return run


def test_on_demand_it_is_in_the_record_and_the_audit_vouches_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGECELL_SBOM", "1")
    run = recorded(tmp_path)
    written = run.stage("quantize") / sbom.FILE
    assert json.loads(written.read_text()) == sbom.bill()
    assert f"quantize/{sbom.FILE}" in run.read_record("quantize")["outputs"]
    assert audit_run(tmp_path).findings == []
    written.write_text(written.read_text().replace('"numpy"', '"nunpy"'))
    [finding] = audit_run(tmp_path).broken
    assert (finding.kind, finding.path) == ("altered", f"quantize/{sbom.FILE}")


@pytest.mark.parametrize("said", [None, "", "0"])
def test_without_demand_there_is_none(tmp_path, monkeypatch, said):
    monkeypatch.delenv("EDGECELL_SBOM", raising=False)
    if said is not None:
        monkeypatch.setenv("EDGECELL_SBOM", said)
    run = recorded(tmp_path)
    assert {path.name for path in run.stage("quantize").iterdir()} == {"x.txt", "record.json"}
