"""The browser device: its exchange with a scripted browser, its refusals, and a real Chromium."""

from __future__ import annotations

import configparser
import json
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from chromium import needs_chromium
from conftest import REPOSITORY

from benchmarks.devices import browser as browser_module
from benchmarks.devices import litert_js
from benchmarks.devices.browser import Browser
from benchmarks.devices.interface import DeviceError
from benchmarks.devices.registry import open_device
from benchmarks.latency import Pace
from benchmarks.run import bench
from edgecell.runtime import TFLitePredictor

from .conftest import BRIEF, silent

# A browser that runs no page: it asks for the jobs as the page does, and posts what it is told to.
SCRIPTED = """#!{python}
import json, os, sys, urllib.request
if "--version" in sys.argv:
    print("Scripted Chromium 7.8.9 built on paper")
    sys.exit()
told = b""
while not told.endswith(b"\\0"):
    told += os.read(3, 4096)
message = json.loads(told[:-1])
assert message["method"] == "Target.createTarget"
address = message["params"]["url"]
assert address.startswith("http://127.0.0.1:")
secret = address.split("/")[-2]
# What any user of the machine reads, and what processes below this one are given.
assert not any(secret in text for text in [*sys.argv, *os.environ.values()])
assert any(flag.startswith("--user-data-dir=") for flag in sys.argv)
jobs = json.load(urllib.request.urlopen(address + "jobs.json"))
def post(path, data):
    urllib.request.urlopen(urllib.request.Request(address + path, json.dumps(data).encode()))
{act}
"""
ANSWERS = """
post("progress", {"text": "answers", "share": 0.25})
models = []
for job in jobs["jobs"]:
    pixels = urllib.request.urlopen(address + job["images"]).read()
    model = urllib.request.urlopen(address + job["model"]).read()
    count = len(pixels) // (job["height"] * job["width"] * 3)
    outputs = [[pixels[i], 1, 2] for i in range(count)]
    samples = [0.25, 0.5, 0.75, 1.0]
    timing = {"load": [9.0], "first": [2.0], "samples": samples, "turns": [0, 2]}
    models.append({"outputs": outputs, "timings": [timing | {"threads": 1}]})
models[0]["timings"].append({"threads": 3, "reason": "no SharedArrayBuffer"})
models[1]["timings"].append(timing | {"threads": 3})
if len(models) > 2:
    models[2] = {"reason": "int8 is not\\n supported", "timings": []}
facts = {"agent": "X", "cores": 4, "isolated": False, "builds": ["a_compat_internal.wasm"]}
post("result", {"models": models, "facts": facts})
import time; time.sleep(60)
"""


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """Make the scripted browser do something."""
    monkeypatch.setattr(browser_module, "packages", lambda: tmp_path)

    def install(act: str) -> Browser:
        program = tmp_path / "scripted"
        program.write_text(SCRIPTED.replace("{python}", sys.executable).replace("{act}", act))
        program.chmod(0o755)
        monkeypatch.setenv("EDGECELL_BROWSER", str(program))
        return open_device("browser")

    return install


def test_the_exchange(scripted, jobs):
    device = scripted(ANSWERS)
    options = replace(BRIEF, threads=(1, 3))
    three = [*jobs, replace(jobs[0], name="refused")]
    heard = []
    found = device.measure(three, options, 1, lambda text, share: heard.append(share))
    assert 0.25 in heard
    assert found.name == "Scripted Chromium 7"
    assert found.facts["system"] == "Scripted Chromium 7.8.9, a_compat_internal.wasm"
    assert found.facts["versions"]["@litertjs/core"] == litert_js.version()
    assert len(found.warnings) == 2  # not isolated, and the slower build
    int8, float32, refused = found.answers
    pixels = jobs[0].images.reshape(-1)[:70]
    np.testing.assert_array_equal(int8.raw, np.c_[pixels, [1] * 70, [2] * 70])
    assert int8.raw.dtype == np.uint8
    assert float32.raw.dtype == np.float32
    assert refused.raw == "LiteRT.js cannot run it: int8 is not supported"
    once, thrice = int8.latency
    assert (once["threads"], once["n"], once["rounds"]) == (1, 4, 2)
    assert once["p50"]["value"] == 0.5
    assert once["load"]["value"] == 9.0
    assert once["ratio"]["value"] == 1.0
    assert "does not say" in once["delegate"]["reason"]
    assert thrice["p50"]["reason"] == "LiteRT.js cannot use threads here: no SharedArrayBuffer"
    assert float32.latency[1]["ratio"]["value"] == 1.0
    assert [entry["threads"] for entry in refused.latency] == [1, 3]
    assert refused.latency[0]["p50"]["reason"].startswith("LiteRT.js cannot run it")
    assert {entry["rate"]["reason"] for entry in int8.throughput} == {browser_module._SINGLY}
    assert "reason" in int8.memory["over_baseline"]


def test_a_page_that_fails_and_a_browser_that_ends(scripted, jobs, monkeypatch):
    failing = scripted('post("failure", {"message": "TypeError: x is\\nnot a function"}); input()')
    with pytest.raises(DeviceError, match="could not measure: TypeError: x is not a function"):
        failing.measure(jobs, BRIEF, None, silent)
    ending = scripted("sys.exit(5)")
    with pytest.raises(DeviceError, match="ended with code 5"):
        ending.measure(jobs, BRIEF, None, silent)
    monkeypatch.setattr(browser_module, "_SILENCE_SECONDS", 0.5)
    sleeping = scripted("import time; time.sleep(60)")
    with pytest.raises(DeviceError, match="no sign of life"):
        sleeping.measure(jobs, BRIEF, None, silent)


