"""The audit of a run: one byte anywhere, a file too few or too many, a stage made from other files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecell.config import Config
from edgecell.config_file import to_toml
from edgecell.custody import BROKEN, Custody, audit_run
from edgecell.disk import atomic_write_json, read_json
from edgecell.errors import ArtifactError
from edgecell.pipeline.auditing import audit
from edgecell.record import seal
from edgecell.rundir import RunDir

MODEL, INT8 = "train/model.keras", "quantize/toy-int8.tflite"
IMAGES = {"data:cells": "f" * 64}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """train → quantize → calibrate, as the stages record them, with files of a few bytes."""
    home = RunDir(tmp_path / "run")
    config = Config(name="toy")
    write(home.path / "config.toml", to_toml(config))
    model = write(home.path / MODEL, "weights")
    train = {"data": vars(config.data), "train": vars(config.train), "expected": {"val_auc": 0.9}}
    home.write_record(
        "train", inputs=[], outputs=[model], config=train, results={}, input_hashes=IMAGES
    )
    int8 = write(home.path / INT8, "integers")
    manifest = write(home.path / "quantize/calibration.json", '{"indices": [3, 1]}')
    home.write_record("quantize", inputs=[model], outputs=[int8, manifest], config={}, results={})
    picture = write(home.path / "calibrate/reliability.png", "picture")
    home.write_record(
        "calibrate",
        inputs=[model, int8],
        outputs=[picture],
        config={},
        results={"models": [{"abstention": {"threshold": 0.75}}]},
        input_hashes={"data:cells:val": "f" * 64},
    )
    write(home.path / "report.html", "made from records")
    return home.path


def said(found: Custody) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in found.findings]


def flip(path: Path, at: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_run_as_it_was_made_holds(run: Path) -> None:
    found = audit_run(run)
    assert said(found) == []
    assert (found.records, found.files) == (3, 4)
    assert found.to_json()["holds"] is True


@pytest.mark.parametrize(
    "name", [MODEL, INT8, "quantize/calibration.json", "calibrate/reliability.png"]
)
def test_one_changed_byte_is_found_once(run: Path, name: str) -> None:
    flip(run / name)
    found = audit_run(run)
    assert said(found) == [("altered", name)]
    assert found.to_json()["holds"] is False


@pytest.mark.parametrize(
    "old, new", [("0.75", "0.74"), ('"cpu"', '"cpv"'), ("f" * 64, "e" + "f" * 63)]
)
def test_a_changed_threshold_or_fact_of_a_record_is_found(run: Path, old: str, new: str) -> None:
    path = run / "calibrate/record.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert ("altered", "calibrate/record.json") in said(audit_run(run))


def test_every_byte_of_a_record_counts_but_for_its_layout(run: Path) -> None:
    path = run / "quantize/record.json"
    whole = path.read_bytes()
    atomic_write_json(path, json.loads(whole))
    assert said(audit_run(run)) == []
    path.write_text(json.dumps(json.loads(whole), indent=7))
    assert said(audit_run(run)) == []
    missed = []
    for at in range(0, len(whole), 17):
        path.write_bytes(whole)
        flip(path, at)
        if not audit_run(run).broken and read_json(path) != json.loads(whole):
            missed.append(at)
    assert missed == []


def test_a_record_of_an_older_edgecell_is_read_and_said_to_be_unsealed(run: Path) -> None:
    path = run / "quantize/record.json"
    record = read_json(path)
    del record["seal"]
    atomic_write_json(path, record)
    found = audit_run(run)
    assert said(found) == [("note", "quantize/record.json")]
    assert not found.broken


def test_a_missing_file_is_found_once(run: Path) -> None:
    (run / INT8).unlink()
    assert said(audit_run(run)) == [("missing", INT8)]


def test_a_stage_made_from_what_is_another_file_now_is_stale(run: Path) -> None:
    home = RunDir(run)
    write(run / INT8, "other integers")
    home.write_record("quantize", inputs=[run / MODEL], outputs=[run / INT8], config={}, results={})
    found = audit_run(run)
    assert ("stale", "calibrate/record.json") in said(found)
    assert ("altered", INT8) not in said(found)
    [finding] = found.broken
    assert "run 'edgecell calibrate' again" in finding.said


def test_each_stage_is_asked_what_it_read_though_none_wrote_it(run: Path) -> None:
    """quantize's record is gone, its file another one, and a stage before calibrate read that."""
    home = RunDir(run)
    (run / "quantize/record.json").unlink()
    write(run / INT8, "other integers")
    picture = write(run / "bench/plot.png", "plot")
    home.write_record("bench", inputs=[run / INT8], outputs=[picture], config={}, results={})
    found = audit_run(run)
    assert ("altered", INT8) in said(found)
    [finding] = found.broken
    assert "'calibrate' recorded" in finding.said


def test_images_of_another_kind_than_the_training_s_are_stale(run: Path) -> None:
    RunDir(run).write_record(
        "verify",
        inputs=[run / MODEL],
        outputs=[],
        config={},
        results={},
        input_hashes={"data:cells:val": "0" * 64, "data:others:val": "1" * 64},
    )
    assert said(audit_run(run)) == [("stale", "verify/record.json")]


def test_an_altered_setting_is_found(run: Path) -> None:
    path = run / "config.toml"
    text = path.read_text()
    assert "\nseed = 0" in text
    path.write_text(text.replace("\nseed = 0", "\nseed = 1"))
    found = audit_run(run)
    assert {kind for kind, _ in said(found)} == {"altered"}
    assert {path for _, path in said(found)} == {"config.toml"}
    path.unlink()
    assert said(audit_run(run)) == [("altered", "config.toml")]


