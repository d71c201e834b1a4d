from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path

import pytest

from edgecell import disk, machine, rundir
from edgecell.disk import atomic_write_bytes, atomic_write_json, sha256_file
from edgecell.errors import ArtifactError, ConfigError, DataError, DivergedError, WorkerError
from edgecell.pipeline.targets import resolve
from edgecell.rundir import RunDir


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


@pytest.fixture
def old_file(tmp_path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("where", [(os, "fsync"), (Path, "replace")])
@pytest.mark.parametrize(
    ("death", "raised"), [(full_disk, ArtifactError), (interrupt, KeyboardInterrupt)]
)
def test_a_death_while_writing_leaves_the_old_file_alone(
    old_file, monkeypatch, where, death, raised
):
    monkeypatch.setattr(*where, death)
    message = f"cannot write {re.escape(str(old_file))}: No space left"
    with pytest.raises(raised, match=message if raised is ArtifactError else None):
        atomic_write_bytes(old_file, b"new content")
    assert old_file.read_bytes() == b"old"
    assert names(old_file.parent) == ["model.bin"]


def test_a_write_replaces_the_whole_file_and_makes_folders(old_file, tmp_path):
    atomic_write_bytes(old_file, b"new")
    atomic_write_bytes(tmp_path / "a/b/c.bin", b"deep")
    assert old_file.read_bytes() == b"new"
    assert (tmp_path / "a/b/c.bin").read_bytes() == b"deep"
    assert names(tmp_path) == ["a", "model.bin"]


def test_a_new_file_has_the_rights_that_the_user_gives_to_files(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write_bytes(tmp_path / "f", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_a_file_cannot_be_written_to(old_file):
    with pytest.raises(ArtifactError, match=r"cannot write .*; choose another folder"):
        atomic_write_bytes(old_file / "below", b"x")


def test_what_is_no_file_is_not_replaced_and_said_before_anything_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("folder", "a folder"), ("pipe", "not a regular file")):
        with (
            pytest.raises(ArtifactError, match=f"cannot write .*{name}: it is {what}; "),
            disk.atomic_writer(tmp_path / name),
        ):
            pytest.fail("work was done for it")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders too")
def test_a_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    with pytest.raises(ArtifactError, match="Permission denied"):
        atomic_write_bytes(folder / "f", b"x")
    with pytest.raises(ArtifactError, match="Permission denied"):
        RunDir.at(folder)


def test_a_folder_that_refuses_new_files_is_refused(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ArtifactError, match=r"cannot write .*Permission denied"):
        atomic_write_bytes(tmp_path / "f", b"x")
    monkeypatch.setattr(rundir.tempfile, "mkstemp", denied)
    with pytest.raises(ArtifactError, match=r"cannot write to .*Permission denied"):
        RunDir.at(tmp_path)


def test_json_refuses_what_json_cannot_say(tmp_path):
    path = tmp_path / "f.json"
    atomic_write_json(path, {"name": "Größe", "x": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(path, {"x": float("nan")})
    assert disk.read_json(path) == {"name": "Größe", "x": 1.5}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_json_file_is_one_line(tmp_path, content):
    path = tmp_path / "f.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not a readable JSON file") as caught:
        disk.read_json(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match="does not exist"):
        disk.read_json(tmp_path / "g.json")


def test_the_hash_of_a_folder_sees_names_and_contents(tmp_path):
    (tmp_path / "m/variables").mkdir(parents=True)
    (tmp_path / "m/a").write_text("1")
    (tmp_path / "m/variables/b").write_text("2")
    first = sha256_file(tmp_path / "m")
    (tmp_path / "m/a").rename(tmp_path / "m/c")
    renamed = sha256_file(tmp_path / "m")
    (tmp_path / "m/c").write_text("3")
    assert len({first, renamed, sha256_file(tmp_path / "m")}) == 3
    with pytest.raises(ArtifactError, match="cannot read .*nothing"):
        sha256_file(tmp_path / "nothing")


def test_runs_of_one_second_do_not_collide(tmp_path):
    runs = [RunDir.create("x", tmp_path / "runs") for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert re.fullmatch(r"x-\d{8}T\d{6}Z", runs[0].name)


def test_a_run_folder_is_new_empty_or_a_run(tmp_path):
    assert RunDir.at(tmp_path / "new").path.is_dir()
    assert RunDir.at(tmp_path / "new").path.is_dir()
    (tmp_path / "new/config.toml").touch()
    (tmp_path / "new/other").touch()
    assert names(RunDir.at(tmp_path / "new").path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    with pytest.raises(ConfigError, match=r"not empty and not a run folder \(1 entries"):
        RunDir.at(tmp_path / "photos")
    with pytest.raises(ArtifactError, match="cannot write to"):
        RunDir.at(tmp_path / "photos/cat.jpg")
    assert names(tmp_path / "photos") == ["cat.jpg"]


@pytest.mark.parametrize(
    ("runs", "advice"),
    [
        ([], "see 'edgecell train --help'"),
        (["a", "b"], "it holds a, b: give one of them, such as {}/b"),
        (["seed-3"], "such as {}/seed-3; a stopped training of several seeds goes on by its own"),
    ],
)
def test_a_folder_of_runs_is_told_apart_from_a_run(tmp_path, runs, advice):
    for name in runs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
    with pytest.raises(ArtifactError, match="not a run folder") as opened:
        RunDir.open(tmp_path)
    assert advice.format(tmp_path) in str(opened.value)
    with pytest.raises(ArtifactError, match="neither a run folder nor a model") as resolved:
        resolve(tmp_path)
    assert (advice.format(tmp_path) if runs else "allowed: ") in str(resolved.value)


@pytest.mark.parametrize(
    ("error", "left"),
    [
        *((DataError, []), (ConfigError, [])),
        *((each, ["config.toml"]) for each in (DivergedError, WorkerError, KeyboardInterrupt)),
    ],
)
def test_what_is_refused_after_its_settings_were_written_leaves_nothing(tmp_path, error, left):
    run = RunDir.at(tmp_path / "new")
    with pytest.raises(error), run.not_left_empty():
        (run.path / "config.toml").write_text("")
        raise error
    assert run.path.exists() == bool(left)
    assert [path.name for path in run.path.glob("*")] == left


@pytest.mark.parametrize("other", ["config.toml", "state"])
def test_what_is_refused_leaves_what_was_there_before_or_is_somebody_else_s(tmp_path, other):
    run = RunDir.at(tmp_path / "old")
    (run.path / other).write_text("")
    with pytest.raises(DataError), run.not_left_empty():
        (run.path / "config.toml").write_text("")
        raise DataError
    assert (run.path / "config.toml").exists() and (run.path / other).exists()


def test_only_a_run_opens_as_one(tmp_path):
    with pytest.raises(ArtifactError, match="no run folder at"):
        RunDir.open(tmp_path / "missing")
    with pytest.raises(ArtifactError, match="no config.toml"):
        RunDir.open(tmp_path)
    (tmp_path / "config.toml").touch()
    assert RunDir.open(tmp_path).name == tmp_path.name


@pytest.fixture
def stage(tmp_path):
    """A run with a finished 'quantize' that read one file inside it and one outside."""
    run = RunDir.at(tmp_path / "run")
    outside = tmp_path / "elsewhere/weights.h5"
    atomic_write_bytes(outside, b"weights")
    model, made = run.path / "train/model.keras", run.path / "quantize/m-int8.tflite"
    atomic_write_bytes(model, b"model")
    atomic_write_bytes(made, b"tflite")
    asked = {
        "inputs": [model, outside],
        "config": {"precisions": ("int8",), "seed": 0},
        "input_hashes": {"data:x": "ab"},
    }
    run.write_record("quantize", outputs=[made], results={"n": 1}, **asked)
    return run, asked, made


def test_a_record_names_files_without_saying_where_the_disk_is(stage, tmp_path):
    run, asked, made = stage
    record = run.read_record("quantize")
    assert record["inputs"] == {
        "train/model.keras": sha256_file(asked["inputs"][0]),
        "weights.h5": sha256_file(asked["inputs"][1]),
        "data:x": "ab",
    }
    assert record["outputs"] == {"quantize/m-int8.tflite": sha256_file(made)}
    text = (run.path / "quantize/record.json").read_text()
    for told in (str(tmp_path), str(Path.home()), os.uname().nodename):
        assert told not in json.dumps([record["inputs"], record["outputs"]]), told
        assert len(told) < 4 or told not in text, told


def test_inputs_with_the_same_bare_name_are_all_recorded(tmp_path):
    run = RunDir.at(tmp_path / "run")
    files = [tmp_path / f"{letter}/m.tflite" for letter in "abc"]
    for path, content in zip(files, (b"1", b"2", b"1"), strict=True):
        atomic_write_bytes(path, content)
    record = run.write_record("bench", inputs=files, outputs=[], config={}, results={})
    assert record["inputs"] == {
        "m.tflite": sha256_file(files[0]),
        "m.tflite (2)": sha256_file(files[1]),
    }
    assert run.is_current("bench", inputs=files, config={})
    files[1].write_bytes(b"3")
    assert not run.is_current("bench", inputs=files, config={})


def test_a_finished_stage_is_current_until_something_changes(stage):
    run, asked, made = stage
    assert run.has("quantize")
    assert run.is_current("quantize", **asked)
    assert run.check_outputs("quantize")["results"] == {"n": 1}
    assert not run.has("verify")
    assert not run.is_current("verify", **asked)


@pytest.mark.parametrize(
    "change",
    [
        lambda asked, _: asked["config"].update(seed=1),
        lambda asked, _: asked["config"].update(more=1),
        lambda asked, _: asked["input_hashes"].update({"data:x": "cd"}),
        lambda asked, _: asked["inputs"].pop(),
        lambda asked, _: asked["inputs"][0].write_bytes(b"retrained"),
        lambda _, made: made.write_bytes(b"altered"),
        lambda _, made: made.unlink(),
    ],
)
def test_each_change_makes_a_stage_stale(stage, change):
    run, asked, made = stage
    change(asked, made)
    assert not run.is_current("quantize", **asked)


def test_altered_and_missing_outputs_are_found(stage):
    run, _, made = stage
    made.write_bytes(b"altered")
    with pytest.raises(ArtifactError, match=r"m-int8.tflite was altered after 'quantize'"):
        run.check_outputs("quantize")
    made.unlink()
    with pytest.raises(ArtifactError, match="cannot read"):
        run.check_outputs("quantize")


def test_a_stage_without_record_has_not_finished(stage):
    run, _, made = stage
    (run.path / "quantize/record.json").unlink()
    assert made.exists()
    with pytest.raises(ArtifactError, match="no finished 'quantize'; run 'edgecell quantize'"):
        run.read_record("quantize")


def test_no_record_is_written_when_an_output_is_missing(tmp_path):
    run = RunDir.at(tmp_path / "run")
    with pytest.raises(ArtifactError, match="cannot read"):
        run.write_record(
            "train", inputs=[], outputs=[run.path / "train/none"], config={}, results={}
        )
    assert not run.has("train")


def test_the_environment_tells_versions_and_nobody_s_name():
    facts = machine.environment()
    assert facts["cores"] >= 1
    assert re.match(r"2\.21", facts["packages"]["tensorflow"])
    assert facts["packages"]["edgecell"] != "not installed"
    assert set(facts) == {"python", "system", "machine", "cpu", "cores", "packages"}
