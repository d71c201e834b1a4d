"""``edgecell doctor``: what this machine has, and what is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from edgecell.config import DataConfig
from edgecell.machine import environment


def diagnose() -> dict[str, Any]:
    """Versions, devices, cores, memory and disk, and a line for each thing that is missing."""
    import tensorflow as tf

    facts: dict[str, Any] = environment()
    facts["devices"] = [device.name for device in tf.config.list_physical_devices()]
    facts["memory_free_bytes"] = free_memory()
    facts["disk_free_bytes"] = shutil.disk_usage(Path.cwd()).free
    facts["medmnist_files"] = sorted(
        p.name for p in Path(DataConfig().root).expanduser().glob("*mnist*.npz")
    )
    facts["missing"] = _missing(facts)
    return facts


def _missing(facts: dict[str, Any]) -> list[str]:
    missing = [
        f"{name}: pip install {name}"
        for name, v in facts["packages"].items()
        if v == "not installed"
    ]
    if importlib.util.find_spec("medmnist") is None:
        missing.append("medmnist (data sets by name): pip install --no-deps medmnist")
    if not any(":GPU:" in device for device in facts["devices"]):
        missing.append("a GPU that TensorFlow sees (training works on the CPU, slower)")
    if metadata.version("tf_keras").split(".")[:2] != metadata.version("tensorflow").split(".")[:2]:
        missing.append(
            "tf_keras of TensorFlow's own version: pip install tf_keras==TENSORFLOW_VERSION"
        )
    return missing


def free_memory() -> int | None:
    """Bytes that can be allocated without swapping, where the system tells."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
