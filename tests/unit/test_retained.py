"""A verb that looks at one file of a run leaves what it found of the others, where that still holds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecell import former
from edgecell.config import Config
from edgecell.custody import audit_run
from edgecell.errors import ArtifactError
from edgecell.pipeline.confidence import calibrate_target
from edgecell.pipeline.conversion import quantize_target
from edgecell.pipeline.verification import verify_target
from edgecell.progress import Silent
from edgecell.record import seal
from edgecell.rundir import RunDir

BOTH = ["float32", "int8"]


@pytest.fixture
def run(toy_copy: Path) -> Path:
    return toy_copy


def same(config: Config) -> Config:
    return config


def verify(path: Path, adjust: Callable[[Config], Config] = same, progress: Silent | None = None):
    return verify_target(path, None, adjust, None, None, progress or Silent())[0]


def calibrate(path: Path):
    return calibrate_target(path, None, same, None, "val", None, Silent())


def precisions(run: Path, verb: str) -> list[str]:
    record = RunDir(run).read_record(verb)
    return sorted(entry["precision"] for entry in record["results"]["models"])


def int8(run: Path) -> Path:
    return next((run / "quantize").glob("*-int8.tflite"))


@pytest.mark.parametrize(("verb", "call"), [("verify", verify), ("calibrate", calibrate)])
def test_one_file_leaves_what_was_found_of_the_others(run, verb, call):
    before = call(run)
    after = call(int8(run))
    assert precisions(run, verb) == BOTH
    assert after["results"]["models"][0]["precision"] == "int8"  # what this call looked at is first
    assert after["inputs"] == before["inputs"]
    assert sorted(after["outputs"]) == sorted(before["outputs"])
    RunDir(run).check_outputs(verb)


def test_other_settings_give_the_others_up_and_say_so(run):
    lines: list[str] = []

    class Listening(Silent):
        def say(self, line: str) -> None:
            lines.append(line)

    verify(run)
    verify(int8(run), wider, Listening())
    assert precisions(run, "verify") == ["int8"]
    [line] = [each for each in lines if "given up" in each]
    assert "-float32.tflite" in line and "'edgecell verify' of the run" in line


def wider(config: Config) -> Config:
    return replace(config, verify=replace(config.verify, margin=0.2))


def test_the_pictures_of_what_is_given_up_go_and_nothing_else_does(run):
    verify(run)
    folder = run / "verify"
    of_float32 = sorted(folder.glob("*-float32-*.png"))
    assert len(of_float32) == 2
    of_float32[1].write_bytes(b"drawn over by its owner")
    (folder / "notes-float32-gate.png").write_bytes(b"of nobody's record")
    verify(int8(run), wider)
    assert not of_float32[0].exists()
    assert of_float32[1].read_bytes() == b"drawn over by its owner"
    foreign = [each.path for each in audit_run(run).findings if each.kind == "foreign"]
    theirs = [f"verify/{of_float32[1].name}", "verify/notes-float32-gate.png"]
    assert sorted(foreign) == sorted(theirs)
    assert not audit_run(run).broken


def test_a_picture_is_its_own_file_s_and_not_that_of_a_shorter_name(run):
    verify(run)
    folder = run / "verify"
    (drawn,) = folder.glob("*-int8-gate.png")
    gone = drawn.with_name(drawn.name.replace("-int8-gate", "-int8-search-gate"))
    shutil.copy(drawn, gone)
    path = folder / "record.json"
    record = json.loads(path.read_text())
    record["outputs"][f"verify/{gone.name}"] = record["outputs"][f"verify/{drawn.name}"]
    (entry,) = [each for each in record["results"]["models"] if each["precision"] == "int8"]
    file = entry["file"].replace("-int8.", "-int8-search.")  # which quantize has no longer
    record["results"]["models"].append(entry | {"file": file})
    record["seal"] = seal(record)
    path.write_text(json.dumps(record))
    verify(next((run / "quantize").glob("*-float32.tflite")))
    assert precisions(run, "verify") == BOTH
    assert drawn.exists() and not gone.exists()


def test_they_come_back_where_the_new_record_is_never_written(run, monkeypatch):
    verify(run)
    before = RunDir(run).check_outputs("verify")

    def full(*_: object, **__: object) -> None:
        raise ArtifactError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(RunDir, "write_record", full)
        with pytest.raises(ArtifactError, match="no space"):
            verify(int8(run), wider)
    assert not list((run / "verify").glob("*-float32-*.png"))
    while former._HELD:  # as the end of the process does: what it kept is free
        os.close(former._HELD.popitem()[1])
    assert RunDir.open(run).check_outputs("verify") == before
    assert audit_run(run).findings == []


def test_a_record_of_its_own_that_is_damaged_is_written_anew(run):
    verify(run)
    (run / "verify" / "record.json").write_bytes(b"")  # as a full disk leaves a copied run
    verify(int8(run))
    assert precisions(run, "verify") == ["int8"]


def test_what_is_said_of_a_damaged_record_helps(run):
    path = run / "quantize" / "record.json"
    path.write_bytes(b"")
    advice = "not a readable JSON.*delete it and run 'edgecell quantize' again"
    with pytest.raises(ArtifactError, match=advice):
        quantize_target(run, same, None, None, Silent())
    path.unlink()
    quantize_target(run, same, None, None, Silent())
    assert precisions(run, "quantize") == BOTH


def test_what_was_found_of_another_model_of_that_name_is_not_kept(run):
    verify(run)
    path = RunDir(run).stage("verify") / "record.json"
    record = json.loads(path.read_text())
    [other] = [each for each in record["results"]["models"] if each["precision"] == "float32"]
    other["sha256"] = "0" * 64
    record["seal"] = seal(record)
    path.write_text(json.dumps(record))
    verify(int8(run))
    assert precisions(run, "verify") == ["int8"]
