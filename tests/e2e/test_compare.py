"""compare, and bench --against, on the small run: what they print, write, and end with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from chromium import browser, needs_chromium
from easy import QUICK, Run

from edgecell.rundir import RunDir


def file_of(run: Path, precision: str) -> Path:
    (path,) = (run / "quantize").glob(f"*-{precision}.tflite")
    return path


def test_a_run_against_its_own_copy(edgecell: Run, run_copy: Path, finished_run: Path) -> None:
    told = edgecell("compare", run_copy, finished_run / "bench", "--output", "out")
    assert told.code == 0, told.err
    assert "against run: " in told.out
    found = json.loads(Path("out/compare.json").read_text())
    assert len(found["models"]) == 6
    copies = {m["sha256"]: m["label"] for m in found["models"][:3]}
    for pair in found["pairs"]:
        assert "value" in pair["accuracy_drop"], pair  # the same test images
    twins = [m for m in found["models"][3:] if m["sha256"] in copies]
    assert len(twins) == 3
    assert found["pairs"][2]["agreement"]["value"] == 1.0  # float32 and its own copy
    page = Path("out/compare.html").read_text()
    assert found["baseline"] in page
    as_json = edgecell("compare", run_copy, finished_run / "bench", "--output", "again", "--json")
    assert json.loads(as_json.out) == found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere",), 6, "nothing at nowhere"),
        (("RUN", "RUN"), 2, "given twice"),
        (("RUN", "--baseline", "int4"), 2, "means none of the models"),
    ],
)
def test_refusals(edgecell: Run, run_copy: Path, arguments: tuple, code: int, said: str) -> None:
    told = edgecell("compare", *(run_copy if word == "RUN" else word for word in arguments))
    assert (told.code, told.out) == (code, "")
    assert said in told.err


def bench_again(edgecell: Run, run: Path, baseline: Path, *more: str):
    files = [word for p in ("int8", "float32") for word in ("--model", file_of(run, p))]
    limits = ["--max-regress", "5%", "--max-regress", "latency=100%"]
    return edgecell("bench", *files, *QUICK, "--against", baseline, *limits, *more)


def test_bench_against_itself_passes_and_against_a_better_one_does_not(
    edgecell: Run, run_copy: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    shutil.copy(run_copy / "bench" / "bench.json", baseline)
    told = bench_again(edgecell, run_copy, baseline)
    assert told.code == 0, told.err
    assert "against the baseline" in told.out
    found = RunDir(run_copy).read_record("bench")
    assert found["results"]["regression"]["regressed"] == 0
    assert len(found["results"]["regression"]["findings"]) == 8
    assert found["config"]["max_latency_regress"] == 1.0

    better = json.loads(baseline.read_text())
    for model in better["models"]:
        if model["precision"] == "int8":
            model["footprint"]["size"]["value"] *= 0.9
    baseline.write_text(json.dumps(better))
    told = bench_again(edgecell, run_copy, baseline)
    assert told.code == 5
    assert "1 of 8 figures are worse than the baseline's: bytes of" in told.err
    assert "before" in told.err and "+11.1%" in told.err
    results = RunDir(run_copy).read_record("bench")["results"]
    assert results["regression"]["regressed"] == 1
    assert "1 of 8 figures are worse than allowed" in (run_copy / "bench/bench.html").read_text()


def test_a_baseline_of_other_images_is_refused_at_once(
    edgecell: Run, run_copy: Path, easy_npz: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    shutil.copy(run_copy / "bench" / "bench.json", baseline)
    before = (run_copy / "bench" / "record.json").read_bytes()
    told = bench_again(edgecell, run_copy, baseline, "--data", str(easy_npz), "--limit", "20")
    assert told.code == 3
    assert "baseline.json was measured on other images" in told.err
    assert (run_copy / "bench" / "record.json").read_bytes() == before
    told = edgecell("bench", "--model", file_of(run_copy, "int8"), "--max-regress", "5%")
    assert told.code == 2
    assert "--max-regress goes with --against" in told.err


@needs_chromium
def test_the_page_works_in_a_browser(
    edgecell: Run, run_copy: Path, finished_run: Path, tmp_path: Path
) -> None:
    assert edgecell("compare", run_copy, finished_run / "bench", "--output", "out").code == 0
    page = Path("out/compare.html")
    with browser(tmp_path / "profile") as started:
        tab = started.tab()
        for width in (1280, 390):
            tab.show(page, width)
            assert tab.js("document.documentElement.scrollWidth") == width
            assert tab.js("document.querySelectorAll('#scatter .point').length") == 6
            assert tab.js("document.querySelectorAll('#figures-table tbody tr').length") == 6
            assert tab.js("document.querySelectorAll('.matrix').length") == 3
        assert tab.errors == []
        assert set(tab.requests) == {page.resolve().as_uri()}
