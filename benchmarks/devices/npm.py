"""Packages of npm in the cache folder, exactly the versions of a lock file."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.devices import process
from benchmarks.devices.interface import DeviceError
from edgecell.disk import sha256_file
from edgecell.errors import ArtifactError
from edgecell.scratch import cache_folder

LOCK = "package-lock.json"
_TIMEOUT_SECONDS = 300


def installed(wanted: Path, name: str) -> Path:
    """The ``node_modules`` of ``wanted``'s package.json, installed where it is not in the cache yet.

    npm checks each package against the lock file's hash; scripts of packages are not run. ``name``
    begins the name of the folder in the cache.

    Raises:
        DeviceError: no npm, or it cannot install. ArtifactError: the cache folder cannot be written.
    """
    folder = cache_folder() / f"{name}-{sha256_file(wanted / LOCK)[:12]}"
    if not folder.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise DeviceError(
                f"no npm on this machine, which installs {_packages(wanted)}; install Node.js with npm"
                " (Debian: apt-get install npm)"
            )
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as fresh:
                _install(npm, wanted, Path(fresh))
                if not folder.is_dir():  # another process may have been faster
                    (Path(fresh) / "node_modules").rename(folder)
        except OSError as error:
            raise ArtifactError(
                f"cannot write to {folder.parent}: {error.strerror}; name another folder in the"
                " environment variable EDGECELL_CACHE"
            ) from error
    return folder


def _install(npm: str, wanted: Path, folder: Path) -> None:
    for file in ("package.json", LOCK):
        shutil.copy(wanted / file, folder / file)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        process.call(command, seconds=_TIMEOUT_SECONDS, folder=folder)
    except process.ToolError as error:
        raise DeviceError(f"npm cannot install {_packages(wanted)}: {error}") from error


def _packages(wanted: Path) -> str:
    pinned = json.loads((wanted / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return ", ".join(f"{package} {version}" for package, version in pinned.items())
