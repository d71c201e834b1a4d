"""A sweep where an image can have several labels: what chooses, the front, and how people see it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import swept
import toys_labels
from optuna.trial import TrialState
from sklearn.metrics import roc_auc_score

from benchmarks.choice import Limits
from edgecell import metrics
from edgecell.cli import sweeping as shown
from edgecell.config import Config, ModelConfig, QuantizeConfig
from edgecell.errors import ConfigError
from edgecell.evaluate import evaluate
from edgecell.pipeline.sweep_cells import ANSWERS
from edgecell.pipeline.sweep_output import _answer, _csv, _warnings
from edgecell.pipeline.sweep_results import (
    Found,
    add_times,
    cells_of,
    draw_scores,
    mark_front,
    summary,
)
from edgecell.pipeline.sweep_wishes import wishes_for
from edgecell.progress import Silent
from edgecell.report.elements import Pictures
from edgecell.report.sweep import sweep_headline, sweep_section
from edgecell.report.sweep_page import render_sweep
from edgecell.rundir import RunDir
from edgecell.tasks import MULTI_CLASS, MULTI_LABEL, task_named

SEVERAL = task_named(MULTI_LABEL)
NAMES = ("a", "b", "c")
PRECISIONS = ("float16", "int8")
IMAGES = 90


def answers(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, C), and probabilities whose ranking the noise spoils."""
    random = np.random.default_rng(7)
    labels = (random.random((IMAGES, len(NAMES))) < (0.5, 0.3, 0.1)).astype(np.int64)
    odds = random.normal(0, 1, labels.shape) + 1.5 * labels + noise * random.normal(size=(90, 3))
    return labels, (1 / (1 + np.exp(-odds))).astype(np.float32)


def made(name: str, noise: float, size: int, passed: bool = True) -> dict[str, Any]:
    labels, said = answers(noise)
    return {
        "name": name,
        "file": f"{name}.tflite",
        "sha256": f"hash of {name}",
        "precision": name.rpartition("-")[2],
        "method": None,
        "passed": passed,
        "verdict": "equivalent" if passed else "worse",
        "size": {"value": size, "unit": "bytes"},
        "quality": evaluate(said, labels, NAMES, resamples=50),
    }


def network(folder: Path, side: int, cells: list[dict] | None, trial: Any, *noise: float) -> Found:
    name = f"mobilenet_v2-0.35-{side}"
    run = RunDir(folder / "networks" / name)
    config = Config(name, model=ModelConfig(image_size=side), quantize=QuantizeConfig(PRECISIONS))
    record = None
    if cells is not None:
        record = {"results": {"cells": cells}}
        stored = run.stage("cells") / ANSWERS
        stored.parent.mkdir(parents=True)
        said = {cell["name"]: answers(n)[1] for cell, n in zip(cells, noise, strict=True)}
        np.savez_compressed(stored, labels=answers(0)[0], **said)
        failed = {"name": "mean AUC drop", "measured": "0.0500", "allowed": "0.0050"}
        models = [
            {"file": cell["file"], "checks": [failed | {"passed": cell["passed"]}]}
            for cell in cells
        ]
        run.write_record("verify", inputs=[], outputs=[], config={}, results={"models": models})
    return Found(name, config, run, record, trial)


def tried(state: TrialState, **facts: Any) -> Any:
    return SimpleNamespace(state=state, number=0, user_attrs={"worker": "w", "cpu": "c"} | facts)


def timed(times: dict[str, float], auc: float) -> dict[str, Any]:
    models = []
    for name, value in times.items():
        time = {"value": value, "unit": "ms"}
        timing = {"p50": time, "p90": time, "ratio": time, "delegate": {"label": "X"}, "n": 9}
        quality = {"auc": {"value": auc}, "accuracy": {"value": 0.123}}
        models.append({"sha256": f"hash of {name}", "quality": quality, "latency": [timing]})
    return {"results": {"models": models, "warnings": []}}


@pytest.fixture
def networks(tmp_path: Path) -> list[Found]:
    """Made here with noise 0.5 and 0.6, made elsewhere, given up."""
    names = [f"mobilenet_v2-0.35-32-{precision}" for precision in PRECISIONS]
    here = [made(names[0], 0.5, 900), made(names[1], 0.6, 600)]
    theirs = [summary(made(f"mobilenet_v2-0.35-40-{p}", 0.2, 950)) for p in PRECISIONS]
    return [
        network(tmp_path, 32, here, tried(TrialState.COMPLETE), 0.5, 0.6),
        network(tmp_path, 40, None, tried(TrialState.COMPLETE, cells=theirs)),
        network(tmp_path, 48, None, tried(TrialState.PRUNED, reason="out of memory")),
    ]


# ------------------------------------------------------------------------------ what chooses


