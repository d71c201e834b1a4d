"""A stage that is done again and killed in between: its former files come back, and only those."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from edgecell import former
from edgecell.custody import audit_run
from edgecell.disk import atomic_write_bytes
from edgecell.errors import ArtifactError, BusyError
from edgecell.pipeline.training import save_keras
from edgecell.rundir import RunDir

NAMES = ("a.tflite", "b.png", "c.json")


class Model:
    """As much of a Keras model as saving asks for."""

    def save(self, path: Path) -> None:
        """Write it."""
        path.write_bytes(b"another model")


def write(run: RunDir, content: bytes, names: tuple[str, ...] = NAMES) -> list[Path]:
    paths = [run.stage("quantize") / name for name in names]
    for path in paths:
        atomic_write_bytes(path, content + path.name.encode())
    return paths


def record(run: RunDir, outputs: list[Path]) -> None:
    run.write_record("quantize", inputs=[], outputs=outputs, config={}, results={})


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with a finished stage."""
    found = RunDir(tmp_path)
    (tmp_path / "config.toml").write_text("")
    record(found, write(found, b"old "))
    return found


def contents(run: RunDir) -> list[bytes]:
    return [(run.stage("quantize") / name).read_bytes() for name in NAMES]


def kept(run: RunDir) -> list[str]:
    return sorted(path.name for path in run.path.rglob(f"*{former.SUFFIX}"))


OLD = [b"old " + name.encode() for name in NAMES]
NEW = [b"new " + name.encode() for name in NAMES]


def in_another_process(work) -> None:
    """Do ``work`` in a process that then dies without another word."""
    process = os.fork()
    if process == 0:
        work()
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


@pytest.mark.parametrize("replaced", [1, 2, 3])
def test_what_was_replaced_before_the_record_is_put_back(run, replaced):
    in_another_process(lambda: write(run, b"new ", NAMES[:replaced]))
    assert contents(run) == NEW[:replaced] + OLD[replaced:]
    assert len(kept(run)) == replaced
    found = audit_run(run.path)
    assert (found.findings, found.files) == ([], 3)
    assert contents(run) == OLD and kept(run) == []


def test_every_command_that_opens_the_run_puts_it_back(run):
    in_another_process(lambda: write(run, b"new "))
    assert RunDir.open(run.path).check_outputs("quantize")["verb"] == "quantize"
    assert contents(run) == OLD


def test_killed_twice_and_then_finished_it_is_the_new_one(run):
    in_another_process(lambda: write(run, b"first ", NAMES[:2]))
    in_another_process(lambda: write(run, b"second ", NAMES[1:]))
    record(run, write(run, b"new "))
    assert contents(run) == NEW and kept(run) == []
    assert audit_run(run.path).findings == []


def test_killed_twice_it_is_the_old_one(run):
    in_another_process(lambda: write(run, b"first ", NAMES[:2]))
    in_another_process(lambda: write(run, b"second ", NAMES[1:]))
    assert audit_run(run.path).findings == []
    assert contents(run) == OLD


def test_killed_right_after_the_record_it_is_the_new_one(run, monkeypatch):
    def finish_and_die() -> None:
        monkeypatch.setattr(former, "drop", lambda folder: os._exit(9))
        record(run, write(run, b"new "))

    in_another_process(finish_and_die)
    assert len(kept(run)) == 3
    assert audit_run(run.path).findings == []
    assert contents(run) == NEW and kept(run) == []


def test_the_files_of_a_process_that_lives_are_left_to_it(run):
    outputs = write(run, b"new ")
    in_another_process(lambda: former.put_back(run.path))
    assert contents(run) == NEW and len(kept(run)) == 3
    record(run, outputs)
    assert contents(run) == NEW and kept(run) == []


@pytest.mark.parametrize("late", [False, True])
def test_a_reader_that_comes_before_the_lock_costs_nothing(run, monkeypatch, late):
    """It finds the second name, unlocked, beside the very file that the record names: and removes it."""
    link, lock, came = os.link, fcntl.flock, []

    def reader() -> None:
        if not came:
            came.append(1)
            former.put_back(run.path)

    def linked(path: Path, kept: Path) -> None:
        link(path, kept)
        if not late:
            reader()

    def locked(stream: int, how: int) -> None:
        if late and how == fcntl.LOCK_SH and kept(run):  # not that of the file being written
            reader()
        lock(stream, how)

    def killed_halfway() -> None:
        monkeypatch.setattr(os, "link", linked)
        monkeypatch.setattr(fcntl, "flock", locked)
        write(run, b"new ", NAMES[:1])
        os._exit(9 if came and len(kept(run)) == 1 else 1)

    in_another_process(killed_halfway)
    RunDir.open(run.path).check_outputs("quantize")
    assert contents(run) == OLD


def test_who_reads_meanwhile_is_told_of_the_writer_and_not_of_an_alteration(run):
    outputs = write(run, b"new ", NAMES[:1])

    def read() -> None:
        with pytest.raises(
            BusyError, match="another process is at 'quantize'.*replaced quantize/a"
        ):
            RunDir.open(run.path).check_outputs("quantize")

    in_another_process(read)
    former.drop(run.stage("quantize"))  # Partner: without a writer it is an alteration
    with pytest.raises(ArtifactError, match="was altered after 'quantize'") as caught:
        run.check_outputs("quantize")
    assert not isinstance(caught.value, BusyError)
    assert outputs[0].read_bytes() == NEW[0]


def test_a_keras_model_that_is_saved_again_is_put_back(run):
    path = run.stage("quantize") / NAMES[0]
    in_another_process(lambda: save_keras(Model(), path))
    assert path.read_bytes() == b"another model"
    assert audit_run(run.path).findings == []
    assert path.read_bytes() == OLD[0]


def test_a_file_that_was_altered_is_still_found(run):
    """Partner: nothing comes back that no record vouches for, and no link is followed."""
    path = run.stage("quantize") / NAMES[0]
    path.write_bytes(b"altered")
    path.with_name(f".{path.name}{former.SUFFIX}").write_bytes(b"planted")
    assert [finding.kind for finding in audit_run(run.path).broken] == ["altered"]
    assert path.read_bytes() == b"altered" and kept(run) == []
    elsewhere = run.path.with_name("elsewhere")
    elsewhere.write_bytes(OLD[0])
    path.with_name(f".{path.name}{former.SUFFIX}").symlink_to(elsewhere)
    assert [finding.kind for finding in audit_run(run.path).broken] == ["altered"]
    assert not path.is_symlink()


def test_where_there_is_no_record_nothing_is_kept(run):
    (run.stage("quantize") / "record.json").unlink()
    write(run, b"new ")
    assert kept(run) == []
