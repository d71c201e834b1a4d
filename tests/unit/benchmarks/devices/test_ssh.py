"""The ssh device against a real sshd on loopback."""

from __future__ import annotations

import io
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.devices import process
from benchmarks.devices import ssh as ssh_module
from benchmarks.devices.interface import DeviceError
from benchmarks.devices.registry import DeviceOptions, open_device
from benchmarks.devices.ssh import Ssh
from benchmarks.run import bench
from edgecell.errors import ArtifactError
from edgecell.runtime import TFLitePredictor

from .conftest import BRIEF, silent

NAMES = ["basophil", "lymphocyte", "platelet"]


def test_a_board_is_measured_as_a_host_is(board, jobs):
    labels = np.arange(70) % 3
    device = open_device(f"ssh:{board.address}", DeviceOptions(remote_python=sys.executable))
    heard = []
    found = bench(
        [job.path for job in jobs],
        jobs[0].images,
        labels,
        NAMES,
        BRIEF,
        lambda text, share: heard.append(text),
        device,
    )
    assert found.device["kind"] == "ssh"
    assert board.address.split(":")[0] not in str(found.to_json())
    assert heard[0].startswith("looking for Python")
    assert heard[-1] == "latency, 1 thread"
    for model, job in zip(found.models, jobs, strict=True):
        assert model["agreement"]["top1"]["value"] == 1.0
        assert model["agreement"]["equal_outputs"] == {
            **{"value": 1.0, "unit": "fraction", "kind": "measured", "n": 210}
        }
        own = TFLitePredictor(job.path).predict(job.images).argmax(axis=1)
        assert model["quality"]["accuracy"]["value"] == float((own == labels).mean())
        (timing,) = model["latency"]
        assert timing["n"] >= 16
        assert timing["rounds"] >= 8  # a slow run ends its turn early
        assert timing["p50"]["value"] > 0
        assert timing["delegate"]["label"].startswith("XNNPACK")
        assert model["throughput"][0]["rate"]["value"] > 0
    assert found.models[1]["latency"][0]["ratio"]["value"] == 1.0
    assert found.rows()[0]["top-1 as host"].startswith("1.000 [")


def test_nothing_is_left_on_the_board(board, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ssh_module, "_WORK", f"TMPDIR={tmp_path}; export TMPDIR; {ssh_module._WORK}"
    )
    Ssh(board.address, sys.executable).measure(jobs, BRIEF, None, silent)
    assert list(tmp_path.iterdir()) == []


def refused(board, python=sys.executable, jobs=()):
    with pytest.raises((DeviceError, ArtifactError)) as told:
        Ssh(board.address, python).measure(jobs, BRIEF, None, silent)
    return str(told.value)


def test_each_failure_says_what_to_do(board, tmp_path, jobs):
    assert "name its Python with --remote-python" in refused(board, "no/such/python")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    told = refused(board, str(bare))
    assert "has no ai-edge-litert and no numpy" in told
    assert "-m pip install ai-edge-litert==" in told
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\necho \'{"python": [3, 9], "numpy": "1", "ai-edge-litert": "1"}\'\n')
    old.chmod(0o755)
    assert "is Python 3.9; it must be 3.10 or newer" in refused(board, str(old))
    for no_python in ("/bin/true", "/bin/echo"):
        told = refused(board, no_python)
        assert f"'{no_python}' on 127.0.0.1 does not answer as a Python does" in told
        assert "--remote-python PATH" in told
    board.forget_the_host()
    assert "connect once by hand to look at it: ssh -p" in refused(board)
    board.forget_the_key()
    told = refused(board)
    assert "refused the login" in told
    assert "ssh-copy-id" in told


def test_a_board_that_cannot_be_reached(board):
    host, _, port = board.address.partition(":")
    closed = type(board)(f"{host}:1", board.folder)
    assert "cannot reach 127.0.0.1" in refused(closed)
    assert "Connection refused" in refused(closed)
    nameless = type(board)("no-such-board.invalid", board.folder)
    assert "cannot reach no-such-board.invalid" in refused(nameless)


def test_what_the_board_refuses_and_how_it_dies(board, jobs, tmp_path):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    said = refused(board, jobs=[replace(jobs[0], path=broken)])
    assert said.startswith("on 127.0.0.1: broken.tflite is not a TFLite file")
    dies = tmp_path / "dies"
    dies.write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\necho out of memory >&2\nexit 9\n'
    )
    dies.chmod(0o755)
    assert "ended with code 9: out of memory" in refused(board, str(dies), jobs)
    says_nothing = tmp_path / "nothing"
    says_nothing.write_text(dies.read_text().replace("exit 9", 'mkdir "$2/results"'))
    says_nothing.chmod(0o755)
    assert "what the board sent back is incomplete" in refused(board, str(says_nothing), jobs)