def test_resamples_of_the_mean_auc_are_those_of_each_model_alone():
    labels, first = answers(0.5)
    said = np.stack([first, answers(0.6)[1]])
    drawn = metrics.mean_auc_together(labels, said, 40, seed=3)
    assert drawn.shape == (40, 2)
    for place, each in enumerate(said):
        alone = metrics.bootstrap_labels(labels, each, 40, seed=3).mean_auc
        assert drawn[:, place] == pytest.approx(alone)
    # The first draw, by another library: how often each image was drawn is its weight.
    weights = np.random.default_rng(3).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=40)[0]
    expected = roc_auc_score(labels, first, sample_weight=weights)
    assert drawn[0, 0] == pytest.approx(expected)


def test_without_a_word_the_mean_auc_chooses_and_of_one_label_macro_f1():
    dataset = toys_labels.dataset()
    found = wishes_for(dataset, Limits(min_auc=0.7), None, None)
    assert (found.prefer, found.by, found.score) == ("auc", "auc", "auc")
    assert wishes_for(dataset, Limits(), "bytes", "auc").prefer == "bytes"
    one = SimpleNamespace(task=MULTI_CLASS, name="cells", class_names=("a", "b"))
    found = wishes_for(one, Limits(min_f1=0.7), None, None)
    assert (found.prefer, found.by, found.score) == ("f1", "macro_f1", "macro_f1")
    found = wishes_for(one, Limits(), "accuracy", "accuracy")
    assert (found.prefer, found.by, found.score) == ("accuracy", "accuracy", "macro_f1")


@pytest.mark.parametrize(
    ("several", "limits", "prefer", "by", "said"),
    [
        (True, {"min_f1": 0.9}, None, None, r"--min-f1 .*'blobs'.* 4 labels.*: --min-auc$"),
        (True, {"min_accuracy": 0.9}, None, None, r"--min-accuracy .*: --min-auc$"),
        (True, {}, "f1", None, r"--prefer f1 .*: --prefer auc, --prefer bytes, --prefer latency$"),
        (
            True,
            {},
            None,
            "accuracy",
            r"--by accuracy .* their mean AUC; allowed instead: --by auc$",
        ),
        (False, {"min_auc": 0.9}, None, None, r"one of 4 classes.*: --min-f1, --min-accuracy$"),
        (False, {}, "auc", None, r"--prefer auc .*--prefer f1, --prefer accuracy, --prefer bytes"),
        (False, {}, None, "auc", r"--by auc .* macro-F1 or accuracy; .*: --by f1, --by accuracy$"),
    ],
)
def test_a_score_of_the_other_task_is_refused(several, limits, prefer, by, said):
    task = MULTI_LABEL if several else MULTI_CLASS
    dataset = SimpleNamespace(task=task, name="blobs", class_names=toys_labels.LABELS)
    with pytest.raises(ConfigError, match=said):
        wishes_for(dataset, Limits(**limits), prefer, by)


def test_of_equal_files_the_better_ranking_is_the_answer():
    dataset = toys_labels.dataset()
    wishes = wishes_for(dataset, Limits(max_bytes=1), "bytes", None)
    found = [cell | {"size": {"value": 500}, "passed": True} for cell in swept.label_cells()]
    best = max(found, key=lambda cell: cell["auc"]["value"])
    assert best["name"] != max(found, key=lambda cell: cell["macro_f1"]["value"])["name"]
    answer = _answer(found, [], wishes, None, 0.005, dataset, Silent())  # a miss: no look at test
    assert answer is not None and (answer["met"], answer["cell"]) == (False, best["name"])


# ----------------------------------------------------------------------- rows, front, warnings


def test_rows_have_the_mean_auc_wherever_they_were_made(tmp_path, networks):
    here, _, elsewhere, _, gone, _ = cells_of(RunDir(tmp_path), networks, SEVERAL)
    labels, said = answers(0.5)
    assert here["auc"]["value"] == pytest.approx(roc_auc_score(labels, said))
    assert here["quality"]["task"] == MULTI_LABEL and "auc" in here["worst_class"]
    labels, said = answers(0.2)
    assert elsewhere["state"] == "elsewhere" and elsewhere["quality"] is None
    assert elsewhere["auc"]["value"] == pytest.approx(roc_auc_score(labels, said))
    assert gone["auc"]["reason"] == gone["accuracy"]["reason"] == "out of memory"
    rows = list(csv.DictReader(io.StringIO(_csv([here, gone], SEVERAL))))
    assert float(rows[0]["auc"]) == here["auc"]["value"] and rows[1]["auc"] == ""
    assert "macro_f1" not in rows[0]


def test_the_front_is_drawn_by_the_mean_auc_on_the_same_images(tmp_path, networks):
    cells = cells_of(RunDir(tmp_path), networks, SEVERAL)
    better, worse = cells[:2]
    # By F1 the second file would win at everything; by its ranking it does not.
    better["macro_f1"] = better["accuracy"] = {"value": 0.1, "unit": "fraction"}
    assert better["auc"]["value"] > worse["auc"]["value"]
    times = {better["name"]: 2.0, worse["name"]: 1.0}
    add_times(cells, timed(times, 0.5), SEVERAL)
    draws = draw_scores(cells, networks, SEVERAL)
    mark_front(cells, draws, "auc")
    assert [cell["front"] for cell in cells] == [True, True, *[None] * 4]
    assert worse["front_share"] == {
        "value": 1.0,
        "unit": "fraction",
        "kind": "measured",
        "n": 1000,
    }
    labels, first = answers(0.5)
    second, random = answers(0.6)[1], np.random.default_rng(11)
    wins = []
    for _ in range(300):
        drawn = random.integers(0, IMAGES, IMAGES)
        one, two = (roc_auc_score(labels[drawn], each[drawn]) for each in (first, second))
        wins.append(one > two)
    assert 0.5 < np.mean(wins) < 1.0
    assert better["front_share"]["value"] == pytest.approx(np.mean(wins), abs=0.08)


