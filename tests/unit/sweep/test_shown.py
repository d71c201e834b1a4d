"""A sweep as people see it: figures, page, report, terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import legible
import pytest
import swept
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from benchmarks.choice import Limits
from edgecell import plots
from edgecell.cli import sweeping as shown
from edgecell.errors import ArtifactError, UnmetError
from edgecell.report.elements import Pictures
from edgecell.report.sweep import sweep_headline, sweep_section
from edgecell.report.sweep_page import render_sweep

KEPT = Limits(max_bytes=700_000, max_latency_ms=0.6, min_f1=0.975)
BROKEN = Limits(max_bytes=350_000, max_latency_ms=0.1, min_f1=0.999)


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return swept.results(KEPT)


@pytest.fixture(scope="module")
def missed() -> dict[str, Any]:
    return swept.results(BROKEN)


def points(results: dict[str, Any]) -> list[plots.Point]:
    return [
        plots.Point(
            cell["name"],
            cell["size"]["value"] / 1000,
            cell["macro_f1"]["value"],
            cell["precision"],
            None,
            (cell["macro_f1"]["low"], cell["macro_f1"]["high"]),
        )
        for cell in results["cells"]
        if cell["passed"]
    ]


def test_the_figure_fills_and_names_the_front_and_rings_the_answer(kept):
    chosen = kept["answer"]["cell"]
    figure = plots.pareto(
        points(kept),
        kept["front"],
        x="kB",
        y="F1",
        title="t",
        chosen=chosen,
        most=700.0,
        least=0.97,
    )
    legible.check_inside(figure)
    [axes] = figure.axes
    written = {text.get_text() for text in axes.texts}
    assert {name.removeprefix("mobilenet_v2-") for name in kept["front"]} <= written
    white, filled, hollow = to_rgba("white"), 0, 0
    for line in axes.lines:
        if line.get_marker() in ("D", "^", "o") and len(line.get_xdata()) == 1:
            empty = to_rgba(line.get_markerfacecolor()) == white
            filled, hollow = filled + (not empty), hollow + empty
    assert (filled, hollow) == (len(kept["front"]), len(points(kept)) - len(kept["front"]))
    [ring] = [c for c in axes.collections if isinstance(c, PathCollection)]
    cell = next(c for c in kept["cells"] if c["name"] == chosen)
    assert ring.get_offsets()[0].tolist() == [
        cell["size"]["value"] / 1000,
        cell["macro_f1"]["value"],
    ]
    assert [text.get_text() for text in axes.get_legend().texts][-1] == "the answer"


def test_limits_beside_the_points_are_in_view(kept):
    figure = plots.pareto(points(kept), [], x="kB", y="F1", title="t", most=3000.0, least=0.5)
    [axes] = figure.axes
    assert axes.get_xlim()[1] > 3000 and axes.get_ylim()[0] < 0.5


def test_one_point_is_a_figure_too(kept):
    figure = plots.pareto(points(kept)[:1], kept["front"], x="kB", y="F1", title="t")
    legible.check_inside(figure)


def figures(page: str) -> dict[str, Any]:
    [text] = re.findall(r'<script type="application/json" id="figures">(.*?)</script', page, re.S)
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_page_holds_every_cell_with_what_it_costs(kept):
    page = render_sweep("sweep-blood", kept)
    found = figures(page)
    assert [entry["name"] for entry in found["entries"]] == [c["name"] for c in kept["cells"]]
    assert (found["x"], found["y"]) == ("size", "macro_f1")
    first, cell = found["entries"][0]["figures"], kept["cells"][0]
    assert first["p50_1"]["v"] == cell["p50"]["value"]
    assert first["alpha"]["v"] == 0.35 and first["image_size"]["t"] == "64 pixels"
    assert f"The cell to ship: {kept['answer']['cell']}" in page
    assert f"<p>{kept['answer']['smaller_alike']} keeps them too, is smaller, and loses" in page
    assert "On test, n=400, looked at for this cell only" in page
    assert "immature granulocytes &lt;&amp;&gt;" in page and "granulocytes <&>" not in page
    assert "src=" not in page and 'href="h' not in page
    by_accuracy = figures(render_sweep("s", kept | {"by": "accuracy"}))
    assert by_accuracy["y"] == "accuracy"


def test_a_miss_is_told_limit_by_limit_and_test_is_not(missed):
    page = render_sweep("sweep-blood", missed)
    assert "No cell keeps all limits; the nearest miss" in page
    assert page.count("missed by") == sum(not e["kept"] for e in missed["answer"]["limits"])
    assert "On test" not in page
    titles = "".join(sweep_headline(missed))
    assert "Nearest miss" in titles and "To ship" not in titles


def test_a_sweep_without_any_cell_here_is_a_page_too(kept):
    missing = {"reason": "made on another machine", "unit": "ms"}
    gone = [
        cell
        | {key: missing for key in ("p50", "p90", "ratio", "front_share")}
        | {"quality": None, "file": None, "state": "elsewhere", "front": None}
        for cell in kept["cells"]
    ]
    results = kept | {"cells": gone, "answer": None, "reference": None, "host": None, "front": []}
    page = render_sweep("s", results)
    assert "<script" not in page
    assert "No limits were given" in page
    nothing = results | {"answer": {"cell": None, "met": False, "reason": "no cell is finished"}}
    assert "There is no cell to ship: no cell is finished." in render_sweep("s", nothing)


def test_results_that_lack_a_part_are_named(kept):
    with pytest.raises(ArtifactError, match="run 'edgecell sweep' again"):
        render_sweep("s", {key: value for key, value in kept.items() if key != "cells"})


def test_the_section_of_the_report_has_a_row_for_every_cell(kept, tmp_path):
    outputs = {}
    for name in ("pareto_size.png", "pareto_latency.png"):
        plots.save(plots.pareto(points(kept), [], x="x", y="y", title=name), tmp_path / name)
        outputs[f"sweep/{name}"] = "hash"
    record = {"results": kept, "outputs": outputs, "config": {"study": "blood"}}
    html = sweep_section(record, tmp_path, Pictures(), {})
    assert html.count("<tr>") == 1 + len(kept["answer"]["limits"]) + 1 + 27
    assert html.count("<img") == 2
    assert html.count("refused") >= 1 and html.count("<small>to ship</small>") == 1


def printed(capsys: pytest.CaptureFixture[str], results: dict[str, Any]) -> str:
    capsys.readouterr()
    shown.swept({"results": results}, Path("out"))
    return capsys.readouterr().out


def test_the_terminal_says_what_to_ship_and_how_to_go_on(kept, capsys):
    out = printed(capsys, kept)
    chosen = kept["answer"]["cell"]
    assert out.count("→") == 1 and f"to ship: {chosen} (" in out
    file = f"out/networks/{chosen.removesuffix('-int8')}/quantize/{chosen}.tflite"
    assert f"next: edgecell bundle {file}" in out
    assert "  bytes at most 700,000: 637,500, kept" in out
    drop = kept["answer"]["smaller_drop"]
    assert (
        f"  {kept['answer']['smaller_alike']} keeps them too, is smaller, and loses at most"
        f" {drop['high']:.4f} of macro-F1 with 95 % confidence"
        f" (drop {drop['value']:.4f} [{drop['low']:.4f}, {drop['high']:.4f}], n=4,000; margin 0.02)"
    ) in out
    assert "on test, n=400: accuracy 0.99" in out
    assert "REFUSED" in out
    shown._refuse_a_miss(kept)


def test_where_no_smaller_cell_is_named_the_reason_stands_there(kept, missed, capsys):
    unsure = swept.results(KEPT, margin=1e-4)
    line = f"No smaller cell is named: {unsure['answer']['smaller_drop']['reason']}"
    assert "surely loses at most 0.0001" in line
    assert f"  {line}" in printed(capsys, unsure)
    assert f"<p>{line}.</p>" in render_sweep("s", unsure)
    assert "smaller cell" not in printed(capsys, missed)
    # A record from when no drop was told.
    old = kept["answer"] | {"smaller_alike": "int8"}
    del old["smaller_drop"]
    assert "keeps them too" not in render_sweep("s", kept | {"answer": old})


def test_the_terminal_says_by_how_much_a_limit_is_missed(missed, capsys):
    out = printed(capsys, missed)
    answer = missed["answer"]
    assert f"nearest miss: {answer['cell']} (none of 26 cells keeps all limits" in out
    for entry in answer["limits"]:
        if entry["limit"] == "max_latency_ms" and not entry["kept"]:
            assert f"missed by {entry['missed_by']:.4g} ms ({entry['excess']:.1%} over)" in out
    assert "errors than allowed" in out and "on test" not in out
    with pytest.raises(
        UnmetError, match=f"no cell keeps all limits; {answer['cell']} misses --"
    ) as e:
        shown._refuse_a_miss(missed)
    assert e.value.exit_code == 5


def test_without_limits_the_front_is_named_and_nothing_refused(capsys):
    results = swept.results()
    out = printed(capsys, results)
    assert "no limits given: nothing chosen, test not looked at" in out
    assert all(name in out for name in results["front"])
    shown._refuse_a_miss(results)
    none = results | {
        "answer": {"cell": None, "met": False, "reason": "verify refused all 2 cells"}
    }
    with pytest.raises(
        UnmetError, match="no cell to ship: verify refused all 2 cells; the table and"
    ):
        shown._refuse_a_miss(none)


def test_without_a_cell_that_passed_no_limit_is_asked_for(capsys):
    out = printed(capsys, swept.results(front=[], warnings=["verify refused all, train longer"]))
    assert "warning: verify refused all, train longer" in out
    assert "next: nothing can be chosen yet; the warnings above say what to change" in out
    assert "--max-bytes" not in out
