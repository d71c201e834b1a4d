from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.devices.session import Job
from benchmarks.latency import Pace
from benchmarks.options import BenchOptions

BRIEF = BenchOptions(
    Pace(runs=16, seconds=0.0, warmup_runs=1),
    threads=(1,),
    batches=(3,),
    loads=2,
    memory=False,
    resamples=50,
)


def silent(text: str, share: float) -> None:
    """Progress that nobody sees."""


@pytest.fixture(scope="session")
def jobs(tiny_files) -> list[Job]:
    """The int8 and the float32 classifier on 70 images that they share."""
    images = np.random.default_rng(2).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    return [Job(name, tiny_files[name], images) for name in ("int8", "float32")]


@dataclass(frozen=True)
class Board:
    """A real sshd on loopback: its address, and the folder with the keys and the client's config."""

    address: str
    folder: Path

    def forget_the_key(self) -> None:
        (self.folder / "config").write_text(self._config("no-such-key", "known"))

    def forget_the_host(self) -> None:
        (self.folder / "config").write_text(self._config("key", "nobody-known"))

    def remember(self) -> None:
        (self.folder / "config").write_text(self._config("key", "known"))

    def _config(self, key: str, known: str) -> str:
        return (
            f"IdentityFile {self.folder / key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.folder / known}\nGlobalKnownHostsFile /dev/null\n"
            "StrictHostKeyChecking yes\n"
        )


@pytest.fixture(scope="session")
def sshd(tmp_path_factory):
    """Debian's sshd on a port of its own, with keys of its own; nothing of the user's is read."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("no sshd or no ssh here; apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    folder = tmp_path_factory.mktemp("sshd")
    folder.chmod(0o700)
    for name in ("host", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "known").write_text(
        f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text().rsplit(' ', 1)[0]}\n"
    )
    (folder / "server").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'key.pub'}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "server")], stderr=log, start_new_session=True
        )
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            yield Board(f"127.0.0.1:{port}", folder)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


@pytest.fixture
def board(sshd, monkeypatch) -> Board:
    """The sshd, with an ``ssh`` first on the path that is the system's with a configuration of its own."""
    (sshd.folder / "bin").mkdir(exist_ok=True)
    wrapper = sshd.folder / "bin" / "ssh"
    real = shutil.which("ssh")
    if not wrapper.exists():
        wrapper.write_text(f'#!/bin/sh\nexec {real} -F {sshd.folder / "config"} "$@"\n')
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    sshd.remember()
    return sshd
