"""When the cells of a network are taken as they are, and when they are to be made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecell import disk
from edgecell.disk import sha256_file
from edgecell.pipeline.sweep_cells import read_cells
from edgecell.rundir import RunDir

PRECISIONS = ("float16", "int8")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Two files with the records that quantize, verify and the sweep leave."""
    made = RunDir(tmp_path)
    files = [made.stage("quantize") / f"net-{precision}.tflite" for precision in PRECISIONS]
    answers = made.stage("cells") / "answers.npz"
    for path in (*files, answers):
        disk.atomic_write_bytes(path, path.name.encode())
    made.write_record("quantize", inputs=[], outputs=files, config={}, results={})
    made.write_record("verify", inputs=files, outputs=[], config={}, results={})
    cells = [
        {"file": path.name, "precision": precision, "sha256": sha256_file(path)}
        for path, precision in zip(files, PRECISIONS, strict=True)
    ]
    made.write_record("cells", inputs=files, outputs=[answers], config={}, results={"cells": cells})
    return made


def test_cells_that_are_all_there_are_read(run):
    record = read_cells(run, PRECISIONS)
    assert record is not None and len(record["results"]["cells"]) == 2
    assert read_cells(run, ("int8",)) == record


def test_a_precision_that_was_not_made_is_missing(run):
    assert read_cells(run, (*PRECISIONS, "dynamic")) is None


@pytest.mark.parametrize(
    "path",
    ["quantize/net-int8.tflite", "cells/answers.npz", "cells/record.json", "verify/record.json"],
)
def test_what_is_gone_is_missed(run, path):
    (run.path / path).unlink()
    assert read_cells(run, PRECISIONS) is None


@pytest.mark.parametrize("path", ["quantize/net-int8.tflite", "cells/answers.npz"])
def test_what_was_altered_does_not_count(run, path):
    (run.path / path).write_bytes(b"other bytes")
    assert read_cells(run, PRECISIONS) is None


def test_a_file_made_anew_after_it_was_measured_does_not_count(run):
    """As when quantize was called by hand in between: its record is right, that of the cells is old."""
    path = run.stage("quantize") / "net-int8.tflite"
    path.write_bytes(b"other bytes")
    files = [path, path.with_name("net-float16.tflite")]
    run.write_record("quantize", inputs=[], outputs=files, config={}, results={})
    assert read_cells(run, PRECISIONS) is None
