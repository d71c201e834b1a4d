"""Devices by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.devices.adb import Adb
from benchmarks.devices.browser import Browser
from benchmarks.devices.host import Host
from benchmarks.devices.interface import Device, DeviceError
from benchmarks.devices.qemu_arm64 import QemuArm64
from benchmarks.devices.ssh import Ssh
from benchmarks.devices.tflm import Tflm


@dataclass(frozen=True)
class DeviceOptions:
    """What some devices need besides an address: ``remote_python`` on a board behind ssh, and a
    ``benchmark_model`` built for a phone."""

    remote_python: str = "python3"
    benchmark_model: str = ""


DEVICES: dict[str, Callable[[str, DeviceOptions], Device]] = {
    "host": lambda address, options: Host(),
    "ssh": lambda address, options: Ssh(address, options.remote_python),
    "adb": lambda address, options: Adb(address, options.benchmark_model),
    "browser": lambda address, options: Browser(),
    "qemu-arm64": lambda address, options: QemuArm64(),
    "tflm": lambda address, options: Tflm(),
}
ADDRESSED = ("ssh", "adb")
SHOWN = "host, ssh:user@host[:port], adb[:serial], browser, qemu-arm64, tflm"
"""How a user may write them."""


def open_device(text: str, options: DeviceOptions | None = None) -> Device:
    """The device that ``KIND`` or ``KIND:ADDRESS`` names.

    Raises:
        DeviceError: no such kind, an address that is missing or that the kind has no use for, or a tool
            that is missing on this machine.
    """
    kind, _, address = text.partition(":")
    if kind not in DEVICES:
        near = difflib.get_close_matches(kind, DEVICES, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise DeviceError(f"'{text}' is no device; allowed: {SHOWN}{hint}")
    if address and kind not in ADDRESSED:
        raise DeviceError(f"'{text}': {kind} takes no address; write '{kind}'")
    return DEVICES[kind](address, options or DeviceOptions())