def test_the_page_is_told_how_pixels_become_values(tiny_files, jobs):
    made = browser_module._made(jobs, BRIEF)
    told = json.loads(made["jobs.json"]())
    assert told["jobs"][0]["images"] == told["jobs"][1]["images"] == "images-0"
    assert made["images-0"]() == jobs[0].images.tobytes()
    for job, listed in zip(jobs, told["jobs"], strict=True):
        predictor = TFLitePredictor(job.path)
        assert listed["dtype"] == predictor.input_dtype.name
        assert listed["values"] == list(range(256))
    assert told["options"]["pace"]["turn_runs"] == 2
    assert told["options"]["threads"] == [1]


def test_without_a_browser(monkeypatch):
    monkeypatch.setattr(browser_module.shutil, "which", lambda name: None)
    monkeypatch.delenv("EDGECELL_BROWSER", raising=False)
    with pytest.raises(DeviceError, match="no Chromium on this machine.*apt-get install chromium"):
        open_device("browser")
    monkeypatch.setenv("EDGECELL_BROWSER", "no-such-browser")
    with pytest.raises(DeviceError, match="looked for no-such-browser"):
        open_device("browser")


def test_the_built_in_delegate_cannot_be_left_out(scripted, jobs):
    with pytest.raises(DeviceError, match="leave --delegate none out"):
        scripted("").measure(jobs, replace(BRIEF, xnnpack=False), None, silent)


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A scripted npm and an empty cache."""
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def install(script: str) -> None:
        program = tmp_path / "bin" / "npm"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


def test_npm_installs_once(npm, tmp_path):
    with pytest.raises(DeviceError, match="no npm on this machine"):
        litert_js.packages()
    npm('echo "npm error code E404" >&2; exit 1')
    with pytest.raises(
        DeviceError, match=r"cannot install @litertjs/core 2\.\d+\.\d+, .*: npm error code E404"
    ):
        litert_js.packages()
    assert list((tmp_path / "cache").iterdir()) == []
    log = tmp_path / "log"
    npm(f'echo "$@" >> {log}; /bin/mkdir -p node_modules/@litertjs/core')
    folder = litert_js.packages()
    assert (folder / "@litertjs" / "core").is_dir()
    assert litert_js.packages() == folder
    assert len(log.read_text().splitlines()) == 1
    assert "--ignore-scripts" in log.read_text()


def test_the_lock_names_no_host_and_the_pinned_versions():
    lock = json.loads((litert_js.PAGE / "package-lock.json").read_text())
    wanted = json.loads((litert_js.PAGE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        entry = lock["packages"][f"node_modules/{name}"]
        assert entry["version"] == version
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry


def test_the_page_is_in_the_package():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    patterns = setup["options.package_data"]["benchmarks"].split()
    package = REPOSITORY / "benchmarks"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    others = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert others == packed
    assert {path.name for path in packed} >= {"index.html", "bench.js", "package-lock.json"}


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("kind", [("float32", None), ("int8", "uint8"), ("int8", "int8")])
def test_a_real_browser_answers_as_python_does(litertjs, tmp_path, kind):
    precision, input_type = kind
    path = tmp_path / "toy.tflite"
    path.write_bytes(toys.converted(precision, input_type))
    images, labels = toys.images(90, seed=5)
    options = replace(BRIEF, pace=Pace(64, 0.0, 5), threads=(1, 2))
    found = bench([path], images, labels, toys.CLASSES, options, device=Browser())
    (model,) = found.models
    once, twice = model["latency"]
    assert found.host["cross_origin_isolated"] is True
    if input_type == "int8":  # LiteRT.js has no tensors of this type
        assert "LiteRT.js cannot run it" in model["quality"]["accuracy"]["reason"]
        assert "LiteRT.js cannot run it" in once["p50"]["reason"]
        return
    assert model["agreement"]["top1"]["value"] == 1.0
    largest = model["agreement"]["largest_difference"]
    # int8 kernels compute integers, the same everywhere; float sums have another order in WebAssembly:
    # a few steps of float32 at 1, each 1.2e-7.
    assert largest["value"] <= (0 if precision == "int8" else 1e-5)
    assert model["quality"]["accuracy"]["value"] > 0.9
    for timing in (once, twice):
        assert timing["n"] >= 64
        assert timing["p90"]["value"] >= timing["p50"]["value"] > 0
    assert "litert_wasm_threaded_internal.wasm" in found.host["system"]


@needs_chromium
@pytest.mark.slow
def test_no_command_line_tells_where_the_page_is(litertjs, jobs):
    """Every user of a machine can read all command lines, and with the address the images."""
    seen: list[str] = []

    def look(text: str, share: float) -> None:
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                seen.append(each.read_text(errors="replace"))

    Browser().measure(jobs, BRIEF, None, look)
    assert any("--remote-debugging-pipe" in line for line in seen)  # it was looked at in time
    assert not [line for line in seen if "http://127.0.0.1:" in line]


@needs_chromium
@pytest.mark.slow
def test_the_builds_that_ran_are_known_however_long_it_took(litertjs, jobs, tmp_path, monkeypatch):
    """Each sign of life is an entry in the browser's list of what it loaded: 250 unless it is told more."""
    page = tmp_path / "page"
    shutil.copytree(litert_js.PAGE, page)
    script = (page / "bench.js").read_text()
    first = "  await loadLiteRt(WASM);\n"
    assert script.count(first) == 1
    life = "  for (let i = 0; i < 260; i++) await say('still alive', 0);\n"
    script = script.replace(first, f"{first}{life}").replace("- said < 500", "- said < 0")
    (page / "bench.js").write_text(script)
    monkeypatch.setattr(browser_module, "PAGE", page)
    found = Browser().measure(jobs[:1], replace(BRIEF, threads=(2,)), None, silent)
    assert "litert_wasm_threaded_internal.wasm" in found.facts["system"]
