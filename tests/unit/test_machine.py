"""What is told of a processor from /proc/cpuinfo, as kernels of several machines write it."""

from __future__ import annotations

import pytest

from edgecell import machine

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Example(R) CPU @ 2.40GHz\n"
PI_5 = "".join(
    f"processor\t: {i}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"
    for i in range(4)
)
BIG_LITTLE = PI_5.replace("0xd0b", "0xd05", 2).replace("0xd0b", "0xd41")
UNKNOWN = PI_5.replace("0xd0b", "0xfff")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (INTEL, "Example(R) CPU @ 2.40GHz"),
        (PI_5, "Cortex-A76"),
        (BIG_LITTLE, "Cortex-A55 + Cortex-A78"),
        (UNKNOWN, "Arm part 0xfff"),
        ("", None),
        (PI_5.replace("0x41", "0x51"), None),  # another maker counts its parts anew
    ],
)
def test_the_processor_s_name(text, name):
    assert machine.name_in(text) == name


def test_without_a_name_the_architecture(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert machine.cpu_name()
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(PI_5)
    assert machine.cpu_name() == "Cortex-A76"


def test_the_board_s_name(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_BOARD", tmp_path / "model")
    assert machine.board_name() is None
    (tmp_path / "model").write_bytes(b"Example Board 5 Rev 1.0\0")
    assert machine.board_name() == "Example Board 5 Rev 1.0"


def test_versions():
    found = machine.package_versions(["numpy", "no-such-package"])
    assert found["numpy"][0].isdigit()
    assert found["no-such-package"] == "not installed"
