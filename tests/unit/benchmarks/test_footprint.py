from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from benchmarks import footprint, footprint_probe
from benchmarks.devices import session
from benchmarks.devices.session import Job
from benchmarks.footprint import file_sizes, peak_memory
from benchmarks.options import BenchOptions
from edgecell.errors import ArtifactError
from edgecell.runtime import TFLitePredictor


def test_sizes(tiny_files, tmp_path):
    path = tiny_files["float32"]
    found = file_sizes(path)
    assert found["size"]["value"] == path.stat().st_size
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(path, "a")
        assert found["deflated"]["value"] == archive.getinfo("a").compress_size


def test_memory_of_a_fresh_process(tiny_files):
    found = peak_memory(tiny_files["int8"])
    baseline, one, ten = (found[key]["value"] for key in ("baseline", "one", "ten"))
    assert 10e6 < baseline < one <= ten
    assert found["over_baseline"]["value"] == ten - baseline


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss survives exec on Linux only")
def test_a_large_parent_does_not_show_in_its_child(tiny_files):
    ballast = np.ones(300_000_000, np.uint8)  # a bench process that holds images and TensorFlow
    found = peak_memory(tiny_files["int8"])
    assert found["ten"]["value"] < 200e6
    code = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    naive = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert naive * 1024 > 200e6  # why the probe does not use it
    assert ballast.sum() == 300_000_000


def test_a_probe_that_fails_gives_a_reason(tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing")
    reason = peak_memory(bad)["over_baseline"]["reason"]
    assert "code 1" in reason
    assert "not a TFLite file" in reason


def test_a_user_folder_named_benchmarks_is_not_imported(tiny_files, tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert "value" in peak_memory(tiny_files["int8"])["ten"]


@pytest.mark.parametrize("xnnpack", [True, False])
def test_memory_is_that_of_the_kernels_that_are_timed(tiny_files, monkeypatch, xnnpack):
    """XNNPACK packs a copy of the weights: with a large float32 file a third of the figure."""
    asked, opened = [], []
    run, open_file = footprint.subprocess.run, TFLitePredictor.open

    def asks(command, **settings):
        asked.append(command[3:])
        return run(command, **settings)

    def opens(path, **settings):
        opened.append(open_file(path, **settings))
        return opened[-1]

    monkeypatch.setattr(footprint.subprocess, "run", asks)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    options = BenchOptions(threads=(), batches=(), xnnpack=xnnpack)
    session.sample([Job("a", tiny_files["float32"], images)], options, lambda text, share: None)
    monkeypatch.setattr(footprint_probe.TFLitePredictor, "open", opens)
    footprint_probe.main(*asked[0])
    assert bool(opened[0].delegation().taken) is xnnpack


def test_missing_file(tmp_path):
    with pytest.raises(ArtifactError, match="no model file at"):
        file_sizes(tmp_path / "none.tflite")


def test_probe_speaks_json(tiny_files, capsys):
    footprint_probe.main(str(tiny_files["int8"]))
    assert set(json.loads(capsys.readouterr().out)) == {"baseline", "one", "ten"}
