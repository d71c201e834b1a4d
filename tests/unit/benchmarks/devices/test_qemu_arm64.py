"""The emulated arm64: its tools scripted, its refusals, and the real thing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import toys

from benchmarks.devices import arm64_root, qemu_arm64
from benchmarks.devices.arm64_root import Arm64
from benchmarks.devices.interface import DeviceError
from benchmarks.devices.registry import open_device
from benchmarks.run import bench
from edgecell.errors import ArtifactError

from .conftest import BRIEF, silent


@pytest.fixture
def emulated(tmp_path, monkeypatch):
    """An "emulator" that runs this host's Python, or another script, in place of arm64's."""
    (tmp_path / "root" / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "root" / "usr" / "bin" / "python3.11").touch()
    found = Arm64(tmp_path / "qemu", tmp_path / "root")
    monkeypatch.setattr(qemu_arm64, "arm64", lambda: found)
    monkeypatch.setattr(qemu_arm64.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(qemu_arm64.platform, "system", lambda: "Linux")

    def install(script: str = f'shift 5; exec {sys.executable} "$@"'):
        found.emulator.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n{script}\n')
        found.emulator.chmod(0o755)
        return open_device("qemu-arm64")

    return install


def test_outputs_and_never_a_latency(emulated, jobs, tmp_path):
    labels = np.arange(70) % 3
    device = emulated()
    paths = [job.path for job in jobs]
    found = bench(paths, jobs[0].images, labels, ["a", "b", "c"], BRIEF, device=device)
    for model in found.models:
        assert model["agreement"]["top1"]["value"] == 1.0
        assert "value" in model["quality"]["accuracy"]
        (timing,) = model["latency"]
        for key in ("p50", "p90", "p99", "first", "load", "ratio", "drift"):
            assert timing[key]["reason"].startswith("emulated:")
        assert timing["delegate"]["label"].startswith("XNNPACK")  # whose answers these are
        assert model["throughput"][0]["rate"]["reason"].startswith("emulated:")
        assert "reason" in model["footprint"]["memory"]["over_baseline"]
    assert found.warnings == []
    called = (tmp_path / "called").read_text().split()
    assert called[:2] == ["-cpu", "cortex-a76"]  # qemu's own choice computes int8 wrongly
    assert called[2:4] == ["-L", str(tmp_path / "root")]


def test_other_answers_are_told(emulated, jobs, monkeypatch):
    session = qemu_arm64.read_session

    def other(folder):
        found = session(folder)
        raw = found.models[0].raw
        raw[0] = raw[0][::-1]  # another first class, many quanta away
        found.models[1].raw[1] += 1e-6  # within what kernels may differ
        return found

    monkeypatch.setattr(qemu_arm64, "read_session", other)
    paths = [job.path for job in jobs]
    labels = np.arange(70) % 3
    found = bench(paths, jobs[0].images, labels, ["a", "b", "c"], BRIEF, device=emulated())
    (line,) = found.warnings
    assert line.startswith("d_int8 answers otherwise than on this host: outputs up to ")
    assert line.endswith("another first class in 1 of 70 images")


def test_refusals(emulated, jobs, tmp_path, monkeypatch):
    with pytest.raises(DeviceError, match="ended with code 132: Illegal instruction"):
        emulated("echo Illegal instruction >&2; exit 132").measure(jobs, BRIEF, None, silent)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(
        ArtifactError, match="on emulated arm64: broken.tflite is not a TFLite file"
    ):
        emulated().measure([replace(jobs[0], path=broken)], BRIEF, None, silent)
    monkeypatch.setattr(qemu_arm64, "_SILENCE_SECONDS", 0.5)
    with pytest.raises(DeviceError, match="no sign of life"):
        emulated("sleep 30").measure(jobs, BRIEF, None, silent)


def test_where_it_makes_no_sense(monkeypatch):
    monkeypatch.setattr(qemu_arm64.platform, "machine", lambda: "aarch64")
    with pytest.raises(DeviceError, match="arm64 itself"):
        open_device("qemu-arm64")
    monkeypatch.setattr(qemu_arm64.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(qemu_arm64.platform, "system", lambda: "Darwin")
    with pytest.raises(DeviceError, match="runs on Linux, this is Darwin"):
        open_device("qemu-arm64")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Scripted apt-get and dpkg on an otherwise bare path, and an empty cache."""
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def install(**scripts: str) -> None:
        for name, script in scripts.items():
            program = tmp_path / "bin" / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
            program.chmod(0o755)

    return install


