"""What bench finds in real MobileNetV2 files, and what it says of how it measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from easy import QUICK, Run

from benchmarks.devices import registry
from benchmarks.devices.host import Host
from benchmarks.devices.interface import Measured
from edgecell.rundir import RunDir


def models_of(run: Path) -> dict[str, dict]:
    """The bench's models by precision."""
    return {m["precision"]: m for m in RunDir(run).read_record("bench")["results"]["models"]}


def file_of(run: Path, precision: str) -> Path:
    (path,) = (run / "quantize").glob(f"*-{precision}.tflite")
    return path


def test_an_int8_file_does_no_work_for_nothing(finished_run: Path) -> None:
    """The input's scaling as two operators cost a prototype a quarter of its time."""
    found = models_of(finished_run)
    assert found["int8"]["operators"]["stray"] == {}
    assert found["int8"]["operators"]["others"] == {"QUANTIZE": 2}  # uint8 in, uint8 out
    # The partner: the float file scales its input by operators, and that is seen.
    assert found["float32"]["operators"]["stray"] == {"MUL": 1, "ADD": 1}
    assert found["int8"]["operators"]["macs"] == found["float32"]["operators"]["macs"]
    audits = RunDir(finished_run).read_record("quantize")["results"]["models"]
    by_precision = {entry["precision"]: entry["audit"] for entry in audits}
    assert by_precision["int8"]["stray"] == {}
    assert by_precision["int8"]["others"] == {"QUANTIZE": 2}
    assert by_precision["float32"]["stray"] == {"MUL": 1, "ADD": 1}


def test_the_delegate_is_told_by_what_it_took(finished_run: Path) -> None:
    found = models_of(finished_run)
    assert found["float32"]["latency"][0]["delegate"]["label"] == "XNNPACK"
    delegate = found["int8"]["latency"][0]["delegate"]
    working = sum(found["int8"]["operators"]["counts"].values())
    assert delegate["left"] == {"QUANTIZE": 2, "SOFTMAX": 1}
    assert (delegate["taken"], delegate["operators"]) == (working - 3, working)
    assert delegate["label"] == f"XNNPACK {working - 3} of {working}"


def test_bench_without_the_delegate(edgecell: Run, run_copy: Path) -> None:
    told = edgecell(
        "bench", "--model", file_of(run_copy, "int8"), *QUICK, "--delegate", "none", "--json"
    )
    assert told.code == 0, told.err
    record = json.loads(told.out)
    assert record["config"]["delegate"] == "none"
    (model,) = record["results"]["models"]
    assert {t["delegate"]["label"] for t in model["latency"]} == {"built-in kernels"}
    # Two runs a turn make five rounds of ten runs; a busy machine cuts turns short and needs more.
    assert all(t["rounds"] >= 5 for t in model["latency"])
    assert {entry["batch"] for entry in model["throughput"]} == {8, 32}


def test_quick_and_full_exclude_one_another(edgecell: Run, run_copy: Path) -> None:
    told = edgecell("bench", "--model", file_of(run_copy, "int8"), "--quick", "--full")
    assert told.code == 2
    assert "--quick and --full exclude one another" in told.err


class Elsewhere(Host):
    """This machine under the name of a board."""

    kind = "ssh"

    def measure(self, *arguments: Any) -> Measured:
        return replace(super().measure(*arguments), name="Example Board 5 (Rev 1.0)")


def test_a_device_s_results_stand_beside_the_host_s(
    edgecell: Run, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.DEVICES, "ssh", lambda address, options: Elsewhere())
    before = (run_copy / "bench" / "bench.json").read_bytes()
    model = file_of(run_copy, "int8")
    told = edgecell("bench", "--model", model, *QUICK, "--device", "ssh:pi@board")
    assert told.code == 0, told.err
    assert "on test, ssh: Example Board 5 (Rev 1.0)" in told.out
    assert (run_copy / "bench" / "bench.json").read_bytes() == before
    record = RunDir(run_copy).read_record("bench/ssh-example-board-5-rev-1-0")
    assert record["results"]["device"] == {"kind": "ssh", "name": "Example Board 5 (Rev 1.0)"}
    assert record["results"]["models"][0]["agreement"]["equal_outputs"]["value"] == 1.0
    assert "pi@board" not in json.dumps(record)
    report = (run_copy / "report.html").read_text(encoding="utf-8")
    assert 'id="bench"' in report
    assert "Benchmark: ssh, Example Board 5 (Rev 1.0)" in report


def test_devices_that_are_not_there(edgecell: Run, run_copy: Path) -> None:
    model = file_of(run_copy, "int8")
    told = edgecell("bench", "--model", model, "--device", "browsr")
    assert told.code == 2
    assert "'browsr' is no device; allowed: host, ssh:user@host[:port]" in told.err
    told = edgecell("bench", "--model", model, "--device", "ssh:nobody@no-such-board.invalid")
    assert told.code == 2
    assert "cannot reach nobody@no-such-board.invalid" in told.err
    assert sorted(p.name for p in (run_copy / "bench").iterdir() if p.is_dir()) == []
