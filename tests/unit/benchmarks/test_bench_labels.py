"""The bench, its pages and comparisons where an image can have several labels; grades and their kappa."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
import toys_labels
from sklearn import metrics as sk

from benchmarks import report
from benchmarks.agreement import agreement
from benchmarks.comparison import compare
from benchmarks.devices.host import Host
from benchmarks.latency import Pace
from benchmarks.options import BenchOptions
from benchmarks.peers import report as peers_report
from benchmarks.peers import run as peers
from benchmarks.quality import unknown
from benchmarks.ranking import ranking, ranking_drop
from benchmarks.regression import Limits, check_images, judge
from benchmarks.run import bench, write_artefacts
from benchmarks.sources import of_results
from converters.tflite import convert
from edgecell.cli import show_comparison
from edgecell.errors import ArtifactError, DataError
from edgecell.evaluate import evaluate
from edgecell.metrics import paired_labels
from edgecell.report.bench import headline
from edgecell.report.bench_page import render_bench
from edgecell.report.bench_quality import per_class
from edgecell.report.comparison import render_comparison
from edgecell.report.peers import render_peers
from edgecell.runtime import KerasPredictor, TFLitePredictor

PACE = Pace(runs=16, seconds=0.0, warmup_runs=1)
OPTIONS = BenchOptions(PACE, threads=(1,), batches=(), loads=1, memory=False, resamples=50)
IMAGES, LABELS = toys_labels.images(150, seed=40)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("labels")
    paths = [folder / f"blobs-{precision}.tflite" for precision in ("float32", "int8")]
    for path in paths:
        path.write_bytes(toys_labels.converted(path.stem.removeprefix("blobs-")))
    return paths


@pytest.fixture(scope="module")
def result(files: list[Path]):  # type: ignore[no-untyped-def]
    return bench(files, IMAGES, LABELS, toys_labels.LABELS, OPTIONS)


@pytest.fixture
def data(result) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """As bench.json, for a test to change."""
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    for model in found["models"]:
        model["images"] = "these"
    return dict(found)


class Elsewhere:
    """A device that answers as this host, after ``change`` of the raw outputs; or with a reason."""

    kind = "elsewhere"

    def __init__(self, change: Any) -> None:
        self._change = change

    def measure(self, jobs: Any, options: Any, reference: Any, say: Any) -> Any:
        found = Host().measure(jobs, options, reference, say)
        return replace(
            found, answers=[replace(each, raw=self._change(each.raw)) for each in found.answers]
        )


def test_figures_are_scikit_learn_s_of_what_litert_answers(
    files: list[Path], data: dict[str, Any]
) -> None:
    for path, model in zip(files, data["models"], strict=True):
        # 0.2 quanta away from LiteRT's own output would already be another ranking.
        answers = TFLitePredictor.open(path).predict(IMAGES)
        quality = model["quality"]
        assert quality["auc"]["value"] == pytest.approx(sk.roc_auc_score(LABELS, answers))
        assert quality["accuracy"]["value"] == pytest.approx(((answers > 0.5) == LABELS).mean())
        for row, truth, p in zip(quality["classes"], LABELS.T, answers.T, strict=True):
            assert row["auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, p))
        assert quality["auc"]["value"] > 0.85  # a dead model would have 0.5
        assert "confusion" not in quality
    rows = report.rows(data)
    shown = [f"{model['quality']['auc']['value']:.3f}" for model in data["models"]]
    assert [row["mean AUC"].split(" ")[0] for row in rows] == shown
    assert all(row["worst label AUC"].split(" ", 1)[1] in toys_labels.LABELS for row in rows)
    assert "accuracy" not in rows[0] and "worst class F1" not in rows[0]


def test_markdown_and_plots_speak_of_auc(result, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    written = write_artefacts(tmp_path, result)
    names = sorted(path.name for path in written)
    assert names == ["bench.json", "bench.md", "latency_auc.png", "size_auc.png"]
    text = (tmp_path / "bench.md").read_text()
    assert "| model | precision | mean AUC | label accuracy |" in text
    assert "mean share of right decisions" in text and "Accuracy: Wilson" not in text
    value = result.models[1]["quality"]["auc"]["value"]
    points = report.size_points(result.to_json())
    assert points[1].y == value != result.models[1]["quality"]["accuracy"]["value"]


def test_the_page_has_the_auc_of_each_label_and_no_confusion_matrix(data: dict[str, Any]) -> None:
    page = render_bench("blobs", data)
    [text] = re.findall(r'<script type="application/json" id="figures">(.*?)</script', page, re.S)
    found = json.loads(text)
    assert found["y"] == "mean_auc"
    for entry, model in zip(found["entries"], data["models"], strict=True):
        quality = model["quality"]
        assert entry["figures"]["mean_auc"]["v"] == quality["auc"]["value"]
        assert entry["figures"]["worst_auc"]["v"] == quality["worst_class"]["auc"]["value"]
        assert entry["confusion"] is None
        for row in quality["classes"]:
            assert f"{row['name']}: {row['auc']['value']:.4f} [" in page
            assert f"{row['name']}: {row['f1']['value']:.4f} [" in page
    assert 'id="confusion"' not in page and 'href="#confusion"' not in page
    assert "AUC and F1 of each label" in page and "F1 of each class" not in page


def test_the_report_s_part_is_of_labels(data: dict[str, Any]) -> None:
    table = str(per_class(data["models"]))
    for model in data["models"]:
        for row in model["quality"]["classes"]:
            assert f"{row['auc']['value']:.3f}" in table and f"{row['f1']['value']:.3f}" in table
    cards = "".join(map(str, headline(data, {})))
    worst = data["models"][1]["quality"]["worst_class"]
    assert "Test mean AUC, int8" in cards and f"AUC of {worst['name']}" in cards
    assert "accuracy" not in cards


def test_a_device_without_outputs_leaves_reasons(files: list[Path]) -> None:
    told = bench(
        files, IMAGES, LABELS, toys_labels.LABELS, OPTIONS, device=Elsewhere(lambda raw: "not told")
    )
    found = told.to_json()
    measured = evaluate(np.full(LABELS.shape, 0.4), LABELS, toys_labels.LABELS, resamples=5)
    for model in found["models"]:
        quality = model["quality"]
        assert quality["task"] == measured["task"]
        for key, value in measured.items():
            if isinstance(value, dict) and {"value", "reason"} & set(value):
                assert quality[key]["reason"] == "not told"
        for mine, row in zip(quality["classes"], measured["classes"], strict=True):
            assert mine["support"] == row["support"]
            assert set(mine) == set(row) - {"counts", "predicted"}
    assert any(line.startswith("mean AUC, ") for line in found["not_measured"])
    page = render_bench("blobs", found)
    assert '"key":"mean_auc"' not in page and "Not measured: mean AUC" in page
    assert report.size_points(found) == []


def test_unknown_has_what_an_evaluation_has() -> None:
    one = unknown(np.array([0, 1, 1]), ("a", "b"), "gone", ordinal=True)
    assert [row["support"] for row in one["classes"]] == [1, 2]
    assert one["kappa"]["reason"] == "gone" and one["confusion"] == [] and "task" not in one
    several = unknown(np.array([[1, 1], [0, 1], [0, 0]]), ("a", "b"), "gone")
    assert [row["support"] for row in several["classes"]] == [1, 2]
    assert several["worst_class"]["auc"]["reason"] == "gone"
    assert "confusion" not in several and "kappa" not in several


def test_agreement_is_of_all_decisions(files: list[Path]) -> None:
    predictor = TFLitePredictor.open(files[0])
    raw = predictor.predict(IMAGES).copy()
    same = agreement(predictor, IMAGES, raw, "elsewhere", several=True)
    assert same["decisions"]["value"] == 1.0 and "top1" not in same
    # The least probable label of 6 images is said, the most probable one stays where it was.
    for i in range(6):
        row = np.sort(raw[i])
        assert row[0] < 0.5
        raw[i, raw[i].argmin()] = 0.51 if row[-1] > 0.51 else raw[i].min()
    changed = int((raw != predictor.predict(IMAGES)).any(axis=1).sum())
    assert changed >= 3
    found = agreement(predictor, IMAGES, raw, "elsewhere", several=True)
    assert found["decisions"]["value"] == pytest.approx(1 - changed / 150)
    assert agreement(predictor, IMAGES, raw, "elsewhere")["top1"]["value"] == 1.0


def test_a_device_that_decides_otherwise_is_warned_of(files: list[Path]) -> None:
    def lower(raw: np.ndarray) -> np.ndarray:
        return np.where(raw > 0.5, 0.4, raw).astype(raw.dtype)

    found = bench(
        files[:1], IMAGES, LABELS, toys_labels.LABELS, OPTIONS, device=Elsewhere(lower)
    ).to_json()
    said = TFLitePredictor.open(files[0]).predict(IMAGES) > 0.5
    count = int(said.any(axis=1).sum())
    assert count > 50
    assert any(f"another decision in {count} of 150 images" in line for line in found["warnings"])
    assert "decisions as host" in report.rows(found)[0]
    assert "All decisions as on the host" in render_bench("blobs", found)


def test_a_softmax_cannot_say_several_labels(tmp_path: Path) -> None:
    path = tmp_path / "cells.tflite"
    path.write_bytes(toys.converted("float32"))
    images, labels = toys.images(20, seed=3)
    several = np.eye(len(toys.CLASSES), dtype=np.int64)[labels]
    with pytest.raises(DataError, match=r"cells.tflite ends in a softmax and finds one.*--data"):
        bench([path], images, several, toys.CLASSES, OPTIONS)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_sigmoid_does_not_find_one_class(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "blobs.tflite"
    path.write_bytes(toys_labels.converted(precision))
    one = LABELS.argmax(axis=1)
    with pytest.raises(DataError, match=r"blobs.tflite ends in a sigmoid .* one of 4 classes"):
        bench([path], IMAGES, one, toys_labels.LABELS, OPTIONS)


def test_another_form_is_refused_with_the_name_of_the_images_and_before_they_are_read(
    tmp_path: Path, files: list[Path]
) -> None:
    def unread(size: tuple[int, int]) -> np.ndarray:
        raise AssertionError(f"images of {size} were read")

    path = tmp_path / "cells.tflite"
    path.write_bytes(toys.converted("float32"))
    with pytest.raises(DataError, match=r"cells.tflite ends in a softmax .* of 'blobs' can have"):
        bench([files[0], path], unread, LABELS, toys_labels.LABELS, OPTIONS, data_name="'blobs'")


def test_a_file_that_ends_in_neither_is_benched_on_both(tmp_path: Path) -> None:
    path = tmp_path / "logits.tflite"
    path.write_bytes(convert(toys_labels.model(activation=None), "float32"))
    for labels in (LABELS, LABELS.argmax(axis=1)):
        assert bench([path], IMAGES, labels, toys_labels.LABELS, OPTIONS).images == len(IMAGES)


def test_grades_show_their_kappa(tmp_path: Path) -> None:
    path = tmp_path / "grades.tflite"
    path.write_bytes(toys.converted("int8"))
    images, labels = toys.images(60, seed=5)
    found = bench([path], images, labels, toys.CLASSES, OPTIONS, ordinal=True).to_json()
    said = TFLitePredictor.open(path).predict(images).argmax(axis=1)
    kappa = sk.cohen_kappa_score(labels, said, weights="quadratic")
    assert found["models"][0]["quality"]["kappa"]["value"] == pytest.approx(kappa)
    assert report.rows(found)[0]["kappa"].startswith(f"{kappa:.3f}")
    assert any(note.startswith("Kappa") for note in found["notes"])
    page = render_bench("grades", found)
    assert '"key":"kappa"' in page and ">Kappa<" in page
    plain = bench([path], images, labels, toys.CLASSES, OPTIONS).to_json()
    assert "kappa" not in report.rows(plain)[0] and "Kappa" not in render_bench("cells", plain)


def test_a_comparison_shows_figures_and_says_why_nothing_is_tested(
    data: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(json.dumps(compare([of_results("now", data)])))
    [pair] = found["pairs"]
    aucs = [model["quality"]["auc"]["value"] for model in data["models"]]
    assert pair["auc_drop"]["value"] == pytest.approx(aucs[0] - aucs[1])
    assert pair["auc_drop"]["low"] < pair["auc_drop"]["value"] < pair["auc_drop"]["high"]
    assert pair["verdict"] == "no difference seen" and 0.05 < pair["p_holm"] <= 1
    sizes = [model["footprint"]["size"]["value"] for model in data["models"]]
    assert pair["size_ratio"]["value"] == pytest.approx(sizes[1] / sizes[0])
    assert "value" in pair["latency_ratio"]
    assert not any("McNemar" in note for note in found["notes"])
    best = max(model["quality"]["auc"]["value"] for model in data["models"])
    page = render_comparison("both", found)
    assert "Highest mean AUC" in page and f"{best:.3f}" in page and "Most accurate" not in page
    assert 'id="confusion"' not in page
    show_comparison.compared(found)
    shown = capsys.readouterr().out
    assert "mean AUC" in shown and "worst label AUC" in shown
    assert "mean AUC drop" in shown and f"{aucs[0] - aucs[1]:+.4f} [" in shown
    assert "lost / gained" not in shown and "accuracy drop" not in shown


def test_without_rankings_a_comparison_says_why_nothing_is_tested(
    data: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    del data["models"][1]["ranking"]
    found = compare([of_results("now", data)])
    assert found["pairs"][0]["verdict"] == "not tested" and "p" not in found["pairs"][0]
    render_comparison("both", found)
    show_comparison.compared(found)
    assert "no test in pairs where an image can have several labels" in capsys.readouterr().out
    data["models"][1]["ranking"] = data["models"][0]["ranking"] | {"parts": "0.1 x"}
    with pytest.raises(ArtifactError, match="a ranking that cannot be read"):
        compare([of_results("now", data)])


def test_a_drop_of_the_mean_auc_is_delong_s() -> None:
    """What is kept of each image gives the test that all answers give."""
    random = np.random.default_rng(3)
    good = np.clip(0.4 * LABELS + random.uniform(0, 0.6, LABELS.shape), 0, 1)
    bad = np.clip(good + random.normal(0, 0.3, LABELS.shape), 0, 1)
    kept = [json.loads(json.dumps(ranking(LABELS, each))) for each in (good, bad)]
    found = ranking_drop(kept[0], kept[1])
    whole = paired_labels.mean_drop(
        LABELS, paired_labels.areas(LABELS, good), paired_labels.areas(LABELS, bad)
    )
    assert not isinstance(found, str) and whole is not None
    assert found.drop.value == pytest.approx(whole.drop)
    assert (found.drop.low, found.drop.high) == pytest.approx(tuple(whole.interval()), rel=1e-3)
    assert found.worse_p == pytest.approx(whole.worse_p(), rel=1e-2) and found.worse_p < 1e-4
    back = ranking_drop(kept[1], kept[0])
    assert not isinstance(back, str)
    assert back.worse_p > 0.99 and back.p == pytest.approx(found.p, rel=1e-6)
    same = ranking_drop(kept[0], kept[0])
    assert not isinstance(same, str) and same.p == 1.0 and same.drop.value == 0.0
    assert isinstance(ranking_drop(kept[0], ranking(LABELS[:, :2] * 0 + 1, good[:, :2])), str)


def test_one_label_and_several_stand_side_by_side(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.tflite"
    path.write_bytes(toys.converted("int8"))
    cells = bench([path], *toys.images(30, seed=5), toys.CLASSES, OPTIONS).to_json()
    found = compare([of_results("labels", data), of_results("cells", cells)])
    assert "only one of the two" in found["pairs"][-1]["accuracy_drop"]["reason"]
    page = render_comparison("both", found)
    assert "Most accurate" not in page and "Highest mean AUC" not in page  # they do not compare
    assert 'id="confusion"' in page
    show_comparison.compared(found)
    shown = capsys.readouterr().out
    assert "worst label AUC" in shown and "worst class F1" in shown


@pytest.mark.parametrize("baseline", ["labels", "cells"])
def test_a_mixed_page_shows_the_figure_that_its_pairs_were_tested_by(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], baseline: str
) -> None:
    paths = [tmp_path / f"cells-{precision}.tflite" for precision in ("float32", "int8")]
    for path in paths:
        path.write_bytes(toys.converted(path.stem.removeprefix("cells-")))
    cells = bench(paths, *toys.images(30, seed=5), toys.CLASSES, OPTIONS).to_json()
    for model in cells["models"]:
        model["images"] = "those"
    sources = [of_results("labels", data), of_results("cells", cells)]
    found = compare(sources if baseline == "labels" else sources[::-1])
    page = render_comparison("both", found)
    show_comparison.compared(found)
    table = capsys.readouterr().out.split(f"against {found['baseline']}")[1]
    tested, *others = found["pairs"]
    assert tested["verdict"] != "not tested"
    assert {pair["verdict"] for pair in others} == {"not tested"}
    drop = tested["auc_drop" if baseline == "labels" else "accuracy_drop"]
    shown = f"{drop['value']:+.4f} [{drop['low']:+.4f}, {drop['high']:+.4f}]"
    assert shown in table and f"{drop['low']:+.4f} to {drop['high']:+.4f}" in page
    assert ("mean AUC drop" in table) == ("Mean AUC drop" in page) == (baseline == "labels")
    assert ("lost / gained" in table) == ("Lost / gained" in page) == (baseline == "cells")
    assert any("DeLong" in note for note in found["notes"]) == (baseline == "labels")
    figure = "mean AUC drop" if baseline == "labels" else "accuracy"
    assert f"no {figure}, only one of the two can say several labels" in table
    assert page.count("only one of the two can say several labels") >= 2


def test_a_fall_of_the_mean_auc_is_a_regression(data: dict[str, Any]) -> None:
    before, worse = of_results("before", deepcopy(data)), deepcopy(data)
    check_images(before, "bench.json", "these")
    with pytest.raises(DataError, match="measured on other images"):
        check_images(before, "bench.json", "others")
    for model in worse["models"]:
        del model["ranking"]
    worse["models"][1]["quality"]["auc"]["value"] -= 0.06
    found = judge(of_results("now", worse), before, Limits(latency=1.0))
    told = {(f["model"], f["quantity"]): f for f in found["findings"]}
    assert told["blobs-int8", "mean AUC"]["verdict"] == "regressed"
    assert "drop +0.0600, allowed 5.0%" in told["blobs-int8", "mean AUC"]["said"]
    assert told["blobs-float32", "mean AUC"]["verdict"] == "ok"
    assert told["blobs-int8", "label accuracy"]["verdict"] == "ok"
    assert found["regressed"] == 1
    loose = judge(of_results("now", worse), before, Limits(accuracy=0.07, latency=1.0))
    assert loose["regressed"] == 0


def test_a_fall_that_is_no_accident_is_a_regression_whatever_is_allowed(
    data: dict[str, Any],
) -> None:
    before, worse = of_results("before", deepcopy(data)), deepcopy(data)
    int8 = TFLitePredictor(toys_labels.converted("int8")).predict(IMAGES)
    noisy = np.clip(int8 + np.random.default_rng(0).normal(0, 0.25, int8.shape), 0, 1)
    fall = data["models"][1]["quality"]["auc"]["value"] - sk.roc_auc_score(LABELS, noisy)
    assert 0.02 < fall < 0.3
    worse["models"][1]["ranking"] = ranking(LABELS, noisy.astype(np.float32))
    worse["models"][1]["quality"]["auc"]["value"] -= fall
    found = judge(of_results("now", worse), before, Limits(accuracy=0.9, latency=1.0))
    [told] = [f for f in found["findings"] if f["verdict"] == "regressed"]
    assert (told["model"], told["quantity"]) == ("blobs-int8", "mean AUC")
    assert f"drop {fall:+.4f} [" in told["said"]


def test_one_label_still_needs_its_answers(data: dict[str, Any]) -> None:
    before = of_results("before", data)
    del before.models[0]["quality"]["task"]
    with pytest.raises(ArtifactError, match="does not say which images it saw"):
        check_images(before, "bench.json", "these")


def test_peers_agree_by_their_decisions(files: list[Path]) -> None:
    reference = KerasPredictor(toys_labels.trained()).predict(IMAGES)
    found = peers.measure(
        *(peers.ours(files, 1), (), IMAGES, LABELS, toys_labels.LABELS, reference, PACE, 1),
        lambda text, share: None,
    )
    int8 = found["models"][1]
    answers = TFLitePredictor.open(files[1]).predict(IMAGES)
    same = ((answers > 0.5) == (reference > 0.5)).all(axis=1).mean()
    assert int8["agreement"]["value"] == pytest.approx(same)
    assert int8["quality"]["auc"]["value"] == pytest.approx(sk.roc_auc_score(LABELS, answers))
    row = peers_report.rows(found)[0]
    assert "mean AUC" in row and "decisions as trained" in row and "accuracy" not in row
    page = render_peers("blobs", found)
    assert '"key":"mean_auc"' in page and 'id="confusion"' not in page
