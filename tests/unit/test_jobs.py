"""Worker processes: their cores, their words, their errors, and how they end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import working

from edgecell.errors import DataError
from edgecell.pipeline.jobs import run_jobs
from edgecell.progress import Silent

TESTS = Path(working.__file__).parent


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no pinning on this system")
def test_workers_share_the_cores_and_their_lines_come_with_their_names():
    heard = Heard()
    assert run_jobs(2, working.tell_cores, (), heard) == []
    cores = sorted(os.sched_getaffinity(0))
    shares = [cores[0::2], cores[1::2] or cores]
    assert sorted(heard.lines) == sorted(
        line
        for i, share in enumerate(shares, 1)
        for line in (f"worker {i}: cores {share}", f"worker {i}: a note")
    )


def test_workers_say_no_more_than_their_parent(monkeypatch):
    heard = Heard()
    for level in (logging.ERROR, logging.INFO):
        monkeypatch.setattr(logging.getLogger("tensorflow"), "level", level)
        run_jobs(1, working.tell_levels, (), heard)
    absl = logging.getLogger("absl").level
    assert heard.lines == [f"worker 1: 40, {absl}", f"worker 1: 20, {absl}"]


def test_an_error_of_one_ends_all_and_the_others_put_their_work_down(tmp_path):
    with pytest.raises(DataError, match="^the images are gone$"):
        run_jobs(2, working.fail_or_wait, (tmp_path,), Heard())
    assert (tmp_path / "put down").exists()


def test_one_that_is_killed_is_named():
    assert run_jobs(1, working.die, (), Heard()) == ["worker 1 was ended by signal 9 (SIGKILL)"]


def test_a_bug_is_told_with_its_traceback():
    heard = Heard()
    assert run_jobs(1, working.blunder, (), heard) == ["worker 1 ended with code 1"]
    assert heard.lines[-1] == "worker 1: ZeroDivisionError: a bug"
    assert any("in blunder" in line for line in heard.lines)


PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import working
from edgecell.pipeline.jobs import run_jobs
from edgecell.progress import Silent
try:
    run_jobs(2, working.linger, (Path(sys.argv[1]),), Silent())
except KeyboardInterrupt:
    raise SystemExit(130)
"""


def named(folder: Path, beginning: str) -> set[int]:
    return {int(path.name.split()[-1]) for path in folder.glob(f"{beginning}*")}


def wait_until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs: the dead whom nobody has asked after do not count."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupt_of_the_parent_and_its_death_reach_the_workers(tmp_path, how, code):
    command = [sys.executable, "-c", PARENT.format(tests=str(TESTS)), str(tmp_path)]
    # A background job of a shell ignores Ctrl-C, and what it starts inherits that; not so a handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(named(tmp_path, "at work")) == 2 or parent.poll() is not None)
    workers = named(tmp_path, "at work")
    os.kill(parent.pid, how)
    _, said = parent.communicate(timeout=100)
    assert parent.returncode == code, said
    wait_until(lambda: named(tmp_path, "put down") == workers)
    wait_until(lambda: not any(alive(worker) for worker in workers))
