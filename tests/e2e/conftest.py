"""A small, easy data set and one finished run on it, made once for all end-to-end tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from easy import CLASSES, COUNTS, LENIENT, QUICK, SMALL, Result, Run, easy_images

import edgecell.cli as command_line


@pytest.fixture
def edgecell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Call the command line in this process, from an empty folder."""
    monkeypatch.setattr(command_line.terminal, "quiet_native_output", lambda: sys.stderr)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            command_line.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(int(end.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is made once, also where the tests are shared among several processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def easy_npz(common: Path) -> Path:
    """Three colours in MedMNIST layout."""
    path = common / "data" / "easy.npz"
    with (common / "data.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            arrays: dict[str, np.ndarray] = {"class_names": np.array(CLASSES)}
            for seed, (split, count) in enumerate(COUNTS.items()):
                arrays[f"{split}_images"], arrays[f"{split}_labels"] = easy_images(count, seed)
            path.parent.mkdir()
            np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def finished_run(easy_npz: Path, common: Path) -> Path:
    """A whole ``edgecell run`` in a process of its own; do not change it, see ``run_copy``."""
    folder = common / "run" / "easy"
    with (common / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (common / "run.done").exists():
            return folder
        command = [sys.executable, "-m", "edgecell", "run", "--data", easy_npz, "--output", folder]
        command += [*SMALL, *LENIENT, *QUICK, "--float32", "--float16", "--int8"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        (common / "run.done").touch()
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
