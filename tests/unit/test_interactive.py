"""The pages one works with, as HTML: what is embedded, what is escaped, what is coloured how."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
from benched import NAMES, result

from edgecell.errors import ArtifactError
from edgecell.report import ramp
from edgecell.report.bench_page import render_bench, write_bench_page
from edgecell.report.contenders import ACCURACY, SIZE, Axis, Contender, axes_of, of_bench
from edgecell.report.interactive import (
    embedded,
    figure_text,
    figures_table,
    heat_section,
    payload,
)

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "<!-- <script>",
    "a\u2028b & 'c'",
]


@pytest.fixture(scope="module")
def results() -> dict:
    return result().to_json()


@pytest.fixture(scope="module")
def page(results: dict) -> str:
    return render_bench("pbc", results)


def block(page: str) -> dict:
    """What the scripts read, as the browser would cut it out."""
    [text] = re.findall(r'<script type="application/json" id="figures">(.*?)</script', page, re.S)
    return json.loads(text)


def test_the_figures_are_those_of_the_bench(results: dict, page: str) -> None:
    found = block(page)
    assert [entry["name"] for entry in found["entries"]] == [m["name"] for m in results["models"]]
    int8, model = found["entries"][2], results["models"][2]
    assert int8["figures"]["accuracy"]["v"] == model["quality"]["accuracy"]["value"]
    assert int8["figures"]["size"] == {"v": 635.104, "t": "635.1 kB"}
    p50 = model["latency"][1]["p50"]
    assert [int8["figures"]["p50_2"][k] for k in ("v", "lo", "hi")] == [
        p50[k] for k in ("value", "low", "high")
    ]
    assert int8["confusion"] == model["quality"]["confusion"]
    assert int8["classes"] == NAMES
    assert (found["x"], found["y"]) == ("size", "accuracy")
    assert [group["name"] for group in found["groups"]] == ["float32", "float16", "int8"]
    titles = [axis["title"] for axis in found["axes"] if axis["shown"]]
    assert titles == [
        *("Accuracy", "Macro F1", "Weakest class", "Size", "p50, 1 thread", "p50, 2 threads"),
        *("× float32", "Memory"),
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_ends_the_data_or_becomes_markup(name: str) -> None:
    found = result([*NAMES[:7], name])
    found.models[0]["name"] = found.models[0]["file"] = name
    page = render_bench(name, found.to_json())
    assert block(page)["entries"][0]["name"] == name
    assert block(page)["entries"][0]["classes"][7] == name
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page and "<!--" not in page
    assert "\u2028" not in page.split('id="figures">')[1].split("</script>")[0]


def test_only_our_script_may_run_and_nothing_is_fetched(page: str) -> None:
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.split("style-src")[0]
    without_namespace = page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in without_namespace.replace("http-equiv", "")
    assert re.findall(r"\b(?:fetch|XMLHttpRequest|import|eval|innerHTML)\b", page) == []


def test_static_pages_have_no_script() -> None:
    from edgecell.report.elements import Html
    from edgecell.report.page import page as frame

    told = frame("a", "b", Html(""), [], [])
    assert "<script" not in told and "Content-Security-Policy" not in told


def test_a_figure_that_is_missing_is_a_dash_with_its_reason_and_sorts_last(results: dict) -> None:
    changed = json.loads(json.dumps(results["models"]))
    changed[0]["footprint"]["memory"]["over_baseline"] = {
        "reason": "the probe took more than 120 s",
        "unit": "bytes",
    }
    contenders = [of_bench(model) for model in changed]
    table = figures_table(contenders)
    assert 'title="the probe took more than 120 s" data-v="">–' in table
    assert "memory" not in payload(contenders)["entries"][0]["figures"]
    assert "memory" in payload(contenders)["entries"][1]["figures"]


def test_models_with_other_axes_and_other_classes_share_a_page(results: dict) -> None:
    bare = Contender("keras", "keras", {ACCURACY: {"value": 0.9, "unit": "fraction"}})
    other = [{"name": "cat", "support": 9, "f1": {"value": 0.5, "unit": "fraction"}}]
    contenders = [
        of_bench(results["models"][0]),
        bare,
        Contender("cats", "int8", {}, other, [[9]]),
    ]
    assert heat_section(contenders).count("<table") == 2
    told = payload(contenders)
    assert told["entries"][1]["confusion"] is None
    assert told["entries"][2]["figures"] == {}
    assert axes_of([bare]) == [ACCURACY]
    assert payload([bare])["x"] == "accuracy"


def test_heat_marks_the_weakest_class_and_leaves_out_the_one_without_images(results: dict) -> None:
    changed = json.loads(json.dumps(results["models"][2]))
    rows = changed["quality"]["classes"]
    rows[0] |= {"support": 0, "f1": {"value": 0.0, "unit": "fraction"}}
    low = min(row["f1"]["value"] for row in rows[1:])
    told = heat_section([of_bench(changed)])
    assert re.findall(r'class="n worst"[^>]*data-v="([^"]*)"', told) == [repr(low)]
    assert told.count('data-v=""') == 1


def test_text_on_every_colour_of_the_heat_map_can_be_read() -> None:
    lights = []
    for step in range(101):
        share = step / 100
        back = tuple(int(v) for v in re.findall(r"\d+", ramp.background(share)))
        light = ramp.luminance(back)
        front = 0.0 if ramp.ink(share) == "#000" else 1.0
        assert (max(light, front) + 0.05) / (min(light, front) + 0.05) >= 4.5, share
        lights.append(light)
    assert lights == sorted(lights)  # grey in print tells them apart too


@pytest.mark.parametrize(
    ("axis", "data", "said"),
    [
        (SIZE, {"value": 635_104, "unit": "bytes"}, "635.1 kB"),
        (
            ACCURACY,
            {"value": 0.5, "low": 0.25, "high": 1, "unit": "fraction"},
            "0.500 [0.250, 1.000]",
        ),
        (ACCURACY, {"reason": "no image", "unit": "fraction"}, "none: no image"),
        (
            Axis("arena", "Arena", 0, "low", "kB", 1e-3, 0),
            {"value": 1_234_567, "unit": "bytes", "kind": "estimated"},
            "1,235 kB estimated",
        ),
    ],
)
def test_figures_as_text(axis: Axis, data: dict, said: str) -> None:
    assert figure_text(axis, data) == said


def test_what_is_not_finite_is_not_embedded() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"x": float("nan")})


def test_results_that_lack_a_part_are_refused(results: dict, tmp_path: Path) -> None:
    broken = json.loads(json.dumps(results))
    del broken["models"][1]["footprint"]
    with pytest.raises(ArtifactError, match="cannot be shown.*footprint.*'edgecell bench' again"):
        write_bench_page(tmp_path / "bench.html", "pbc", broken)
    assert list(tmp_path.iterdir()) == []


def test_the_assets_are_in_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    patterns = setup["options.package_data"]["edgecell"].split()
    package = REPOSITORY / "edgecell"
    packed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    others = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert others <= packed
    assert {".toml", ".js", ".css"} <= {path.suffix for path in others}
