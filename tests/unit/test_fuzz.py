"""The fuzzer: a short run of each kind finds nothing, and a run on planted faults finds every one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def fuzzed(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and result of a run."""
    results = folder / "results.json"
    command = [sys.executable, "-m", "tests.fuzz", "--folder", str(folder), "--json", str(results)]
    done = subprocess.run(
        [*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert results.is_file(), done.stderr
    return done.returncode, json.loads(results.read_text())[0]


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        *(("toml", 300), ("csv", 300), ("npz", 200), ("image", 300), ("tflite", 300)),
        *(("record", 60), ("audit", 200), ("bundle", 200)),
    ],
)
def test_no_input_of_a_short_run_does_harm(kind, count, tmp_path):
    code, result = fuzzed(tmp_path, "--kind", kind, "--count", str(count), "--seed", "7")
    assert code == 0, result
    assert result["tried"] == count
    # The audit takes a changed run only where the change was none; that it takes a sound one is asked first.
    assert result["accepted"] > 0 or kind == "audit"
    assert result["crashes"] == result["hangs"] == result["silent_acceptances"] == []
    # Most mutations break a file: a program that takes nearly all of them looks at none.
    assert sum(result["refused"].values()) > count / 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_no_keras_file_of_a_short_run_does_harm(kind, tmp_path):
    code, result = fuzzed(tmp_path, "--kind", kind, "--count", "200", "--seed", "7")
    assert code == 0, result
    assert result["tried"] == 200 and result["accepted"] > 0


def test_what_is_planted_is_found(tmp_path):
    # Nine inputs of this seed are the nine faults, each once.
    arguments = ("--kind", "planted", "--seed", "1649", "--count", "9", "--hang-seconds", "5")
    arguments = (*arguments, "--memory-mb", "200")
    code, result = fuzzed(tmp_path, *arguments)
    assert code == 1
    assert result["tried"] == 9 and result["accepted"] == 2
    said = {finding["what"].split(" at ")[0] for finding in result["crashes"]}
    assert said == {"KeyError", "SIGSEGV", "exit 7"}
    assert result["native_crashes_contained"].keys() == {"SIGSEGV"}
    assert result["refused"].keys() == {"DataError"}
    for found in ("hangs", "silent_acceptances", "over_memory"):
        assert len(result[found]) == 1, found
    # What was found is kept, and can be made again from seed and index.
    kept = tmp_path / "planted" / f"planted-1649-{result['silent_acceptances'][0]['index']}.bin"
    assert kept.read_text() == "silent"
