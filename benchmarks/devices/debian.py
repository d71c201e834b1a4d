"""Debian packages, of any architecture, unpacked into a folder: no root, nothing installed.

apt-get runs with lists and caches of its own, so that the system's stay as they are; signatures are
checked with the system's keys.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.devices import process
from benchmarks.devices.interface import DeviceError

_TIMEOUT_SECONDS = 600
_TOOLS = ("apt-get", "dpkg")


def unpack(packages: Sequence[str], folder: Path, *, architecture: str | None = None) -> None:
    """Put the files of `packages`, and of those they depend on, into `folder`.

    `architecture` is Debian's name ("arm64"); None is this machine's.

    Raises:
        DeviceError: no apt, no mirror, or no such package.
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise DeviceError(
            f"no {' and no '.join(missing)} on this machine: unpacking {', '.join(packages)} needs"
            " Debian or one of its descendants"
        )
    with tempfile.TemporaryDirectory(prefix="edgecell-apt-") as scratch:
        own = Path(scratch)
        for name in ("lists/partial", "cache/archives/partial"):
            (own / name).mkdir(parents=True)
        (own / "status").touch()  # nothing is installed: all that is depended on is fetched
        settings = [
            f'Dir::State "{own}";',
            f'Dir::State::lists "{own / "lists"}";',
            f'Dir::State::status "{own / "status"}";',
            f'Dir::Cache "{own / "cache"}";',
            'APT::Sandbox::User "";',
            'APT::Update::Post-Invoke-Success "";',
        ]
        if architecture:
            settings += [
                f'APT::Architecture "{architecture}";',
                f'APT::Architectures "{architecture}";',
            ]
        (own / "apt.conf").write_text("\n".join(settings) + "\n")
        environment = {"APT_CONFIG": str(own / "apt.conf"), "LC_ALL": "C.UTF-8"}
        _run(["apt-get", "-q", "update"], environment)
        fetch = ["apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install"]
        _run([*fetch, *packages], environment)
        for archive in sorted((own / "cache" / "archives").glob("*.deb")):
            _run(["dpkg", "-x", str(archive), str(folder)], environment)


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        process.call(
            command, seconds=_TIMEOUT_SECONDS, environment=os.environ | environment, complaint="E:"
        )
    except process.ToolError as error:
        raise DeviceError(f"'{' '.join(command[:3])}' failed: {error}") from error
