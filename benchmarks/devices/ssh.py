"""A Linux board behind ssh: models, images and one Python archive go there, a session comes back.

The system's own ssh does the talking, with the user's configuration, keys and host-key policy; it
never asks for anything. Two connections: one looks for Python and LiteRT, one carries everything as
tar through stdin and stdout, so that the board needs neither scp nor SFTP.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.devices import on_board, process
from benchmarks.devices.archive import board_archive
from benchmarks.devices.exchange import read_session, write_jobs
from benchmarks.devices.interface import DeviceError, Measured
from benchmarks.devices.session import Job, Say
from benchmarks.devices.summary import summarize
from benchmarks.options import BenchOptions
from edgecell.errors import ArtifactError
from edgecell.machine import package_versions

CONNECT_SECONDS = 10
SILENCE_SECONDS = 300.0  # one figure of a large model on a slow board, with room
_LITERT = "ai-edge-litert"
_ADDRESS = re.compile(
    r"(?P<to>(?:[A-Za-z0-9_][\w.-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\]))"
    r"(?::(?P<port>\d{1,5}))?"
)
_MARK = b"edgecell-results\n"
_LOOK = """
import importlib.metadata as m, json, sys
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
found = {name: version(name) for name in ("ai-edge-litert", "numpy")}
print("\\n" + json.dumps({"python": list(sys.version_info[:2]), **found}))
"""
_WORK = """
set -e
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
trap 'exit 129' HUP INT TERM
tar -xf - -C "$d"
{python} "$d/bench.pyz" "$d" >&2
printf 'edgecell-results\\n'
tar -cf - -C "$d/results" .
"""
_NOTES = (
    "Measured on the board itself, by the same code as on a host. Agreement is with the host that ran "
    "edgecell.",
)


class Ssh:
    """``ssh:[user@]host[:port]``; ``python`` is the interpreter on the board, from its home folder.

    Raises:
        DeviceError: no such address, or no ssh on this machine.
    """

    kind = "ssh"

    def __init__(self, address: str, python: str = "python3") -> None:
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise DeviceError(
                f"'ssh:{address}' names no board; write ssh:user@host, ssh:user@host:port,"
                " or ssh:NAME for a Host of your ssh configuration"
            )
        if shutil.which("ssh") is None:
            raise DeviceError("no ssh on this machine; install OpenSSH's client")
        self._to = found["to"].replace("[", "").replace("]", "")
        self._port = ["-p", found["port"]] if found["port"] else []
        self._python = shlex.quote(python.removeprefix("~/"))
        self._shown = python

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """See :class:`benchmarks.devices.interface.Device`."""
        say(f"looking for Python and LiteRT on {self._to}", 0.0)
        self._look()
        with tempfile.TemporaryDirectory(prefix="edgecell-") as scratch:
            sent, received = Path(scratch) / "sent.tar", Path(scratch) / "received"
            _pack(sent, jobs, options)
            say(f"sending {sent.stat().st_size / 1e6:.0f} MB to {self._to}", 0.0)
            ended = self._run(
                _WORK.format(python=self._python), stdin=sent, stdout=received, say=say
            )
            self._check(ended, connected=True)
            session = _unpack(received)
        measured = summarize(session, reference, notes=_NOTES)
        return measured.warned(_other_versions(session.facts["versions"]))

    def _look(self) -> None:
        """Python 3.10, NumPy and LiteRT are there, or an error that says what to install."""
        with tempfile.TemporaryDirectory(prefix="edgecell-") as scratch:
            told = Path(scratch) / "told"
            script = f"{self._python} -c {shlex.quote(_LOOK)}"
            ended = self._run(script, stdout=told, silence=3 * CONNECT_SECONDS)
            if ended.code in (126, 127):
                raise DeviceError(
                    f"{self._to} has no '{self._shown}'; name its Python with"
                    " --remote-python PATH (relative to the home folder there)"
                )
            self._check(ended)
            lines = told.read_text(errors="replace").strip().splitlines()
        try:
            found = json.loads(lines[-1])
        except (IndexError, ValueError) as error:
            raise DeviceError(
                f"'{self._shown}' on {self._to} does not answer as a Python does; name its Python with"
                " --remote-python PATH (relative to the home folder there)"
            ) from error
        if found["python"] < [3, 10]:
            raise DeviceError(
                f"'{self._shown}' on {self._to} is Python {'.'.join(map(str, found['python']))};"
                " it must be 3.10 or newer; name another with --remote-python PATH"
            )
        missing = [name for name in (_LITERT, "numpy") if found[name] is None]
        if missing:
            ours = package_versions([_LITERT])[_LITERT]
            raise DeviceError(
                f"'{self._shown}' on {self._to} has no {' and no '.join(missing)}; there, run:"
                f" {self._shown} -m pip install {_LITERT}=={ours} (in a virtual environment, whose"
                " Python you name with --remote-python)"
            )

    def _run(
        self,
        script: str,
        *,
        stdin: Path | None = None,
        stdout: Path | None = None,
        silence: float | None = None,
        say: Say = lambda text, share: None,
    ) -> process.Ended:
        """Run a shell script on the board. The login shell there may be any, so sh is called."""
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
        options += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
        command = [
            "ssh",
            "-T",
            *options,
            *self._port,
            "--",
            self._to,
            f"sh -c {shlex.quote(script)}",
        ]
        return process.run(
            command,
            silence=silence or SILENCE_SECONDS,
            stdin=stdin,
            stdout=stdout,
            hear=on_board.listener(say),
        )

    def _check(self, ended: process.Ended, *, connected: bool = False) -> None:
        """Raise what went wrong, told apart by who says it: ssh itself, edgecell there, or the board.

        ``connected``: it was reached a moment before.
        """
        if ended.code == 0:
            return
        if ended.code is None:
            raise DeviceError(
                f"{self._to} gave no sign of life for minutes; the measuring was given up"
            )
        for line in ended.lines:
            if line.startswith(on_board.REFUSED):
                raise ArtifactError(f"on {self._to}: {line.removeprefix(on_board.REFUSED)}")
        if ended.code != 255:  # which is ssh's own
            raise DeviceError(
                f"the measuring on {self._to} ended with code {ended.code}: {ended.last_line}"
            )
        said = "\n".join(ended.lines)
        by_hand = " ".join(["ssh", *self._port, self._to])
        if "Host key verification failed" in said:
            raise DeviceError(
                f"{self._to} has a host key that is not known here, or another one than it had;"
                f" connect once by hand to look at it: {by_hand}"
            )
        if "Permission denied" in said:
            raise DeviceError(
                f"{self._to} refused the login ({ended.last_line}); no password is ever asked for:"
                f" put your key there with 'ssh-copy-id {' '.join([*self._port, self._to])}' and try"
                f" 'ssh -o BatchMode=yes {' '.join([*self._port, self._to])} true'"
            )
        if connected:
            raise DeviceError(
                f"the connection to {self._to} broke off before it had measured everything"
                f" ({ended.last_line}); is the board still up? Try again, or by hand: {by_hand}"
            )
        raise DeviceError(f"cannot reach {self._to} ({ended.last_line}); try by hand: {by_hand}")


def _pack(path: Path, jobs: Sequence[Job], options: BenchOptions) -> None:
    with tempfile.TemporaryDirectory(prefix="edgecell-") as scratch:
        folder = Path(scratch)
        write_jobs(folder, jobs, options)
        (folder / "bench.pyz").write_bytes(board_archive())
        with tarfile.open(path, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.add(file, file.name, filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whose files these are here is nobody's business there."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _unpack(received: Path) -> Any:
    """The session in what came back; whatever a login shell said before it is skipped."""
    data = received.read_bytes()
    start = data.find(_MARK)
    with tempfile.TemporaryDirectory(prefix="edgecell-") as scratch:
        archive = Path(scratch) / "results.tar"
        archive.write_bytes(data[start + len(_MARK) :] if start >= 0 else b"")
        try:
            with tarfile.open(archive) as opened:
                _extract(opened, Path(scratch) / "results")
            return read_session(Path(scratch) / "results")
        except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"what the board sent back is incomplete ({error})") from error


def _extract(opened: tarfile.TarFile, folder: Path) -> None:
    """Write the archive's files below ``folder``; tarfile's own filter for this is not in Python 3.11.2.

    Raises:
        ValueError: a link, a device, or a name that leads out of ``folder``.
    """
    root = folder.resolve()
    for member in opened:
        target = (root / member.name).resolve()
        content = opened.extractfile(member) if member.isfile() else None
        if member.isdir() and target.is_relative_to(root):
            continue
        if content is None or not target.is_relative_to(root):
            raise ValueError(f"{member.name!r} is no file of its own")
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as out:
            shutil.copyfileobj(content, out)


def _other_versions(theirs: dict[str, str]) -> list[str]:
    """A warning where the board's LiteRT is another than this host's."""
    ours = package_versions([_LITERT])[_LITERT]
    if theirs[_LITERT] == ours:
        return []
    return [f"the board runs {_LITERT} {theirs[_LITERT]}, this host {ours}: kernels may differ"]
