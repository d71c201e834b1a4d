"""What benchmark_model printed on real phones is read, and the exchange with a scripted adb.

Nothing here has met a phone.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.devices import adb as adb_module
from benchmarks.devices import benchmark_model as tool
from benchmarks.devices.adb import Adb
from benchmarks.devices.interface import DeviceError
from benchmarks.devices.registry import DeviceOptions, open_device
from benchmarks.latency import Pace
from benchmarks.run import bench

from .conftest import BRIEF, silent

RECORDED = Path(__file__).with_name("recorded")


def recorded(name: str) -> str:
    """What a phone printed, without the lines that say where it comes from."""
    lines = (RECORDED / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines[0].startswith("# Recorded on")
    return "".join(line for line in lines if not line.startswith("# "))


def test_every_recording_is_read_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.stem}"' in text for path in RECORDED.iterdir())


@pytest.mark.parametrize(
    ("name", "count", "median", "p95", "mean", "first", "load", "mebibytes", "label"),
    [
        ("android_2020", 50, None, None, 33.2094, 49.06, 0.855, 12.8672, "not told"),
        (
            "android_2025",
            24,
            42.405,
            42.729,
            42.4354,
            72.635,
            143.669,
            27.5859,
            "XNNPACK 2136 of 2168",
        ),
        ("android_gpu_2020", 50, None, None, 119.375, 130.565, 870.557, None, "GPU"),
        ("raspberry_pi_2021", 50, None, None, 55.7442, 65.683, 49.438, None, "part XNNPACK"),
        ("arm_slow_2024", 50, 1239.807, 1247.415, 1240.27, 1357.602, 5.579, 109.832, "not told"),
    ],
)
def test_recorded_output(name, count, median, p95, mean, first, load, mebibytes, label):
    told = tool.read(recorded(name), xnnpack=True)
    entry = tool.latency_entry(told, 4)
    assert (entry["threads"], entry["n"]) == (4, count)
    for key, wanted in (("p50", median), ("p95", p95), ("mean", mean)):
        if wanted is None:
            assert key == "p95" or "older than its median" in entry[key]["reason"]
        else:
            assert entry[key]["value"] == pytest.approx(wanted)
            assert entry[key]["n"] == count
    assert entry["first"]["value"] == pytest.approx(first)
    assert entry["load"]["value"] == pytest.approx(load)
    for key in ("p90", "p99", "drift", "ratio"):
        assert "value" not in entry[key]
    assert entry["delegate"]["label"] == label
    grown = tool.memory_entry(told)["over_baseline"]
    if mebibytes is None:
        assert grown["reason"] == "this benchmark_model tells no memory"
    else:
        assert grown["value"] == pytest.approx(mebibytes * 1024 * 1024)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("android_2025_refused", r"^ERROR: tensorflow/lite/kernels/batch_matmul.cc:353"),
        ("android_no_xnnpack_2022", "^Failed to apply XNNPACK delegate"),
    ],
)
def test_recorded_failures(name, said):
    with pytest.raises(tool.NoFigures, match=said):
        tool.read(recorded(name), xnnpack=True)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "/system/bin/sh: ./benchmark_model: not executable: 64-bit ELF file",
        # The warm-up's line alone is no measurement.
        recorded("android_2020").replace("count=50", "cnt=50"),
        recorded("android_2020").replace("Inference timings in us", "Timings"),
        # A profile's last line has the same shape as a measurement's.
        recorded("android_2020").replace("count=50", "Timings (microseconds): count=50"),
    ],
)
def test_without_times_there_are_no_figures(output):
    with pytest.raises(tool.NoFigures):
        tool.read(output, xnnpack=True)


def test_a_delegate_that_took_nothing_is_not_in_the_label():
    text = recorded("android_2025")
    nothing = text.replace("Replacing 2136 out", "Replacing 0 out")
    assert tool.read(nothing, xnnpack=True).delegate["label"] == "built-in kernels"
    whole = text.replace("Replacing 2136 out", "Replacing 2168 out")
    assert tool.read(whole, xnnpack=True).delegate["label"] == "XNNPACK"
    # As in the public thread tensorflow/tensorflow#56301.
    line = "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate"
    fallen = tool.read(f"{line}\n{recorded('android_2020')}", xnnpack=True).delegate
    assert fallen["label"] == "built-in kernels"
    assert fallen["reason"].startswith("NNAPI took no operator")
    assert (
        tool.read(recorded("android_2020"), xnnpack=False).delegate["label"] == "built-in kernels"
    )


# An adb that keeps a log of its calls and plays a phone; the folder is the phone's.
PHONE = """#!{python}
import os, re, shutil, sys
here = "{folder}"
arguments = sys.argv[1:]
with open(here + "/log", "a") as log:
    log.write(" ".join(arguments) + "\\n")
