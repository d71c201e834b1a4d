"""``edgecell quantize --search``, ``--analyze`` and ``--keep-float``: files, records, tables, report."""

from __future__ import annotations

import json
from pathlib import Path

from easy import Run

from converters.search import METHODS
from edgecell.disk import sha256_file
from edgecell.rundir import RunDir


def entry_of(run: Path, suffix: str) -> dict:
    """The record's entry for a file; fails where there is not exactly one."""
    models = RunDir(run).check_outputs("quantize")["results"]["models"]
    (found,) = [each for each in models if each["file"].endswith(f"-{suffix}.tflite")]
    return found


def test_search_reports_every_method_and_keeps_one(edgecell: Run, run_copy: Path) -> None:
    done = edgecell("quantize", run_copy, "--int8", "--search")
    assert done.code == 0, done.err
    results = RunDir(run_copy).check_outputs("search")["results"]
    methods = [each["method"] for each in results["candidates"]]
    assert methods[0] == "ptq-minmax" and {*methods, *results["skipped"]} == set(METHODS)
    assert RunDir(run_copy).read_record("search")["config"]["split_channels"] is True
    for method in METHODS:
        assert method in done.out
    train = RunDir(run_copy).read_record("train")["results"]["images"]["train"]
    calibration = json.loads((run_copy / "quantize" / "calibration.json").read_text("utf-8"))
    assert results["n_unseen"] == train - calibration["count"] > 0
    assert all(
        0 <= each["changed"] <= results["n"] + results["n_unseen"] for each in results["candidates"]
    )
    assert f"{results['chosen']} ← kept" in done.out
    entry = entry_of(run_copy, "int8-search")
    assert entry["method"] == results["chosen"] and entry["precision"] == "int8"
    assert entry["audit"]["passed"] and entry["audit"]["input"]["scale"] == 1 / 128
    report = (run_copy / "report.html").read_text(encoding="utf-8")
    assert 'id="search"' in report and "ptq-cle+mse+gptq+bias" in report


def test_search_without_split_channels(edgecell: Run, run_copy: Path) -> None:
    done = edgecell("quantize", run_copy, "--int8", "--search", "--no-split-channels")
    assert done.code == 0, done.err
    record = RunDir(run_copy).check_outputs("search")
    tried = {each["method"] for each in record["results"]["candidates"]}
    assert tried == {name for name, method in METHODS.items() if not method.split}
    assert "split_channels" not in record["config"]


def test_analyze_ranks_layers_and_writes_no_model(edgecell: Run, run_copy: Path) -> None:
    before = sha256_file(run_copy / "quantize")
    done = edgecell("quantize", run_copy, "--analyze", "--json")
    assert done.code == 0, done.err
    layers = json.loads(done.out)["results"]["layers"]
    assert [layer["rank"] for layer in layers] == list(range(1, len(layers) + 1))
    errors = [layer["probability_error"] for layer in layers]
    assert errors == sorted(errors, reverse=True)
    assert sha256_file(run_copy / "quantize") == before
    assert (run_copy / "analyze" / "sensitivity.png").is_file()
    assert 'id="analyze"' in (run_copy / "report.html").read_text(encoding="utf-8")


def test_keep_float_makes_a_mixed_file_that_verify_and_bench_take(
    edgecell: Run, run_copy: Path
) -> None:
    done = edgecell("quantize", run_copy, "--int8", "--keep-float", "2")
    assert done.code == 0, done.err
    entry = entry_of(run_copy, "mixed")
    assert entry["precision"] == "mixed" and len(entry["float_layers"]) == 2
    rows = entry["trade"]["rows"]
    assert [row["float_layers"] for row in rows] == [0, 2]
    assert all(row["latency"]["unit"] == "ms" and row["latency"]["value"] > 0 for row in rows)
    assert "in float: " + ", ".join(entry["float_layers"]) in done.out
    # The ranking is read the second time, not made again.
    again = edgecell("quantize", run_copy, "--int8", "--keep-float", "1")
    assert again.code == 0 and "analyze: unchanged, read" in again.err
    # Nor does it depend on what only a search asks for.
    plain = edgecell("quantize", run_copy, "--int8", "--keep-float", "1", "--no-split-channels")
    assert plain.code == 0 and "analyze: unchanged, read" in plain.err
    assert len(entry_of(run_copy, "mixed")["float_layers"]) == 1
    verified = edgecell("verify", run_copy / "quantize" / entry["file"], "--json")
    found = json.loads(verified.out)["results"]["models"]
    assert found[0]["precision"] == "mixed"  # behind it: what was found of the run's other files


def test_what_does_not_go_together_is_refused(edgecell: Run, run_copy: Path) -> None:
    done = edgecell("quantize", run_copy, "--float16", "--search")
    assert done.code == 2 and "add --int8" in done.err
    done = edgecell("quantize", run_copy, "--int8", "--split-channels")
    assert done.code == 2 and "one of the methods that --search tries; add --search" in done.err
    for wrong in ("0", "-1", "all"):
        done = edgecell("quantize", run_copy, "--keep-float", wrong)
        assert done.code == 2 and "allowed: none, auto, or a number" in done.err
    done = edgecell("quantize", run_copy, "--int8", "--keep-float", "1000")
    assert done.code == 4 and "1000 layers in float; allowed: 1 to" in done.err
