"""Models of several benches: paired on the same images, timed through a common model, judged by limits."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benched import NAMES, result
from scipy import stats

from benchmarks import speed
from benchmarks.comparison import compare, paired, same_answers
from benchmarks.regression import Limits, check_images, judge, parse_limits
from benchmarks.sources import Source, of_results, read_bench, read_sources
from edgecell.disk import atomic_write_json
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.metrics import accuracy, confusion_matrix, macro_f1
from edgecell.predictions import answers, read_answers
from edgecell.report.comparison import render_comparison
from edgecell.rundir import RunDir


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found = result().to_json()
    found["background"] = [{"threads": 1, "others": {"value": 0.02, "unit": "fraction"}}]
    for model in found["models"]:
        model["images"] = "these"
        for timing in model["latency"]:  # a float32 that is its own reference, and sharp intervals
            timing["ratio"] |= {
                "low": timing["ratio"]["value"] * 0.99,
                "high": timing["ratio"]["value"] * 1.01,
            }
        if model["precision"] == "float32":
            for timing in model["latency"]:
                timing["ratio"] = {"value": 1.0, "low": 1.0, "high": 1.0, "unit": "1", "n": 50}
    return json.loads(json.dumps(found))


@pytest.fixture
def now(results: dict[str, Any]) -> Source:
    """A bench that a test may change."""
    copy = deepcopy(results)
    return of_results("now", copy)


@pytest.fixture
def before(results: dict[str, Any]) -> Source:
    copy = deepcopy(results)
    return of_results("before", copy)


def test_answers_come_back_and_nonsense_does_not() -> None:
    labels, said = np.array([0, 11, 2]), np.array([0, 1, 12])
    told = json.loads(json.dumps(answers(labels, said)))
    assert [each.tolist() for each in read_answers(told)] == [[0, 11, 2], [0, 1, 12]]
    for broken in (
        {},
        {"labels": "0 1", "predicted": "0"},
        {"labels": "a", "predicted": "0"},
        {"labels": "-1", "predicted": "0"},
    ):
        with pytest.raises(ArtifactError, match="answers that can"):
            read_answers(broken)


def test_pairs_agree_with_the_two_evaluations(now: Source) -> None:
    base, other = now.models[0], now.models[2]
    found = paired(base, other)
    labels, before, after = same_answers(base, other)  # type: ignore[misc]
    drop = base["quality"]["accuracy"]["value"] - other["quality"]["accuracy"]["value"]
    assert found["accuracy_drop"]["value"] == pytest.approx(drop, abs=1e-12)
    assert found["accuracy_drop"]["low"] < drop < found["accuracy_drop"]["high"]
    drop = base["quality"]["macro_f1"]["value"] - other["quality"]["macro_f1"]["value"]
    assert found["macro_f1_drop"]["value"] == pytest.approx(drop, abs=1e-12)
    lost = int(((before == labels) & (after != labels)).sum())
    gained = int(((before != labels) & (after == labels)).sum())
    assert (found["lost"], found["gained"]) == (lost, gained)
    # Two-sided exact McNemar, from the binomial's tail.
    tail = stats.binom.cdf(min(lost, gained), lost + gained, 0.5)
    assert found["p"] == pytest.approx(min(1.0, 2 * tail))
    confusion = confusion_matrix(labels, after, len(NAMES))
    assert accuracy(confusion) == other["quality"]["accuracy"]["value"]
    assert macro_f1(confusion) == pytest.approx(other["quality"]["macro_f1"]["value"])


def test_what_was_not_seen_alike_is_not_paired(now: Source, before: Source) -> None:
    base, other = now.models[0], before.models[2]
    assert not isinstance(same_answers(base, other), str)
    other["images"] = "those"
    assert same_answers(base, other) == "they did not see the same images"
    base["images"] = other["images"] = None
    assert same_answers(base, other) == "they did not see the same images"
    base["images"] = other["images"] = "these"
    other["quality"]["classes"][0]["name"] = "cat"
    assert same_answers(base, other) == "they were not given the same labels"
    del other["quality"]["answers"]
    assert "were not kept" in paired(base, other)["accuracy_drop"]["reason"]


def test_a_comparison_says_who_is_worse(now: Source) -> None:
    found = compare([now])
    assert found["baseline"] == "pbc-float32"
    by_name = {pair["model"]: pair for pair in found["pairs"]}
    assert by_name["pbc-float16"]["verdict"] == "no difference seen"
    assert by_name["pbc-float16"]["agreement"]["value"] == 1.0
    assert by_name["pbc-int8"]["verdict"] == "worse"
    assert by_name["pbc-int8"]["p_holm"] == pytest.approx(min(1, 2 * by_name["pbc-int8"]["p"]))
    assert by_name["pbc-int8"]["size_ratio"]["value"] == pytest.approx(635_104 / 1_650_312)
    assert by_name["pbc-int8"]["latency_how"] == "timed in turn in one run"
    turned = compare([now], "int8")
    assert [pair["verdict"] for pair in turned["pairs"]] == ["better", "better"]
    assert (
        turned["pairs"][0]["accuracy_drop"]["value"]
        == -by_name["pbc-int8"]["accuracy_drop"]["value"]
    )


@pytest.mark.parametrize(("wanted", "said"), [("pbc", "means several"), ("int4", "means none")])
def test_a_baseline_must_be_one(now: Source, wanted: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{said}.*'pbc-float32'|{said}.*'now"):
        compare([now], wanted)


def test_one_model_is_no_comparison(now: Source) -> None:
    with pytest.raises(ConfigError, match="no comparison"):
        compare([replace(now, models=now.models[:1])])


def model(source: Source, precision: str) -> dict[str, Any]:
    return next(each for each in source.models if each["precision"] == precision)


def slower(source: Source, factor: float, *, only: str = "") -> None:
    """A machine that takes ``factor`` times as long, or one model alone that does."""
    for each in source.models:
        if only and each["precision"] != only:
            continue
        for timing in each["latency"]:
            for key in ("value", "low", "high"):
                timing["p50"][key] *= factor
                if only:
                    timing["ratio"][key] *= factor


def test_times_compare_through_a_common_model(now: Source, before: Source) -> None:
    slower(now, 3.0)  # all of it: another machine
    now.host["cpu"] = "Slow CPU"
    model(now, "int8")["sha256"] = "new"
    found = speed.change(model(now, "int8"), now, model(before, "int8"), before)
    assert found.ratio.value == pytest.approx(1.0)
    assert found.ratio.low < 1 < found.ratio.high
    assert found.how.startswith("by pbc-float32, timed in both runs")
    assert "the machines differ: cpu Slow CPU, before Example CPU" in found.how
    slower(now, 1.2, only="int8")
    found = speed.change(model(now, "int8"), now, model(before, "int8"), before)
    assert found.ratio.value == pytest.approx(1.2)
    # The worst case of both intervals: 1 % to each side of each ratio.
    assert found.ratio.low == pytest.approx(1.2 * 0.99 / 1.01)


def test_the_other_file_itself_is_the_best_witness(now: Source, before: Source) -> None:
    """The earlier file is timed again beside the new one: its time now counts, not its time then."""
    new = deepcopy(model(now, "int8")) | {"sha256": "new", "name": "pbc-int8-new"}
    now.models.append(new)
    slower(before, 2.0, only="int8")
    found = speed.change(new, now, model(before, "int8"), before)
    assert found.how == "pbc-int8 was timed again in the same run"
    assert found.ratio.value == pytest.approx(1.0)


def test_the_same_operators_with_other_weights_do_too(now: Source, before: Source) -> None:
    for each in now.models:
        each["sha256"] = f"retrained {each['name']}"
    found = speed.change(model(now, "int8"), now, model(before, "int8"), before)
    assert "the same operators with other weights" in found.how
    found = speed.change(model(now, "int8"), now, model(before, "float32"), before)
    assert found.ratio.value == pytest.approx(131 / 170)
    for each in now.models:
        each["operators"]["counts"]["CONV_2D"] += 1  # now it is another network
    found = speed.change(model(now, "int8"), now, model(before, "int8"), before)
    assert found.how.startswith("p50 of two quiet runs on the same kind of machine")
    busy = speed.change(
        model(now, "int8"), replace(now, quiet=False), model(before, "int8"), before
    )
    assert "other programs ran during the timing" in str(busy.ratio.reason)
    now.host["cores"] = 64
    found = speed.change(model(now, "int8"), now, model(before, "int8"), before)
    assert found.ratio.value is None
    assert "the machines differ (cores 64, before 2)" in str(found.ratio.reason)


def test_the_measure_of_the_others_is_not_judged_by_them(now: Source, before: Source) -> None:
    """An int8 that became faster makes float32 no slower."""
    slower(now, 0.5, only="int8")
    found = speed.change(model(now, "float32"), now, model(before, "float32"), before)
    assert found.how.startswith("p50 of two quiet runs")
    assert found.ratio.value == pytest.approx(1.0)


def test_another_delegate_is_said(now: Source, before: Source) -> None:
    model(now, "int8")["latency"][0]["delegate"]["label"] = "built-in kernels"
    found = speed.change(model(now, "int8"), now, model(before, "int8"), before)
    assert "ran on built-in kernels, the other on XNNPACK" in found.how


def test_without_a_float32_model_p50_of_one_run_compare(now: Source) -> None:
    for each in now.models:
        each["latency"][0]["ratio"] = {"reason": "no float32 model in this bench", "unit": "1"}
    found = speed.change(model(now, "int8"), now, model(now, "float16"), now)
    ends = [model(now, p)["latency"][0]["p50"]["value"] for p in ("int8", "float16")]
    assert found.ratio.value == pytest.approx(ends[0] / ends[1])


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {f"{f['model']} {f['quantity']}": f["verdict"] for f in found["findings"]}


def test_nothing_regressed_where_nothing_changed(now: Source, before: Source) -> None:
    found = judge(now, before, Limits())
    assert set(verdicts(found).values()) == {"ok"} and len(verdicts(found)) == 12
    assert (found["regressed"], found["machines"], found["notes"]) == (0, [], [])


def test_each_figure_can_regress_alone(now: Source, before: Source) -> None:
    limits = Limits()
    changed = deepcopy(now)
    model(changed, "int8")["footprint"]["size"]["value"] *= 1.06
    assert _worse(judge(changed, before, limits)) == ["pbc-int8 bytes"]
    changed = deepcopy(now)
    slower(changed, 1.1, only="int8")
    assert _worse(judge(changed, before, limits)) == ["pbc-int8 latency"]
    assert _worse(judge(changed, before, Limits(latency=0.15))) == []
    changed = deepcopy(now)
    model(changed, "float16")["quality"] = model(changed, "int8")["quality"]
    found = judge(changed, before, limits)
    # 1.3 points are within the limit; that they are no accident is enough.
    assert _worse(found) == ["pbc-float16 accuracy"]
    [said] = [f["said"] for f in found["findings"] if f["verdict"] == "regressed"]
    assert "lost" in said and "allowed 5.0%" in said
    assert set(_worse(judge(changed, before, Limits(accuracy=0.01)))) == {
        "pbc-float16 accuracy",
        "pbc-float16 macro-F1",
    }


def _worse(found: dict[str, Any]) -> list[str]:
    worse = [name for name, verdict in verdicts(found).items() if verdict == "regressed"]
    assert found["regressed"] == len(worse)
    return worse


def test_a_slower_time_that_may_be_none_is_no_regression(now: Source, before: Source) -> None:
    slower(now, 1.1, only="int8")
    for timing in model(now, "int8")["latency"]:
        timing["ratio"]["low"] *= 0.8
    found = judge(now, before, Limits())
    assert _worse(found) == []
    [said] = [
        f["said"]
        for f in found["findings"]
        if f["model"] == "pbc-int8" and f["quantity"] == "latency"
    ]
    assert "the interval holds 1" in said


def test_models_find_their_counterparts(now: Source, before: Source) -> None:
    model(now, "int8").update(sha256="new", file="renamed-int8.tflite", name="renamed-int8")
    before.models.append(
        deepcopy(model(before, "float16")) | {"sha256": "x", "precision": "dynamic", "name": "old"}
    )
    now.models[1]["precision"] = "int16x8"
    now.models[1] |= {"sha256": "y", "file": "z.tflite", "name": "z"}
    found = judge(now, before, Limits())
    assert {(f["model"], f["against"]) for f in found["findings"]} == {
        ("pbc-float32", "pbc-float32"),
        ("renamed-int8", "pbc-int8"),
    }
    assert found["notes"][0] == "z: nothing to compare with in the baseline"
    assert {note.split(":")[0] for note in found["notes"][1:]} == {"pbc-float16", "old"}
    with pytest.raises(ConfigError, match="none of z has a counterpart.*pbc-int8"):
        judge(replace(now, models=now.models[1:2]), before, Limits())


def test_other_images_are_refused_before_anything_is_measured(before: Source) -> None:
    check_images(before, "bench.json", "these")
    with pytest.raises(DataError, match=r"bench\.json was measured on other images"):
        check_images(before, "bench.json", "those")
    before.models[0].pop("images")
    with pytest.raises(ArtifactError, match="does not say which images"):
        check_images(before, "bench.json", "these")


@pytest.mark.parametrize(
    ("texts", "limits"),
    [
        ([], Limits(0.05, 0.05, 0.05)),
        (["2%"], Limits(0.02, 0.02, 0.02)),
        (["0.1", "latency=20%"], Limits(0.1, 0.1, 0.2)),
        (["accuracy=0.5%"], Limits(0.005, 0.05, 0.05)),
    ],
)
def test_limits_as_typed(texts: list[str], limits: Limits) -> None:
    found = parse_limits(texts)
    assert [found.accuracy, found.bytes, found.latency] == pytest.approx(
        [limits.accuracy, limits.bytes, limits.latency]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speed=5%", "no 'speed'; allowed: accuracy, bytes, latency"),
        ("few", "'few' is no share"),
        ("500%", "outside of 0 % to 100 %"),
        ("-1%", "outside of 0 % to 100 %"),
        ("nan", "outside of 0 % to 100 %"),
    ],
)
def test_limits_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_limits([text])


@pytest.fixture
def places(results: dict[str, Any], tmp_path: Path) -> dict[str, Path]:
    """The same bench as a run, a folder, a record and a bare file; and a run that was only evaluated."""
    run = RunDir(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text('name = "pbc"\n')
    run.write_record("bench", inputs=[], outputs=[], config={}, results=results)
    output = RunDir(tmp_path / "output")  # as of bench --output: no config.toml
    output.write_record("bench", inputs=[], outputs=[], config={}, results=results)
    atomic_write_json(tmp_path / "alone" / "bench" / "bench.json", results)
    evaluated = RunDir(tmp_path / "evaluated")
    (tmp_path / "evaluated").mkdir()
    (tmp_path / "evaluated" / "config.toml").write_text('name = "pbc"\n')
    quality = results["models"][2]["quality"]
    for split, images in (("test", "these"), ("val", "those")):
        told = quality | {"model": "model.keras", "split": split, "images": images}
        evaluated.write_record(
            f"evaluate/model-{split}", inputs=[], outputs=[], config={}, results=told
        )
    return {
        "run": tmp_path / "run",
        "output": tmp_path / "output",
        "record": tmp_path / "run" / "bench" / "record.json",
        "folder": tmp_path / "alone" / "bench",
        "file": tmp_path / "alone" / "bench" / "bench.json",
        "evaluated": tmp_path / "evaluated",
    }


@pytest.mark.parametrize(
    ("place", "label"),
    [
        *(("run", "run"), ("record", "run"), ("output", "output")),
        *(("folder", "alone"), ("file", "alone")),
    ],
)
def test_a_bench_is_found_wherever_it_is(places: dict[str, Path], place: str, label: str) -> None:
    [source] = read_sources([places[place]])
    assert (source.label, source.kind, len(source.models)) == (label, "bench", 3)
    assert len(read_bench(places[place]).models) == 3


def test_a_run_without_a_bench_takes_part_with_its_test_evaluations(
    places: dict[str, Path],
) -> None:
    sources = read_sources([places["run"], places["evaluated"]])
    assert [model["name"] for model in sources[1].models] == ["model on test"]
    found = compare(sources)
    [last] = [pair for pair in found["pairs"] if pair["model"] == "evaluated: model on test"]
    assert last["verdict"] == "worse"
    assert last["latency_ratio"]["reason"] == "one of the two was not timed"
    assert last["size_ratio"]["reason"] == "one of the two was not weighed"
    page = render_comparison("run and evaluated", found)
    assert "evaluated: model on test" in page and "one of the two was not timed" in page
    with pytest.raises(ArtifactError, match="holds 0 benches"):
        read_bench(places["evaluated"])
    (places["evaluated"] / "config.toml").unlink()  # now as of evaluate --output
    assert read_sources([places["evaluated"]]) == sources[1:]


def test_what_is_no_bench_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing at"):
        read_sources([tmp_path / "none"])
    with pytest.raises(ConfigError, match="given twice"):
        read_sources([places["run"], places["run"]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="neither record.json nor bench.json"):
        read_sources([tmp_path / "empty"])
    for content, said in (
        ('{"schema": "edgecell/eda"}', "is of schema 'edgecell/eda'"),
        ("[]", "is no bench that can be compared"),
        ('{"schema": "edgecell/bench-result", "models": [{}]}', "KeyError: 'name'"),
        ("{", "not a readable JSON file"),
    ):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ArtifactError, match=said):
            read_sources([tmp_path / "x.json"])


def test_a_page_of_two_benches(
    places: dict[str, Path], results: dict[str, Any], tmp_path: Path
) -> None:
    other = deepcopy(results)
    other["host"]["cpu"] = "Other CPU"
    for each in other["models"]:
        each["images"] = "those"
    atomic_write_json(tmp_path / "other" / "bench.json", other)
    found = compare(read_sources([places["run"], tmp_path / "other" / "bench.json"]))
    assert len(found["models"]) == 6 and len(found["pairs"]) == 5
    assert any(
        "different machines (cpu Other CPU, before Example CPU)" in w for w in found["warnings"]
    )
    assert any("same images" in warning for warning in found["warnings"])
    page = render_comparison("two", found)
    for text in (
        "other: pbc-int8",
        "they did not see the same images",
        "run: pbc-float32",
        "Other CPU",
    ):
        assert text in page
    del found["models"][0]["quality"]["classes"]
    with pytest.raises(ArtifactError, match="cannot be shown.*classes"):
        render_comparison("two", found)
