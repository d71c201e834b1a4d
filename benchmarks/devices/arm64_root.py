"""An arm64 Debian with Python and LiteRT in the cache folder, and the emulator that runs it."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.devices import process
from benchmarks.devices.debian import unpack
from benchmarks.devices.interface import DeviceError
from edgecell.errors import ArtifactError
from edgecell.machine import package_versions
from edgecell.scratch import cache_folder

_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
_LITERT = "ai-edge-litert"
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_TIMEOUT_SECONDS = 600
CPU = "cortex-a76"
"""qemu's own "max" gives wrong int8 results without a word; this is the core of a Raspberry Pi 5."""
# What libraries look up to choose their kernels. Without it in the root, this host's is read.
_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1
"""


@dataclass(frozen=True)
class Arm64:
    """How to run Python there: the emulator, the root folder, Python in it, the wheels beside it."""

    emulator: Path
    root: Path

    @property
    def python(self) -> Path:
        """The interpreter of the root."""
        return _python(self.root)

    @property
    def command(self) -> list[str]:
        """What runs Python; a program and its arguments follow."""
        return [str(self.emulator), "-cpu", CPU, "-L", str(self.root), str(self.python)]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this host's: its libraries are of another processor."""
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(self.root / "wheels"),
            "LC_ALL": "C.UTF-8",
        }


def arm64() -> Arm64:
    """The emulator and the root, made in the cache folder where they are not there yet.

    Raises:
        DeviceError: a tool is missing, or something cannot be fetched. ArtifactError: the cache folder
        cannot be written.
    """
    version = package_versions([_LITERT])[_LITERT]
    root = cache_folder() / f"arm64-litert-{version}"
    try:
        emulator = _emulator()
        if not root.is_dir():
            _make(root, lambda fresh: _fill(fresh, version))
    except OSError as error:
        raise ArtifactError(
            f"cannot write to {root.parent}: {error.strerror}; name another folder in the environment"
            " variable EDGECELL_CACHE"
        ) from error
    return Arm64(emulator, root)


def _emulator() -> Path:
    """qemu's of the system, else Debian's, unpacked into the cache folder."""
    for name in _EMULATORS:
        if found := shutil.which(name):
            return Path(found)
    folder = cache_folder() / "qemu-user"
    if not folder.is_dir():
        _make(folder, _fetch_emulator)
    return folder / _EMULATORS[0]


def _fetch_emulator(folder: Path) -> None:
    """The one program out of a package with those of all processors."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        unpack(["qemu-user-static"], Path(scratch))
        (Path(scratch) / "usr" / "bin" / _EMULATORS[0]).rename(folder / _EMULATORS[0])


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside its place and move it there when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        fill(fresh)
        if not folder.is_dir():  # another process may have been faster
            fresh.rename(folder)


def _fill(root: Path, version: str) -> None:
    unpack(_PACKAGES, root, architecture="arm64")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(_CPUINFO)
    found = re.fullmatch(r"python(3\.\d+)", _python(root).name)
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="edgecell-wheels-") as scratch:
        _download(Path(scratch), found[1], version)
        for wheel in sorted(Path(scratch).glob("*.whl")):
            zipfile.ZipFile(wheel).extractall(root / "wheels")


def _python(root: Path) -> Path:
    found = sorted((root / "usr" / "bin").glob("python3.*"))
    if not found:
        raise DeviceError(f"{root} has no Python in it; remove the folder, and it is made again")
    return found[0]


def _download(folder: Path, python: str, version: str) -> None:
    """The arm64 wheels of LiteRT, as new as this host's, and of what it needs."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    command += ["--dest", str(folder), f"{_LITERT}=={version}"]
    try:
        process.call(command, seconds=_TIMEOUT_SECONDS)
    except process.ToolError as error:
        raise DeviceError(
            f"pip cannot download {_LITERT} {version} for arm64 and Python {python}: {error}"
        ) from error
