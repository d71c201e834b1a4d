"""What goes to a board and comes back, and that the archive holds all that it needs there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

from benchmarks.devices import archive
from benchmarks.devices.exchange import read_jobs, read_session, write_jobs, write_session
from benchmarks.devices.on_board import listener
from benchmarks.devices.session import sample

from .conftest import BRIEF, silent


def test_a_session_survives_the_journey(jobs, tmp_path):
    write_jobs(tmp_path, jobs, BRIEF)
    assert len(list(tmp_path.glob("images-*.npy"))) == 1  # shared by both
    there, options = read_jobs(tmp_path)
    assert options == BRIEF
    assert [job.name for job in there] == ["int8", "float32"]
    np.testing.assert_array_equal(there[1].images, jobs[1].images)
    session = sample(there, options, silent)
    write_session(tmp_path / "results", session)
    back = read_session(tmp_path / "results")
    assert back.facts == session.facts
    assert back.background == session.background
    for ours, theirs in zip(session.models, back.models, strict=True):
        assert ours.raw.dtype == theirs.raw.dtype
        np.testing.assert_array_equal(ours.raw, theirs.raw)
        assert ours.memory == theirs.memory
        (mine,), (other,) = ours.timings, theirs.timings
        assert (mine.threads, mine.delegate, mine.load_ns, mine.first_ns) == (
            *(other.threads, other.delegate, other.load_ns, other.first_ns),
        )
        assert mine.timed.ns.tolist() == other.timed.ns.tolist()
        assert mine.timed.turns.tolist() == other.timed.turns.tolist()
        assert ours.batches[0].times.tolist() == theirs.batches[0].times.tolist()
    session.models[0].batches[0] = type(session.models[0].batches[0])(1, 3, "no batch but 1")
    write_session(tmp_path / "again", session)
    assert read_session(tmp_path / "again").models[0].batches[0].times == "no batch but 1"
    (tmp_path / "again" / "raw-1.npy").unlink()
    with pytest.raises(OSError, match="raw-1"):
        read_session(tmp_path / "again")


def imported(name: str, seen: set[str]) -> set[str]:
    """Files of the repository that a file imports, directly or not; TYPE_CHECKING is not run."""
    if name in seen:
        return seen
    seen.add(name)
    for node in ast.walk(ast.parse((REPOSITORY / name).read_text(encoding="utf-8"))):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            targets = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for target in targets:
            if target.split(".")[0] not in ("edgecell", "benchmarks"):
                continue
            path = Path(*target.split("."))
            for found in (path.with_suffix(".py"), path / "__init__.py"):
                if (REPOSITORY / found).is_file():
                    imported(str(found), seen)
    return seen


def test_the_archive_holds_what_is_imported_and_no_more():
    start = imported("benchmarks/devices/on_board.py", set())
    start |= imported("benchmarks/footprint_probe.py", set())
    packages = {str(Path(name).parent / "__init__.py") for name in start}
    assert set(archive.FILES) == start | packages


def test_the_archive_is_python_3_10():
    for name in archive.FILES:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, 10))
        assert "from datetime import UTC" not in text
        assert "import tomllib" not in text


def test_the_archive_runs_alone(jobs, tmp_path):
    """In an empty folder, on a path without the repository: refusals are told, progress too."""
    program = tmp_path / "bench.pyz"
    program.write_bytes(archive.board_archive())
    assert archive.board_archive() == program.read_bytes()
    assert len(zipfile.ZipFile(program).namelist()) == len(archive.FILES) + 1
    folder = tmp_path / "work"
    folder.mkdir()
    write_jobs(folder, jobs, BRIEF)
    command = [sys.executable, "-E", str(program), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    heard = []
    hear = listener(lambda text, share: heard.append(share))
    assert all(hear(line) for line in done.stderr.splitlines()), done.stderr
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert read_session(folder / "results").models[0].raw.shape == (70, 3)
    model = folder / "0" / jobs[0].path.name
    model.write_bytes(b"no model")
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"edgecell-refused {model.name}")


def test_options_are_json(tmp_path):
    data = json.loads(json.dumps(BRIEF.to_json()))
    assert type(BRIEF).from_json(data) == BRIEF