if arguments[:1] == ["-s"]:
    if arguments[1] != "R5CT123":
        sys.exit("error: device '" + arguments[1] + "' not found")
    arguments = arguments[2:]
verb, rest = arguments[0], arguments[1:]
properties = {"ro.product.manufacturer": "Example", "ro.product.model": "Phone 7", "ro.soc.model": "SM1",
              "ro.build.version.release": "15", "ro.product.cpu.abi": "arm64-v8a"}
def local(path):
    return here + "/phone" + path
if verb == "get-state":
    print("device")
elif verb == "push":
    shutil.copy(rest[0], local(rest[1]))
elif rest[0].startswith("getprop "):
    print(properties.get(rest[0].split()[1], ""))
elif rest[0] == "nproc":
    print(8)
elif rest[0].startswith("cat "):
    print("schedutil")
elif rest[0].startswith("mkdir "):
    os.makedirs(local(rest[0].split()[1]))
elif rest[0].startswith("chmod "):
    assert os.path.isfile(local(rest[0].split()[2]))
elif rest[0].startswith("rm -rf "):
    shutil.rmtree(local(rest[0].split()[2]))
else:
    graph = re.search(r"--graph=(\\S+)", rest[0])[1]
    assert os.path.isfile(local(graph)) and os.path.isfile(local(rest[0].split()[0]))
    {act}
"""
PLAYS = """name = "android_2025_refused" if graph.endswith("/1.tflite") else "android_2025"
    print(open("{recorded}/" + name + ".txt").read())"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Make the scripted phone; what it was told is in its log."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "phone").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    program = tmp_path / "benchmark_model"
    program.write_bytes(b"\x7fELF")

    def install(script: str = PHONE, act: str = PLAYS, address: str = "adb") -> Adb:
        text = script.replace("{act}", act).replace("{recorded}", str(RECORDED))
        text = text.replace("{python}", sys.executable).replace("{folder}", str(tmp_path))
        (tmp_path / "bin" / "adb").write_text(text)
        (tmp_path / "bin" / "adb").chmod(0o755)
        return open_device(address, DeviceOptions(benchmark_model=str(program)))

    return install


def test_the_exchange(phone, jobs, tmp_path):
    options = replace(BRIEF, pace=Pace(128, 6.0, 20, either=True), threads=(1, 0))
    device = phone(address="adb:R5CT123")
    paths = [job.path for job in jobs]
    labels = np.arange(70) % 3
    found = bench(paths, jobs[0].images, labels, ["a", "b", "c"], options, device=device)
    assert found.device == {"kind": "adb", "name": "Example Phone 7"}
    assert "R5CT123" not in str(found.to_json())
    assert found.host["system"] == "Android 15, arm64-v8a"
    assert (found.host["cpu"], found.host["cores"], found.host["governor"]) == (
        "SM1",
        8,
        "schedutil",
    )
    good, refused = found.models
    assert [timing["threads"] for timing in good["latency"]] == [1, 8]
    assert good["latency"][0]["p50"]["value"] == 42.405
    assert "ERROR: tensorflow/lite" in refused["latency"][0]["p50"]["reason"]
    for model in found.models:
        assert "returns no answers" in model["quality"]["accuracy"]["reason"]
        assert "returns no answers" in model["agreement"]["top1"]["reason"]
    assert good["footprint"]["memory"]["over_baseline"]["value"] == 27.5859 * 1024 * 1024
    assert "gave no figures" in refused["footprint"]["memory"]["over_baseline"]["reason"]
    log = (tmp_path / "log").read_text()
    assert log.count("--num_threads=1 ") == log.count("--num_threads=8 ") == 2
    flags = "--num_runs=128 --min_secs=0 --max_secs=6 --warmup_runs=20 --use_xnnpack=true"
    assert log.count(flags) == 4
    assert all(line.startswith("-s R5CT123 ") for line in log.splitlines())
    assert list((tmp_path / "phone/data/local/tmp").iterdir()) == []  # nothing is left there


