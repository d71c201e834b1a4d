"""A short run of the program that kills verbs, on downloads; and that it sees what a kill must not leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "soak/kill_verbs.py"


def kills(folder: Path, *words: str, seconds: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.mark.slow
def test_a_download_that_is_killed_and_begun_anew_is_whole(tmp_path: Path) -> None:
    done = kills(tmp_path, "--kills", "4", "--verb", "download", seconds=500)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "kills.json").read_text())["download"]
    assert (report["kills"], report["access"], report["second"]) == (4, 2, 2)
    assert report["compared"] >= 2


SABOTAGE = """
import sys
sys.path.insert(0, sys.argv[1])
import kill_verbs
from edgecell.data import medmnist_files
from pathlib import Path

def careless(entry, remote, folder, typed, progress):
    # As if downloads were written in place.
    import requests
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / remote.file_name
    with path.open("wb") as stream:
        for piece in requests.get(remote.url, stream=True).iter_content(4096):
            stream.write(piece)

medmnist_files._download = careless
found = kill_verbs.main([sys.argv[2], "--kills", "6", "--verb", "download"])
sys.exit(1 if kill_verbs.failed(found) else 0)
"""


@pytest.mark.slow
def test_a_download_in_place_is_found_out(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SABOTAGE, str(PROGRAM.parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    said = json.loads((tmp_path / "kills.json").read_text())["download"]["failed"]
    assert said.startswith("download ended with 3") and "is not the official file" in said
