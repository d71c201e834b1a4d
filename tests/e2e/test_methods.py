"""``python -m benchmarks.quantization_methods --make``: what is missing of a run is made, then compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.quantization_methods import main

METHODS = ("float32", "int8", "int16x8", "int8-search", "mixed", "int8-pruned0.5")


@pytest.mark.slow
def test_missing_methods_are_made_and_compared(
    run_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "methods.json"
    before = (run_copy / "quantize" / "easy-mobilenet_v2-0.35-32-int8.tflite").read_bytes()
    main(
        [
            *(str(run_copy), "--make", "--methods", ",".join(METHODS), "--split", "val"),
            *("--runs", "8", "--seconds", "0", "--output", str(output)),
            *("--prune-epochs", "1", "--prune-batch-size", "24"),
        ]
    )
    found = json.loads(output.read_text(encoding="utf-8"))
    assert {row["method"] for row in found["rows"]} == set(METHODS)
    assert found["split"] == "val" and found["n"] == 36
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["float32"]["agreement"]["value"] == 1.0
    assert rows["int8-pruned0.5"]["packed_bytes"] < rows["int8"]["packed_bytes"]
    assert all(row["ratio"]["n"] >= 8 for row in found["rows"])
    assert "| mixed |" in capsys.readouterr().out
    after = (run_copy / "quantize" / "easy-mobilenet_v2-0.35-32-int8.tflite").read_bytes()
    assert after == before


def test_nothing_but_the_table_is_printed(run_copy: Path) -> None:
    """TensorFlow has much to say as it starts."""
    few = ("--methods", "int8", "--split", "val", "--runs", "8", "--seconds", "0")
    command = [sys.executable, "-m", "benchmarks.quantization_methods", str(run_copy), *few]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.startswith("| method |")