def test_a_ranking_that_differs_where_the_times_were_taken_is_told(tmp_path, networks):
    cells = cells_of(RunDir(tmp_path), networks, SEVERAL)
    auc = cells[0]["auc"]["value"]
    times = {cell["name"]: 1.0 for cell in cells[:2]}
    [said] = add_times(cells, timed(times, auc + 1e-6), SEVERAL)
    # The second file's is another one; the last digits of a float are not.
    assert f"{cells[1]['name']} ({auc:.4f}) did not answer" in said and cells[0]["name"] not in said
    assert "the table shows the mean AUC found where it was made" in said


def test_what_the_label_gate_refused_is_told_with_its_own_budgets(tmp_path):
    name = "mobilenet_v2-0.35-32"
    cells = [made(f"{name}-{precision}", 0.5, 900, passed=False) for precision in PRECISIONS]
    refused = network(tmp_path, 32, cells, tried(TrialState.COMPLETE), 0.5, 0.5)
    [line] = _warnings(cells_of(RunDir(tmp_path), [refused], SEVERAL), [refused], SEVERAL)
    assert line.startswith("verify refused 2 of 2 cells by 'mean AUC drop'")
    assert "a larger --max-auc-drop and --max-label-auc-drop" in line and "f1" not in line


# ------------------------------------------------------------------------------ as people see it


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return swept.results(Limits(max_bytes=900_000, min_auc=0.7), several=True, margin=0.2)


@pytest.fixture(scope="module")
def missed() -> dict[str, Any]:
    return swept.results(Limits(min_auc=0.999), several=True)


def test_the_page_draws_by_the_mean_auc_and_has_no_matrix(kept):
    page = render_sweep("s", kept)
    [text] = re.findall(r'<script type="application/json" id="figures">(.*?)</script', page, re.S)
    found = json.loads(text)
    assert (found["x"], found["y"]) == ("size", "mean_auc")
    cell = kept["cells"][0]
    assert found["entries"][0]["figures"]["mean_auc"]["v"] == cell["auc"]["value"]
    assert 'id="confusion"' not in page and "#confusion" not in page and 'id="classes"' in page
    assert "AUC and F1 of each label" in page and "#classes" in page
    assert "On test, n=400, looked at for this cell only" in page
    assert "<dt>mean AUC</dt>" in page and "<dt>weakest label</dt>" in page
    assert f"{kept['answer']['cell']}" in page and "best mean AUC of these" in page


def test_a_cell_made_elsewhere_has_its_scores_on_the_page(kept):
    there = [kept["cells"][0], kept["cells"][1] | {"quality": None, "state": "elsewhere"}]
    page = render_sweep("s", kept | {"cells": there, "answer": None})
    assert f"{there[1]['auc']['value']:.4f}" in page
    assert "give --max-bytes, --min-auc, …" in page


def test_the_report_names_what_was_measured(kept, missed, tmp_path):
    record = {"results": kept, "outputs": {}, "config": {}}
    html = sweep_section(record, tmp_path, Pictures(), {})
    assert '<th class="n">Mean AUC</th><th class="n">Label accuracy</th>' in html
    assert "mean AUC at least 0.7" in html and "acro-F1" not in html
    cards = "".join(sweep_headline(missed))
    chosen = next(c for c in missed["cells"] if c["name"] == missed["answer"]["cell"])
    assert "Its mean AUC on val" in cards and f"{chosen['auc']['value']:.3f}" in cards


def printed(capsys: pytest.CaptureFixture[str], results: dict[str, Any]) -> str:
    capsys.readouterr()
    shown.swept({"results": results}, Path("out"))
    return capsys.readouterr().out


def test_the_terminal_names_what_was_measured(kept, missed, capsys):
    out = printed(capsys, kept)
    test = kept["answer"]["test"]
    assert "mean AUC" in out and "label accuracy" in out and "acro-F1" not in out
    assert f"on test, n=400: mean AUC {test['auc']['value']:.4f}" in out
    assert f"worst label {test['worst_class']['name']}" in out
    drop = kept["answer"]["smaller_drop"]
    assert f"loses at most {drop['high']:.4f} of mean AUC with 95 % confidence" in out
    out = printed(capsys, missed)
    assert "more pairs ranked wrongly than allowed" in out and "errors" not in out
    out = printed(capsys, swept.results(several=True))
    assert "next: the same command with --max-bytes, --max-latency-ms or --min-auc" in out