def test_least_runs_and_least_seconds(phone, jobs, tmp_path):
    options = replace(BRIEF, pace=Pace(1024, 20.0, 20), xnnpack=False)
    phone().measure(jobs[:1], options, None, silent)
    log = (tmp_path / "log").read_text()
    assert "--num_runs=1024 --min_secs=20 --max_secs=3600" in log
    assert "--use_xnnpack=false" in log


def test_a_phone_that_breaks_off_is_cleaned_up(phone, jobs, tmp_path, monkeypatch):
    with pytest.raises(DeviceError, match="'adb shell .* failed: error: device offline"):
        phone(act='sys.exit("error: device offline")').measure(jobs, BRIEF, None, silent)
    assert list((tmp_path / "phone/data/local/tmp").iterdir()) == []
    either = replace(BRIEF, pace=Pace(10, 1.0, 1, either=True))
    monkeypatch.setattr(adb_module, "_MARGIN_SECONDS", 2)
    with pytest.raises(DeviceError, match="'adb shell' gave no answer for 3 s"):
        phone(act="import time; time.sleep(60)").measure(jobs, either, None, silent)


def test_a_phone_that_is_gone_for_good_says_why_and_what_it_kept(phone, jobs):
    """What is removed at the end cannot be: neither the reason is hidden, nor the leftover."""
    gone = 'if os.path.exists(here + "/gone"): sys.exit("error: no devices/emulators found")\n'
    script = PHONE.replace('if arguments[:1] == ["-s"]', f'{gone}if arguments[:1] == ["-s"]')
    act = 'open(here + "/gone", "w").close(); sys.exit("error: closed")'
    with pytest.raises(DeviceError) as told:
        phone(script, act).measure(jobs, BRIEF, None, silent)
    assert re.search(
        r"'adb shell .*benchmark_model.*' failed: error: closed; (/data/local/tmp/edgecell-\w+) is"
        r" still on the phone: run 'adb shell rm -rf \1'$",
        str(told.value),
    )


def test_what_was_measured_is_not_lost_with_a_folder_that_stays(phone, jobs):
    script = PHONE.replace(
        "shutil.rmtree(local(rest[0].split()[2]))", 'sys.exit("error: device offline")'
    )
    found = phone(script).measure(jobs[:1], BRIEF, None, silent)
    assert found.answers[0].latency[0]["p50"]["value"] == 42.405
    assert "is still on the phone: run 'adb shell rm -rf " in found.warnings[0]


def test_without_a_time_limit_the_tool_is_given_its_own(phone, jobs, tmp_path, monkeypatch):
    """Runs only, no seconds: what the tool may take at most is also what it is waited for."""
    waited = []
    run = adb_module.subprocess.run

    def watched(command, **settings):
        waited.append(settings["timeout"])
        return run(command, **settings)

    monkeypatch.setattr(adb_module.subprocess, "run", watched)
    options = replace(BRIEF, pace=Pace(16, 0.0, 1, either=True))
    phone().measure(jobs[:1], options, None, silent)
    assert "--max_secs=3600 " in (tmp_path / "log").read_text()
    assert max(waited) == 3600 + adb_module._MARGIN_SECONDS


# The words of adb 1.0.41 itself.
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("error: no devices/emulators found", "plug one in and switch USB debugging on"),
        ("error: device 'X1' not found", "'adb devices' lists what is there"),
        ("error: more than one device/emulator", "name one with --device adb:SERIAL"),
        ("error: device unauthorized.", "unlock the phone and allow this computer's key"),
    ],
)
def test_no_phone(phone, jobs, words, advice):
    starting = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
    script = f"#!{sys.executable}\nimport sys\nsys.exit({starting + words!r})\n"
    with pytest.raises(DeviceError) as told:
        phone(script).measure(jobs, BRIEF, None, silent)
    assert f"adb reaches no phone ({words})" in str(told.value)
    assert advice in str(told.value)


def test_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(adb_module.shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match="no adb on this machine"):
        open_device("adb")
    monkeypatch.setattr(adb_module.shutil, "which", lambda name: name)
    with pytest.raises(DeviceError, match="--device adb needs --benchmark-model PATH"):
        open_device("adb")
    with pytest.raises(DeviceError, match="no file at .*none"):
        Adb("", str(tmp_path / "none"))
    with pytest.raises(DeviceError, match="no serial number"):
        Adb("a b; reboot", "x")