def test_a_board_that_falls_silent_is_given_up(board, jobs, tmp_path, monkeypatch):
    slow = tmp_path / "slow"
    slow.write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\nexec sleep 60\n'
    )
    slow.chmod(0o755)
    monkeypatch.setattr(ssh_module, "SILENCE_SECONDS", 1.0)
    assert "gave no sign of life" in refused(board, str(slow), jobs)


def test_a_connection_that_breaks_off_is_not_called_unreachable(board, jobs, tmp_path):
    """The board goes away in the middle: here its end of the connection is closed."""
    cut = tmp_path / "cut"
    cut.write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\n'
        # Its parents: the script of the measuring, its shell, and sshd for this connection.
        "p=$$\nwhile ! grep -q ^Name:.sshd /proc/$p/status; do\n"
        "p=$(sed -n 's/^PPid:.//p' /proc/$p/status)\ndone\nkill -9 $p\nsleep 5\n"
    )
    cut.chmod(0o755)
    told = refused(board, str(cut), jobs)
    assert told.startswith(
        "the connection to 127.0.0.1 broke off before it had measured everything"
    )
    assert "cannot reach" not in told


def test_while_something_is_still_being_sent_there_is_no_silence(tmp_path):
    """A slow line carries many images for longer than a board may be silent."""
    images = tmp_path / "images"
    images.write_bytes(b"x" * 6000)
    slow = "for i in 1 2 3 4 5 6; do dd bs=1000 count=1; sleep 1; done >/dev/null 2>&1; exit 7"
    ended = process.run(["sh", "-c", slow], silence=3.0, stdin=images)
    assert ended.code == 7


def test_a_talkative_login_shell_does_no_harm(tmp_path):
    received = tmp_path / "received"
    received.write_bytes(b"Welcome!\n")
    with pytest.raises(DeviceError, match="incomplete"):
        ssh_module._unpack(received)


@pytest.mark.parametrize(
    ("address", "to", "port"),
    [
        ("pi@board", "pi@board", []),
        ("pi@board.local:2222", "pi@board.local", ["-p", "2222"]),
        ("jetson", "jetson", []),
        ("pi@[fe80::1%eth0]:22", "pi@fe80::1%eth0", ["-p", "22"]),
    ],
)
def test_addresses(address, to, port, monkeypatch):
    monkeypatch.setattr(ssh_module.shutil, "which", lambda name: name)
    device = Ssh(address)
    assert (device._to, device._port) == (to, port)


@pytest.mark.parametrize(
    "address",
    ["", "-oProxyCommand=x", "pi@-v", "pi@board:port", "a b", "pi@board;reboot", "@board"],
)
def test_what_is_no_address(address):
    with pytest.raises(DeviceError, match="names no board"):
        Ssh(address)


def test_without_ssh(monkeypatch):
    monkeypatch.setattr(ssh_module.shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match="no ssh on this machine"):
        Ssh("pi@board")


def test_the_registry_names_its_neighbours():
    assert open_device("host").kind == "host"
    with pytest.raises(DeviceError, match="'shh:pi@board' is no device; allowed: host.*mean 'ssh'"):
        open_device("shh:pi@board")
    with pytest.raises(DeviceError, match="host takes no address"):
        open_device("host:1")


def test_another_litert_is_said():
    assert ssh_module._other_versions({"ai-edge-litert": "2.0.0"})[0].startswith("the board runs")
    ours = ssh_module.package_versions(["ai-edge-litert"])
    assert ssh_module._other_versions(ours) == []


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "link"])
def test_what_leads_out_of_the_results_is_refused(tmp_path, name):
    """Also on Pythons before 3.11.4, whose tarfile has no filter for it."""
    packed, inside = tmp_path / "results.tar", tmp_path / "inside"
    with tarfile.open(packed, "w") as archive:
        for each in ("session.json", name):
            member = tarfile.TarInfo(each)
            if each == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
            else:
                member.size = 2
                archive.addfile(member, io.BytesIO(b"{}"))
    with tarfile.open(packed) as opened, pytest.raises(ValueError, match="no file of its own"):
        ssh_module._extract(opened, inside)
    assert [path.name for path in inside.iterdir()] == ["session.json"]
    assert not (tmp_path / "escaped").exists()
