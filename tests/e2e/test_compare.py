"""compare, and bench --against, on two files of the toy: what they print, write, and end with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
from chromium import browser, needs_chromium
from easy import QUICK, Run

from edgecell.config import BenchConfig, DataConfig
from edgecell.pipeline.benching import bench_models
from edgecell.progress import Silent
from edgecell.rundir import RunDir


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, two files, and a bench of them."""
    folder = tmp_path_factory.mktemp("toy")
    arrays: dict[str, np.ndarray] = {"class_names": np.array(toys.CLASSES)}
    for seed, (split, count) in enumerate({"train": 64, "val": 32, "test": 48}.items()):
        arrays[f"{split}_images"], labels = toys.images(count, seed=seed + 5)
        arrays[f"{split}_labels"] = labels[:, None]
    np.savez(folder / "toy.npz", **arrays)
    files = []
    for precision in ("float32", "int8"):
        files.append(folder / f"toy-{precision}.tflite")
        files[-1].write_bytes(toys.converted(precision))
    bench_models(
        files,
        lambda config: replace(config, bench=BenchConfig(runs=10, seconds=0.0)),
        DataConfig(source=str(folder / "toy.npz")),
        folder / "first",
        Silent(),
        allow_unverified=True,
    )
    return folder


def test_two_benches_of_the_same_images(edgecell: Run, toy: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "bench.json"
    copy.parent.mkdir()
    shutil.copy(toy / "first" / "bench" / "bench.json", copy)
    told = edgecell("compare", toy / "first" / "bench", copy, "--output", "out")
    assert told.code == 0, told.err
    assert "against first: toy-float32" in told.out
    found = json.loads(Path("out/compare.json").read_text())
    labels = [model["label"] for model in found["models"]]
    assert labels == [f"{s}: toy-{p}" for s in ("first", "copy") for p in ("float32", "int8")]
    assert all("value" in pair["accuracy_drop"] for pair in found["pairs"])
    twin = found["pairs"][1]
    assert (twin["model"], twin["agreement"]["value"]) == ("copy: toy-float32", 1.0)
    assert (twin["lost"], twin["gained"], twin["size_ratio"]["value"]) == (0, 0, 1.0)
    assert "copy: toy-int8" in Path("out/compare.html").read_text()
    as_json = edgecell("compare", toy / "first" / "bench", copy, "--output", "again", "--json")
    assert json.loads(as_json.out) == found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere",), 6, "nothing at nowhere"),
        (("BENCH", "BENCH"), 2, "given twice"),
        (("BENCH", "--baseline", "int4"), 2, "means none of the models"),
    ],
)
def test_refusals(edgecell: Run, toy: Path, arguments: tuple, code: int, said: str) -> None:
    bench = toy / "first" / "bench"
    told = edgecell("compare", *(bench if word == "BENCH" else word for word in arguments))
    assert (told.code, told.out) == (code, "")
    assert said in told.err


def bench_again(edgecell: Run, toy: Path, baseline: Path, *more: str):
    files = [word for p in ("int8", "float32") for word in ("--model", toy / f"toy-{p}.tflite")]
    limits = ["--against", baseline, "--max-regress", "5%", "--max-regress", "latency=100%"]
    data = ["--data", toy / "toy.npz", "--unverified", "--output", "second"]
    return edgecell("bench", *files, *QUICK, *data, *limits, *more)


def test_against_itself_it_passes_and_against_a_better_one_it_does_not(
    edgecell: Run, toy: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    shutil.copy(toy / "first" / "bench" / "bench.json", baseline)
    told = bench_again(edgecell, toy, baseline)
    assert told.code == 0, told.err
    assert "against the baseline" in told.out
    record = RunDir(Path("second")).read_record("bench")
    found = record["results"]["regression"]
    assert (found["regressed"], len(found["findings"])) == (0, 8)
    assert record["config"]["max_latency_regress"] == 1.0

    better = json.loads(baseline.read_text())
    better["models"][1]["footprint"]["size"]["value"] *= 0.9
    baseline.write_text(json.dumps(better))
    told = bench_again(edgecell, toy, baseline)
    assert told.code == 5
    assert "1 of 8 figures are worse than the baseline's: bytes of toy-int8" in told.err
    assert "+11.1%" in told.err
    record = RunDir(Path("second")).read_record("bench")
    assert record["results"]["regression"]["regressed"] == 1
    page = Path("second/bench/bench.html").read_text()
    assert "1 of 8 figures are worse than allowed" in page


def test_a_baseline_of_other_images_is_refused_at_once(edgecell: Run, toy: Path) -> None:
    baseline = toy / "first" / "bench" / "bench.json"
    told = bench_again(edgecell, toy, baseline, "--limit", "20")
    assert told.code == 3
    assert "bench.json was measured on other images" in told.err
    assert not Path("second/bench").exists()
    told = edgecell("bench", "--model", toy / "toy-int8.tflite", "--max-regress", "5%")
    assert told.code == 2
    assert "--max-regress goes with --against" in told.err


@needs_chromium
def test_the_page_works_in_a_browser(edgecell: Run, toy: Path, tmp_path: Path) -> None:
    assert edgecell("compare", toy / "first" / "bench", "--output", "out").code == 0
    page = Path("out/compare.html")
    with browser(tmp_path / "profile") as started:
        tab = started.tab()
        for width in (1280, 390):
            tab.show(page, width)
            assert tab.js("document.documentElement.scrollWidth") == width
            assert tab.js("document.querySelectorAll('#scatter .point').length") == 2
            assert tab.js("document.querySelectorAll('#figures-table tbody tr').length") == 2
            assert tab.js("document.querySelectorAll('.matrix').length") == 3
        assert tab.errors == []
        assert set(tab.requests) == {page.resolve().as_uri()}