def test_a_setting_that_no_record_names_was_as_it_is_by_itself(run: Path) -> None:
    """A share of the image that is seen: records that were made before there was one do not name it."""
    path, record = run / "config.toml", run / "train/record.json"
    data = read_json(record)
    data["config"]["model"] = Config().model.settings()
    assert "central_fraction" not in data["config"]["model"]
    atomic_write_json(record, data | {"seal": seal(data)})
    assert not audit_run(run).broken
    path.write_text(path.read_text().replace("central_fraction = 1.0", "central_fraction = 0.5"))
    [finding] = audit_run(run).broken
    assert finding.path == "config.toml"
    assert finding.said == "says model.central_fraction = 0.5, the training had 1.0"


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("quantize/toy-int8-new.tflite", "foreign", "quantize/toy-int8-new.tflite"),
        ("notes.txt", "foreign", "notes.txt"),
        ("quantize/.toy.tflite.1a2b3c4d.tmp", "leftover", "quantize/.toy.tflite.1a2b3c4d.tmp"),
        ("bench/bench.json", "unfinished", "bench"),
        (".edgecell.lock", None, None),
        ("study.db", None, None),
        (".study", None, None),
    ],
)
def test_what_no_record_vouches_for_is_said_and_does_no_harm(
    run: Path, name: str, kind: str | None, path: str | None
) -> None:
    write(run / name, "x")
    found = audit_run(run)
    assert said(found) == ([] if kind is None else [(kind, path)])
    assert not found.broken


def test_a_trial_without_a_record_is_known_of_a_study_only(run: Path) -> None:
    home = RunDir(run)
    tables = write(run / "tune/trials.csv", "number")
    home.write_record("tune", inputs=[], outputs=[tables], config={}, results={})
    for name in ("trials/0010", "networks/tiny-28"):
        write(run / name / "config.toml", "")
        write(run / name / "trial.json", "{}")
        write(run / "elsewhere" / name / "config.toml", "")
    write(run / "trials/0010/notes.txt", "")
    assert said(audit_run(run)) == [
        ("foreign", "elsewhere/networks/tiny-28/config.toml"),
        ("foreign", "elsewhere/trials/0010/config.toml"),
        ("foreign", "trials/0010/notes.txt"),
    ]


def test_links_are_named_and_not_followed(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside / "secret.txt", "x")
    (run / "linked").symlink_to(outside)
    assert said(audit_run(run)) == [("foreign", "linked")]


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname"])
def test_a_record_cannot_make_the_audit_read_elsewhere(run: Path, name: str) -> None:
    path = run / "quantize/record.json"
    record = read_json(path)
    record["outputs"][name] = "0" * 64
    atomic_write_json(path, record)
    [finding] = [f for f in audit_run(run).findings if f.path == "quantize/record.json"]
    assert finding.kind == "altered"
    assert "outside its run" in finding.said


def swap(run: Path) -> None:
    shutil.copy(run / "train/record.json", run / "quantize/record.json")


def cut(run: Path) -> None:
    path = run / "quantize/record.json"
    path.write_bytes(path.read_bytes()[:-40])


def no_object(run: Path) -> None:
    (run / "quantize/record.json").write_text("[]")


@pytest.mark.parametrize("spoil", [swap, cut, no_object])
def test_a_record_that_is_none_of_its_stage_is_found(
    run: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(run)
    assert ("altered", "quantize/record.json") in said(audit_run(run))


def test_runs_inside_a_folder_of_runs_are_audited_too(run: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    (sweep / "networks").mkdir(parents=True)
    run.rename(sweep / "networks/a")
    RunDir(sweep).write_record(
        "sweep", inputs=[sweep / "networks/a" / INT8], outputs=[], config={}, results={}
    )
    assert said(audit_run(sweep)) == []
    flip(sweep / "networks/a" / INT8)
    assert said(audit_run(sweep)) == [("altered", f"networks/a/{INT8}")]


def test_a_stage_of_a_run_is_not_accused_but_its_run_named(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.parent / "linked").symlink_to(run / "quantize")
    for stage in (run / "quantize", run / "calibrate", run.parent / "linked"):
        with pytest.raises(ArtifactError, match=f"of a run, .*: edgecell audit {run}$"):
            audit_run(stage)
    monkeypatch.chdir(run / "quantize")
    with pytest.raises(ArtifactError, match=f"is the 'quantize' of a run.* audit {run}$"):
        audit_run(Path())


def test_bundles_of_their_own_folder_are_no_stage_of_a_run(tmp_path: Path) -> None:
    """bundle --output DIR writes its record at the top, also where DIR is called like the verb."""
    home = RunDir(tmp_path / "bundle")
    archive = write(home.path / "toy-python.zip", "a zip")
    home.write_record("bundle", inputs=[], outputs=[archive], config={}, results={})
    shutil.move(home.path / "bundle/record.json", home.path / "record.json")
    (home.path / "bundle").rmdir()
    assert said(audit_run(home.path)) == []
    flip(archive)
    assert said(audit_run(home.path)) == [("altered", "toy-python.zip")]


def test_there_has_to_be_something_to_audit(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no record and is no bundle"):
        audit(tmp_path)
    with pytest.raises(ArtifactError, match="no run folder or bundle at"):
        audit(tmp_path / "nothing")
    assert set(BROKEN) == {"altered", "missing", "stale"}
