"""The machine a latency belongs to, and whether it had other work to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from edgecell.rundir import cpu_name
from edgecell.runtime import available_cores

BUSY_LIMIT = 0.15  # of all cores; above it timings are someone else's too
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_STAT = Path("/proc/stat")


def host() -> dict[str, Any]:
    """Processor, usable cores, frequency governor, load average and how busy the cores are now.

    A fact that the system does not tell is None. Waits a quarter of a second to see other work.
    """
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "governor": _GOVERNOR.read_text().strip() if _GOVERNOR.is_file() else None,
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
