"""A bundle on a machine without edgecell: a new environment with what the sample's README names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from chromium import browser, needs_chromium
from easy import Run
from web_page import served

pytestmark = pytest.mark.slow

INT8 = "quantize/easy-mobilenet_v2-0.35-32-int8.tflite"


@pytest.fixture
def unpacked(edgecell: Run, run_copy: Path, tmp_path: Path) -> Path:
    """A bundle's zip, unpacked in a folder of its own."""
    done = edgecell("bundle", run_copy / INT8, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    [archive] = (tmp_path / "out").glob("*.zip")
    with zipfile.ZipFile(archive) as inside:
        inside.extractall(tmp_path / "elsewhere")
    return tmp_path / "elsewhere" / archive.stem


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Without the paths that would let edgecell in."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=540)


def test_the_readme_s_lines_are_enough(unpacked: Path) -> None:
    sample = unpacked / "samples" / "python"
    readme = (sample / "README.md").read_text()
    for line in (
        "python3 -m venv env",
        "env/bin/pip install -r requirements.txt",
        "env/bin/python classify.py --self-test",
    ):
        assert line in readme
    assert call(sys.executable, "-m", "venv", "env", cwd=sample).returncode == 0
    installed = call("env/bin/pip", "install", "-q", "-r", "requirements.txt", cwd=sample)
    if installed.returncode != 0 and "No matching distribution" in installed.stderr:
        pytest.skip("no package index can be reached from here")
    assert installed.returncode == 0, installed.stderr
    missing = call("env/bin/python", "-c", "import edgecell", cwd=sample)
    assert "No module named 'edgecell'" in missing.stderr
    tested = call("env/bin/python", "classify.py", "--self-test", cwd=sample)
    assert (tested.returncode, tested.stdout) == (
        0,
        "PASS decode, resize, scale, inference: 32 images\n",
    ), tested.stderr
    shown = call("env/bin/python", "classify.py", "../../golden/00.png", cwd=sample)
    assert shown.stdout.startswith("00.png: ")
    model = unpacked / "model.tflite"
    model.write_bytes(model.read_bytes()[:-40] + bytes(40))
    broken = call("env/bin/python", "classify.py", "--self-test", cwd=sample)
    assert broken.returncode == 1
    assert "FAIL inference: model.tflite was altered" in broken.stdout


@needs_chromium
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here")
def test_the_page_s_readme_is_enough_too(unpacked: Path, tmp_path: Path) -> None:
    sample = unpacked / "samples" / "web"
    assert "npm ci\nnpm start" in (sample / "README.md").read_text()
    installed = call("npm", "ci", "--no-audit", "--no-fund", cwd=sample)
    if installed.returncode != 0 and "network" in installed.stderr:
        pytest.skip("no package index can be reached from here")
    assert installed.returncode == 0, installed.stderr
    verdicts = []
    with browser(tmp_path / "profile") as started, served(unpacked) as address:
        tab = started.tab()
        for flip in (False, True):
            if flip:
                model = unpacked / "model.tflite"
                model.write_bytes(model.read_bytes()[:-40] + bytes(40))
            tab.show(address)
            tab.until("!document.querySelector('#test').disabled")
            tab.click("#test")
            tab.until("document.querySelector('#verdict').textContent")
            verdicts.append(tab.js("document.querySelector('#verdict').textContent"))
    assert verdicts[0] == "PASS decode, resize, scale, inference: 32 images"
    assert verdicts[1].startswith("FAIL inference: ") and "model.tflite was altered" in verdicts[1]