FETCH = """
case "$*" in
*update) ;;
*) dir=$(sed -n 's/^Dir::Cache "\\(.*\\)";$/\\1/p' "$APT_CONFIG")
   grep -q 'APT::Architecture "arm64"' "$APT_CONFIG" && kind=arm64 || kind=ours
   echo "$@" > "$dir/archives/$kind.deb" ;;
esac
"""
UNPACK = """
mkdir -p "$3/usr/bin"
case "$2" in
*arm64.deb) touch "$3/usr/bin/python3.13" ;;
*) touch "$3/usr/bin/qemu-aarch64-static" "$3/usr/bin/qemu-mips-static" ;;
esac
"""


def test_root_and_emulator_are_made_once(tools, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        arm64_root, "_download", lambda folder, python, version: asked.append(python)
    )
    tools(apt_get=FETCH, dpkg=UNPACK)
    machine = arm64_root.arm64()
    assert machine.python.name == "python3.13"
    assert asked == ["3.13"]
    assert [p.name for p in machine.emulator.parent.iterdir()] == ["qemu-aarch64-static"]
    assert "0xd0b" in (machine.root / "proc" / "cpuinfo").read_text()
    tools(apt_get="exit 100", dpkg="exit 100")
    assert arm64_root.arm64() == machine
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted(
        [machine.root.name, machine.emulator.parent.name]
    )
    machine.python.unlink()
    with pytest.raises(DeviceError, match="has no Python in it; remove the folder"):
        assert machine.python


def test_what_cannot_be_fetched(tools, tmp_path):
    with pytest.raises(DeviceError, match="no apt-get and no dpkg on this machine"):
        arm64_root.arm64()
    tools(apt_get='echo "E: Unable to locate package" >&2; exit 100', dpkg=UNPACK)
    with pytest.raises(
        DeviceError, match="'apt-get -q update' failed: E: Unable to locate package"
    ):
        arm64_root.arm64()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(arm64_root.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(
        "#!/bin/sh\necho 'ERROR: No matching distribution' >&2; exit 1\n"
    )
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(
        DeviceError, match="pip cannot download ai-edge-litert 9.9 for arm64.*No match"
    ):
        arm64_root._download(tmp_path, "3.11", "9.9")


@pytest.fixture(scope="module")
def real():
    """The emulator and the root, from the cache or fetched, or a reason to skip."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("emulates arm64 on x86-64 Linux")
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get here, which fetches an arm64 Python")
    try:
        return arm64_root.arm64()
    except DeviceError as error:
        pytest.skip(f"an arm64 Python cannot be fetched: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_arm64_kernels_answer_as_this_host_s(real, tmp_path, precision):
    path = tmp_path / "toy.tflite"
    path.write_bytes(toys.converted(precision))
    images, labels = toys.images(64, seed=7)
    found = bench([path], images, labels, toys.CLASSES, BRIEF, device=open_device("qemu-arm64"))
    (model,) = found.models
    assert found.host["cpu"] == "Cortex-A76"
    assert "aarch64" in found.host["system"]
    agreement = model["agreement"]
    assert agreement["top1"]["value"] == 1.0
    # Requantizing rounds half-way cases one way on one processor and the other way on another.
    allowed = 1.0 if precision == "int8" else 1e-5
    assert agreement["largest_difference"]["value"] <= allowed
    assert agreement["largest_difference"]["unit"] == ("quanta" if precision == "int8" else "1")
    assert model["quality"]["accuracy"]["value"] > 0.9
    assert "reason" in model["latency"][0]["p50"]


@pytest.mark.slow
def test_other_pixels_on_arm64_are_told(real, tmp_path):
    """The partner: other pixels on arm64 than on the host are not within a quantum."""
    path = tmp_path / "toy.tflite"
    path.write_bytes(toys.converted("int8"))
    images, labels = toys.images(16, seed=7)
    device = open_device("qemu-arm64")
    measure = device.measure

    def elsewhere(jobs, options, reference, say):
        flipped = [replace(job, images=255 - job.images) for job in jobs]
        return measure(flipped, options, reference, say)

    device.measure = elsewhere
    found = bench([path], images, labels, toys.CLASSES, BRIEF, device=device)
    assert found.models[0]["agreement"]["largest_difference"]["value"] > 1
    assert any("answers otherwise than on this host" in line for line in found.warnings)
