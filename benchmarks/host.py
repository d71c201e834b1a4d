"""The machine a latency belongs to, and whether it had other work to do."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from edgecell import __version__
from edgecell.machine import board_name, cpu_name, package_versions
from edgecell.record import Measurement
from edgecell.runtime import available_cores

BUSY_LIMIT = 0.15  # of all cores; above it timings are someone else's too
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_STAT = Path("/proc/stat")
_PACKAGES = ("ai-edge-litert", "numpy")


def host() -> dict[str, Any]:
    """Processor, board, cores, governor, system, versions, load average, how busy the cores are now.

    A fact that the system does not tell is None. Waits a quarter of a second to see other work.
    """
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu_name(),
        "board": board_name(),
        "cores": available_cores(),
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.is_file() else None,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {"edgecell": __version__} | package_versions(_PACKAGES),
        "load_average_1min": None if load is None else round(load[0], 2),
        "busy_before": busy_fraction(),
    }


def busy_fraction(seconds: float = 0.25) -> float | None:
    """Share of all cores that worked while this process slept; None where it cannot be read."""
    before = _ticks()
    if before is None:
        return None
    time.sleep(seconds)
    after = _ticks()
    if after is None or after[1] == before[1]:
        return None
    return round(max(0.0, (after[0] - before[0]) / (after[1] - before[1])), 3)


class Others:
    """What all other programs used of the cores since this was made."""

    def __init__(self) -> None:
        self._ticks = _ticks()
        self._own = time.process_time()

    def share(self) -> Measurement:
        """Their CPU time as a fraction of all cores' time: what the cores did, less our own part."""
        now, own = _ticks(), time.process_time() - self._own
        if self._ticks is None or now is None:
            return Measurement.missing("fraction", f"{_STAT} cannot be read on this system")
        busy, total = now[0] - self._ticks[0], now[1] - self._ticks[1]
        if total <= 0:
            return Measurement.missing("fraction", "too short to tell: no clock tick went by")
        others = busy / total - own * os.sysconf("SC_CLK_TCK") / total
        return Measurement(round(min(max(others, 0.0), 1.0), 3), "fraction")


def background_warnings(background: list[dict[str, Any]]) -> list[str]:
    """One line where other programs worked while models were timed; from {"threads", "others"}."""
    busy = [
        f"{entry['others']['value']:.0%} with {entry['threads']} of ours"
        for entry in background
        if entry["others"].get("value", 0.0) > BUSY_LIMIT
    ]
    if not busy:
        return []
    return [
        f"other programs used the cores during the timing ({', '.join(busy)}; at most"
        f" {BUSY_LIMIT:.0%} is quiet): times are too long, compare ratios only"
    ]


def _ticks() -> tuple[int, int] | None:
    """Busy and total clock ticks of all cores since boot."""
    if not _STAT.is_file():
        return None
    fields = [int(text) for text in _STAT.read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]  # idle and waiting for a disk
    return sum(fields) - idle, sum(fields)


def load_warnings(facts: dict[str, Any]) -> list[str]:
    """What a reader must know before trusting the times: one line each."""
    busy, load = facts["busy_before"], facts["load_average_1min"]
    if busy is not None:
        if busy > BUSY_LIMIT:
            return [
                f"other programs used {busy:.0%} of the cores before the timing began "
                f"(at most {BUSY_LIMIT:.0%} is quiet): times are too long, compare ratios only"
            ]
    elif load is not None and load > 0.5 * facts["cores"]:
        return [
            f"load average {load} on {facts['cores']} cores: times are too long, compare ratios only"
        ]
    return []
