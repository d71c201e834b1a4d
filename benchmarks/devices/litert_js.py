"""LiteRT.js, installed by npm into the cache folder: exactly the versions of `page/package-lock.json`."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.devices import process
from benchmarks.devices.interface import DeviceError
from edgecell.errors import ArtifactError
from edgecell.rundir import sha256_file
from edgecell.scratch import cache_folder

PAGE = Path(__file__).resolve().parent / "page"
PACKAGE = "@litertjs/core"
_TIMEOUT_SECONDS = 300


def version() -> str:
    """The pinned version of LiteRT.js."""
    pinned = json.loads((PAGE / "package.json").read_text(encoding="utf-8"))
    return str(pinned["dependencies"][PACKAGE])


def packages() -> Path:
    """The folder with LiteRT.js in it, installed where it is not in the cache yet.

    npm checks each package against the lock file's hash; scripts of packages are not run.

    Raises:
        DeviceError: no npm, or it cannot install. ArtifactError: the cache folder cannot be written.
    """
    folder = cache_folder() / f"litertjs-{sha256_file(PAGE / 'package-lock.json')[:12]}"
    if not folder.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise DeviceError(
                f"no npm on this machine, which installs {PACKAGE}; install Node.js with npm"
                " (Debian: apt-get install npm)"
            )
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".litertjs-") as fresh:
                _install(npm, Path(fresh))
                if not folder.is_dir():  # another process may have been faster
                    (Path(fresh) / "node_modules").rename(folder)
        except OSError as error:
            raise ArtifactError(
                f"cannot write to {folder.parent}: {error.strerror}; name another folder in the"
                " environment variable EDGECELL_CACHE"
            ) from error
    return folder


def _install(npm: str, folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PAGE / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        process.call(command, seconds=_TIMEOUT_SECONDS, folder=folder)
    except process.ToolError as error:
        raise DeviceError(f"npm cannot install {PACKAGE} {version()}: {error}") from error
