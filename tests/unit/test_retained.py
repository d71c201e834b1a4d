"""A verb that looks at one file of a run leaves what it found of the others, where that still holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import toy_run

from edgecell.config import Config
from edgecell.errors import ArtifactError
from edgecell.pipeline.confidence import calibrate_target
from edgecell.pipeline.conversion import quantize_target
from edgecell.pipeline.verification import verify_target
from edgecell.progress import Silent
from edgecell.record import seal
from edgecell.rundir import RunDir

BOTH = ["float32", "int8"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run.make(tmp_path_factory.mktemp("toy") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


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
    wider = lambda config: replace(config, verify=replace(config.verify, margin=0.2))  # noqa: E731
    verify(int8(run), wider, Listening())
    assert precisions(run, "verify") == ["int8"]
    [line] = [each for each in lines if "given up" in each]
    assert "-float32.tflite" in line and "'edgecell verify' of the run" in line


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
