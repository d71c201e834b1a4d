"""One writer to a stage; and what a disk or a network that fails leaves behind."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecell.disk import atomic_write_bytes
from edgecell.errors import ArtifactError, BusyError
from edgecell.lock import claimed
from edgecell.rundir import RunDir

HOLDER = """
import sys, time
from pathlib import Path
from edgecell.lock import claimed
with claimed(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is at 'train' in ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_who_is_at_work(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    said = rf"another process is at 'train' in .*: pid {holder.pid} on \S+ since \d{{4}}-.*Z; wait"
    with pytest.raises(BusyError, match=said), claimed(tmp_path, "train"):
        pytest.fail("two processes hold one lock")
    with claimed(tmp_path, "bench"):
        pass  # another stage
    assert BusyError.exit_code == 6


def test_a_killed_holder_keeps_nobody_out(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".train.lock").is_file()  # stale
    with claimed(tmp_path, "train"):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".train.lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_the_block_however_it_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path, "train"):
        raise KeyboardInterrupt
    with claimed(tmp_path, "train"):
        pass
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys, time
from pathlib import Path
from edgecell.disk import atomic_writer
with atomic_writer(Path(sys.argv[1])) as stream:
    stream.write(b"whole")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_what_another_process_is_writing_is_no_leftover(tmp_path: Path) -> None:
    """A report that one verb writes while another begins; what a killed one left goes."""
    report, run = tmp_path / "report.html", RunDir(tmp_path)
    (tmp_path / ".report.html.dead.tmp").write_text("half")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(report)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        run.remove_leftovers("verify")
        assert not (tmp_path / ".report.html.dead.tmp").exists()
        process.communicate("\n")
    assert process.returncode == 0 and report.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [report]


MANY = """
import sys, time
from pathlib import Path
from edgecell.errors import BusyError
from edgecell.lock import claimed
folder, end = Path(sys.argv[1]), time.monotonic() + 2
while time.monotonic() < end:
    try:
        with claimed(folder, "train"):
            mine = folder / "inside"
            mine.touch(exist_ok=False)  # FileExistsError where another is inside
            mine.unlink()
    except BusyError:
        pass
"""


def test_no_two_are_ever_inside_though_the_file_comes_and_goes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ArtifactError, match=r"cannot write .*--output"),
        claimed(tmp_path / "file", "train"),
    ):
        pytest.fail("held a lock in a file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB; skipped where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "model.tflite"
    atomic_write_bytes(path, b"old")
    with pytest.raises(ArtifactError, match=re.escape(f"cannot write {path}: No space left")):
        atomic_write_bytes(path, b"new" * 100_000)
    assert [p.name for p in small_disk.iterdir()] == ["model.tflite"]
    assert path.read_bytes() == b"old"
    atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_record_that_finds_no_room_is_not_there(small_disk: Path, tmp_path: Path) -> None:
    run = RunDir(small_disk / "run")
    big = tmp_path / "big"
    big.write_bytes(b"x")
    with pytest.raises(ArtifactError, match="No space left"):
        run.write_record(
            "train", inputs=[], outputs=[big], config={"text": "x" * 100_000}, results={}
        )
    assert [p.name for p in (small_disk / "run/train").iterdir()] == []
    assert not run.has("train")


def test_a_read_only_file_system_is_one_line(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for write in (
        lambda: atomic_write_bytes(small_disk / "f", b"x"),
        lambda: RunDir.at(small_disk / "run"),
        lambda: claimed(small_disk, "train").__enter__(),
    ):
        with pytest.raises(ArtifactError, match=r"cannot write .*Read-only file system; choose"):
            write()


def test_one_that_may_wait_comes_after_the_other(tmp_path: Path) -> None:
    script = HOLDER.replace("time.sleep(600)", "sys.stdin.readline()")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match=f"pid {other.pid} "),
            claimed(tmp_path, "train", patience=0.2),
        ):
            pytest.fail("did not wait for the other")
        threading.Timer(0.3, other.stdin.close).start()
        with claimed(tmp_path, "train", patience=60.0):
            assert other.wait(timeout=60) == 0  # it had left before
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_a_full_disk_does_not_take_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dumps", no_room)
    with pytest.raises(ArtifactError, match="No space left on device"), claimed(tmp_path, "train"):
        pass
    assert not list(tmp_path.iterdir())
