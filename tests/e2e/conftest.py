"""A small, easy data set and one finished run on it, made once for all end-to-end tests."""

from __future__ import annotations

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
def easy_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours in MedMNIST layout."""
    arrays: dict[str, np.ndarray] = {"class_names": np.array(CLASSES)}
    for seed, (split, count) in enumerate(COUNTS.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = easy_images(count, seed)
    path = tmp_path_factory.mktemp("data") / "easy.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def finished_run(easy_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole ``edgecell run`` in a process of its own; do not change it, see ``run_copy``."""
    folder = tmp_path_factory.mktemp("run") / "easy"
    command = [sys.executable, "-m", "edgecell", "run", "--data", easy_npz, "--output", folder]
    command += [*SMALL, *LENIENT, *QUICK, "--float32", "--float16", "--int8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
