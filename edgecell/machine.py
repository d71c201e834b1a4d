"""What the system tells of the machine: processor, board, versions of packages."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "edgecell",
    "tensorflow",
    "tf_keras",
    "ai-edge-litert",
    "tensorflow-model-optimization",
    "numpy",
    "scikit-learn",
    "pillow",
)
_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
# arm64 kernels tell the part's number instead of a name: Arm's "CPU part" of MIDR_EL1, implementer 0x41.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd40": "Neoverse V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse N2",
    "0xd4f": "Neoverse V2",
}


def cpu_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    if _CPUINFO.is_file() and (found := name_in(_CPUINFO.read_text(errors="replace"))):
        return found
    return platform.processor() or platform.machine()


def name_in(cpuinfo: str) -> str | None:
    """The processor's name in the text of /proc/cpuinfo: a model name, or the names of Arm's parts."""
    pairs = [line.partition(":")[::2] for line in cpuinfo.splitlines()]
    told = [(key.strip(), value.strip()) for key, value in pairs]
    for key, value in told:
        if key == "model name":
            return value
    if ("CPU implementer", "0x41") not in told:
        return None
    parts = dict.fromkeys(value for key, value in told if key == "CPU part")
    return " + ".join(_ARM_PARTS.get(part, f"Arm part {part}") for part in parts) or None


def board_name() -> str | None:
    """The board's model, as a single-board computer's device tree has it; None on a PC."""
    if not _BOARD.is_file():
        return None
    return _BOARD.read_text(errors="replace").strip("\0\n ") or None


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions by name; "not installed" where there is none."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def environment() -> dict[str, Any]:
    """Versions and machine facts that a figure depends on; no host name, no user, no path."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "packages": package_versions(_PACKAGES),
    }
