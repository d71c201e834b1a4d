"""Several labels to an image, and grades, where a person reads of them: figures, report, workbook, card, terminal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys_labels
from legible import check_legible
from openpyxl import load_workbook

from edgecell import plots
from edgecell.cli import show, show_evaluation
from edgecell.config import Config
from edgecell.disk import atomic_write_text
from edgecell.errors import DataError
from edgecell.evaluate import evaluate, write_artefacts
from edgecell.examples import examples
from edgecell.pipeline.evaluation import Evaluated
from edgecell.pipeline.targets import Target, check_trained_task
from edgecell.predictions import Predictions
from edgecell.record import Measurement
from edgecell.report import excel, render
from edgecell.report.card import card
from edgecell.rundir import RunDir
from edgecell.tasks import BINARY, MULTI_CLASS, MULTI_LABEL, ORDINAL, TASKS

# The longest of ChestMNIST's names are among them.
NAMES = ("atelectasis", "cardiomegaly", "pneumothorax", "consolidation", "pleural", "hernia")


def measured(value: float, unit: str = "fraction") -> dict[str, Any]:
    return Measurement(value, unit, n=80).to_json()


def told(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of NAMES: pleural has no image, hernia is rare and never said."""
    random = np.random.default_rng(3)
    labels = (random.random((count, 6)) < (0.5, 0.3, 0.2, 0.4, 0.0, 0.05)).astype(np.int64)
    weights = np.array((0.6, 0.45, 0.3, 0.15, 0.3, 0.3))
    probabilities = weights * labels + (1 - weights) * random.random(labels.shape)
    probabilities[:, 5] *= 0.4
    return probabilities.astype(np.float32), labels


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, dict[str, Any]]:
    """A run with the evaluation of several labels; do not change it."""
    probabilities, labels = told()
    results = evaluate(probabilities, labels, NAMES, resamples=100)
    run = make(tmp_path_factory.mktemp("runs") / "chest", results, probabilities, labels)
    trained = {"val_auc": measured(0.713), "val_accuracy": measured(0.9334)}
    record_training(run, MULTI_LABEL, trained)
    return run, results


@pytest.fixture
def graded(tmp_path: Path) -> tuple[RunDir, dict[str, Any]]:
    random = np.random.default_rng(4)
    labels = random.integers(0, 4, 80)
    near = np.clip(labels + random.integers(-1, 2, 80), 0, 3)
    probabilities = (np.eye(4)[near] * 0.8 + 0.05).astype(np.float32)
    results = evaluate(probabilities, labels, "abcd", ordinal=True, resamples=100)
    run = make(tmp_path / "grades", results, probabilities, labels, tuple("abcd"))
    record_training(run, ORDINAL, {"val_accuracy": measured(0.5), "val_kappa": measured(0.61, "1")})
    return run, results


def make(
    path: Path,
    results: dict[str, Any],
    probabilities: np.ndarray,
    labels: np.ndarray,
    names: tuple[str, ...] = NAMES,
) -> RunDir:
    run = RunDir(path)
    atomic_write_text(path / "config.toml", 'name = "r"\n')
    predictions = Predictions(
        names, [f"test[{i}]" for i in range(len(labels))], labels, probabilities
    )
    results |= {"split": "test", "model": "model.keras", "examples": examples(predictions)}
    tiles = np.random.default_rng(1).integers(0, 256, (len(labels), 8, 8, 3)).astype(np.uint8)
    written = write_artefacts(run.stage("evaluate/model-test"), results, predictions, tiles)
    run.write_record("evaluate/model-test", inputs=[], outputs=written, config={}, results=results)
    return run


def record_training(run: RunDir, task: str, figures: dict[str, Any]) -> None:
    data = {"name": "toy", "kind": "npz", "fingerprint": "0" * 64, "task": task, "notes": []}
    results = figures | {"best_epoch": 4, "epochs": 9, "seconds": 8.0, "device": "CPU"}
    results |= {"parameters": 1000, "data": data, "images": {"train": 9, "val": 80, "test": 80}}
    run.write_record("train", inputs=[], outputs=[], config={}, results=results)


# ----------------------------------------------------------------------------------- figures


def test_files_of_several_labels(labelled: tuple[RunDir, dict[str, Any]]) -> None:
    run, _ = labelled
    pictures = {path.name for path in run.stage("evaluate/model-test").glob("*.png")}
    ours = {"auc.png", "labels.png"}
    same = {"confidence.png", "reliability.png", "mistakes.png", "examples.png"}
    assert pictures == ours | same


def many(count: int) -> list[dict[str, Any]]:
    """Rows of an evaluation; the first has no image, the others are ranked worse and worse."""

    def score(value: float) -> dict[str, Any]:
        return Measurement(value, "fraction", 2000, value - 0.04, min(value + 0.03, 1.0)).to_json()

    none = Measurement.missing("fraction", "no image of this label").to_json()
    keys = ("precision", "recall", "specificity", "f1", "auc", "average_precision")
    counts = {"hits": 1000, "false_alarms": 12345, "missed": 1000, "rejected": 8088}
    rows = [
        {"name": f"Pleural_Thickening of a long name {i}", "support": 2000, "counts": counts}
        | {key: score(0.98 - 0.6 * i / count) for key in keys}
        for i in range(count)
    ]
    rows[0] |= dict.fromkeys(keys, none)
    return rows


@pytest.mark.parametrize("count", [2, 14, 60])
@pytest.mark.parametrize("draw", ["aucs", "decisions"])
@pytest.mark.filterwarnings("error")
def test_every_word_of_the_figures_can_be_read(draw: str, count: int) -> None:
    if draw == "aucs":
        check_legible(plots.label_aucs(many(count), measured(0.8), 22433))
    else:
        check_legible(plots.label_decisions(many(count)))


def test_labels_are_ranked_by_auc_and_those_without_come_last() -> None:
    rows = many(14)[::-1]
    figure = plots.label_aucs(rows, measured(0.8), 22433)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == 14
    points = [
        line.get_xdata()[0]
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and len(line.get_xdata())
    ]
    assert points == sorted(points, reverse=True) and len(points) == 13
    shown = [text.get_text().strip() for text in figure.axes[0].texts]
    assert shown == ["no image of this label"]
    [chance] = [line for line in figure.axes[1].lines if line.get_marker() == "|"]
    assert chance.get_xdata() == pytest.approx(2000 / 22433)


def test_of_a_thousand_labels_the_worst_are_drawn() -> None:
    for figure in (
        plots.label_aucs(many(1000), measured(0.8), 22433),
        plots.label_decisions(many(1000)),
    ):
        assert len(figure.axes[0].get_yticks()) == 100
        assert "the 100 worst of 1,000" in figure.get_suptitle()


def test_decisions_show_the_four_counts() -> None:
    rows = many(3)
    rows[1]["counts"] = {"hits": 11, "false_alarms": 22, "missed": 33, "rejected": 4444}
    texts = plots.label_decisions(rows).axes[1].texts
    row = sorted((t.get_position()[0], t.get_text()) for t in texts if t.get_position()[1] == 1)
    heads = sorted((t.get_position()[0], t.get_text()) for t in texts if t.get_position()[1] < 0)
    assert dict(zip([h for _, h in heads], [r for _, r in row], strict=True)) == {
        "found": "11",
        "missed": "33",
        "false\nalarms": "22",
        "rightly\nnot said": "4,444",
    }


# ------------------------------------------------------------------------------------ report


def test_the_report_says_auc_and_has_no_confusion(labelled: tuple[RunDir, dict[str, Any]]) -> None:
    run, results = labelled
    page = render(run)
    assert "Validation mean AUC" in page and "Validation accuracy" not in page
    assert "label accuracy 0.933, Keras model, n=80" in page
    assert f"<dt>mean AUC</dt><dd>{results['auc']['value']:.3f} [" in page
    assert "<dt>val mean AUC</dt><dd>0.713 (n=80)</dd>" in page
    assert "<dt>label accuracy</dt>" in page and "<dt>accuracy</dt>" not in page
    assert "Confusion" not in page and "weighted" not in page
    worst = results["worst_class"]
    assert worst["name"] == "consolidation"
    assert f"<dt>weakest label</dt><dd>consolidation, AUC {worst['auc']['value']:.3f} [" in page
    for row in results["classes"]:
        cells = "".join(
            f'<td class="n">{row["counts"][key]:,}</td>'
            for key in ("hits", "missed", "false_alarms", "rejected")
        )
        assert f"<td>{row['name']}</td>{cells}" in page, row["name"]
    assert "said above 0.5" in page and "never above 0.5: hernia" in page


def test_a_training_from_before_the_auc_was_kept_still_opens(tmp_path: Path, capsys: Any) -> None:
    run = RunDir(tmp_path / "old")
    atomic_write_text(run.path / "config.toml", 'name = "r"\n')
    record_training(run, MULTI_LABEL, {"val_accuracy": measured(0.47)})
    assert "Validation label accuracy" in render(run)
    show.trained(run.read_record("train"), run.path)
    assert capsys.readouterr().out.startswith("val label accuracy 0.4700 (n=80) in epoch 4 of 9")


@pytest.mark.parametrize(
    ("task", "figures", "line"),
    [
        (MULTI_CLASS, {"val_accuracy": 0.5}, "val accuracy 0.5000 (n=80) in"),
        (BINARY, {"val_accuracy": 0.5}, "val accuracy 0.5000 (n=80) in"),
        (
            ORDINAL,
            {"val_accuracy": 0.5, "val_kappa": 0.61},
            "val accuracy 0.5000, quadratic kappa 0.6100 (n=80) in",
        ),
        (
            MULTI_LABEL,
            {"val_accuracy": 0.47, "val_auc": 0.7},
            "val mean AUC 0.7000, label accuracy 0.4700 (n=80) in",
        ),
    ],
)
def test_the_last_line_of_a_training(
    task: str, figures: dict[str, float], line: str, tmp_path: Path, capsys: Any
) -> None:
    run = RunDir(tmp_path / "run")
    record_training(run, task, {key: measured(value) for key, value in figures.items()})
    show.trained(run.read_record("train"), run.path)
    assert capsys.readouterr().out.startswith(line)


def test_grades_show_their_kappa(graded: tuple[RunDir, dict[str, Any]], capsys: Any) -> None:
    run, results = graded
    kappa = results["kappa"]["value"]
    assert 0 < kappa < 1 and results["task"] == ORDINAL
    page = render(run)
    assert f"<dt>quadratic kappa</dt><dd>{kappa:.3f} [" in page and "<dt>kappa</dt>" not in page
    assert "Validation accuracy" in page and "quadratic kappa 0.610, Keras model, n=80" in page
    assert "<dt>val quadratic kappa</dt>" in page and "Confusion matrix" in page
    show_evaluation.evaluated(Evaluated(results, run.path))
    out = capsys.readouterr().out
    assert f"  quadratic kappa {kappa:.4f} [" in out and "per class" in out
    summary = sheet(excel.write_evaluation(run.path / "a.xlsx", results, None, {}), "Summary")
    row = next(row for row in summary if row[0] == "kappa")
    assert row[1] == pytest.approx(kappa) and row[-1] == "quadratic kappa"
    figures = dict((title, value) for title, value, _ in headline(ORDINAL, results))
    assert figures["Accuracy"] == f"{results['accuracy']['value']:.3f}"
    assert figures["Quadratic kappa"] == f"{kappa:.3f}"


# -------------------------------------------------------------------- workbook, card, terminal


def sheet(path: Path, name: str) -> list[tuple[Any, ...]]:
    return list(load_workbook(path, read_only=True)[name].values)


def test_the_workbook_has_a_row_for_each_label(
    labelled: tuple[RunDir, dict[str, Any]], tmp_path: Path
) -> None:
    run, results = labelled
    folder = run.stage("evaluate/model-test")
    book = excel.write_evaluation(folder / "evaluation.xlsx", results, run, {})
    assert load_workbook(book, read_only=True).sheetnames == [
        *("Summary", "Labels", "Settings", "Predictions")
    ]
    head, *rows = sheet(book, "Labels")
    assert head[:6] == ("name", "hits", "false alarms", "missed", "rejected", "support")
    for row, entry in zip(rows, results["classes"], strict=True):
        told_of = dict(zip(head, row, strict=True))
        assert told_of["hits"] + told_of["missed"] == told_of["support"] == entry["support"]
        assert told_of["hits"] + told_of["false alarms"] == told_of["predicted"]
        wanted = entry["auc"].get("value", entry["auc"].get("reason"))
        assert told_of["auc"] == (pytest.approx(wanted) if "value" in entry["auc"] else wanted)
        assert told_of["split"] == "test"
    summary = {row[0]: row for row in sheet(book, "Summary")}
    assert summary["auc"][-1] == "mean AUC" and summary["accuracy"][-1] == "label accuracy"
    assert summary["exact_match"][1] == pytest.approx(results["exact_match"]["value"])
    assert not any("classes" in str(key) for key in summary)
    said = sheet(book, "Predictions")[1]
    predicted = json.loads((folder / "predictions.json").read_text())["images"][0]["predicted"]
    assert said[3] == predicted
    assert "Labels" in load_workbook(excel.write_run(run), read_only=True).sheetnames


def model(task: str) -> dict[str, Any]:
    port = {"shape": [1, 8, 8, 3], "dtype": "uint8", "scale": None, "zero_point": None}
    facts = dict.fromkeys(("architecture", "precision")) | {"size_bytes": 1000, "sha256": "cd" * 32}
    return {
        **{"name": "m", "notice": "n", "intended_use": "i", "licence": {"model": "l"}},
        "verified": {"status": "passed", "sentence": "It passed."},
        "model": facts | {"verified_sha256": "ab" * 32},
        **{"input": port, "output": port, "preprocessing": {"fit": {"mode": "stretch"}}},
        "task": {"kind": TASKS[task].kind, "name": task},
        **{"labels": list(NAMES), "records": {}},
    }


def headline(task: str, results: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    record = {"inputs": {"m": "ab" * 32}, "config": {}, "results": results}
    return card(model(task), {"evaluate/m-test": record}).headline


def test_the_model_card_begins_with_the_mean_auc(labelled: tuple[RunDir, dict[str, Any]]) -> None:
    _, results = labelled
    first, second, *_ = headline(MULTI_LABEL, results)
    auc = results["auc"]
    assert first[:2] == ("Mean AUC", f"{auc['value']:.3f}")
    assert first[2].startswith(f"95 % {auc['low']:.3f} to {auc['high']:.3f}, n=200, this file")
    assert second[:2] == ("Label accuracy", f"{results['accuracy']['value']:.3f}")
    record = {"inputs": {"m": "ab" * 32}, "config": {}, "results": results}
    parts = {p.title: p for p in card(model(MULTI_LABEL), {"evaluate/m-test": record}).parts}
    part = parts["How good it is"]
    assert "decided by itself: it is said above 0.5" in part.text[0]
    scores, labels = part.grids
    assert [row[0] for row in scores.rows][:4] == [
        *("mean AUC", "label accuracy", "exact match", "macro-F1")
    ]
    assert labels.columns[:4] == ("label", "images", "AUC", "average precision")
    assert "specificity" in labels.columns
    assert [row[0] for row in labels.rows] == list(NAMES)


def test_a_card_of_one_label_stays_as_it_is() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet((1, 1), 60)
    results = evaluate(probabilities, random.integers(0, 2, 60), "ab", resamples=20)
    results |= {"split": "test"}
    titles = [title for title, _, _ in headline(BINARY, results)]
    assert titles == ["Accuracy", "Verified", "Size"]
    absent = card(model(MULTI_LABEL), {}).headline[0]
    assert absent[:2] == ("Mean AUC", "not measured")


def test_the_terminal_lists_labels(labelled: tuple[RunDir, dict[str, Any]], capsys: Any) -> None:
    run, results = labelled
    show_evaluation.evaluated(Evaluated(results, run.path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["mean", "AUC", f"{results['auc']['value']:.4f}"]
    assert lines[2].split()[:2] == ["label", "accuracy"]
    assert lines[3].split()[:2] == ["exact", "match"]
    text = "\n".join(lines)
    assert "per label, each said above 0.5" in text and "weighted" not in text
    head = next(line for line in lines if "average precision" in line and "support" in line)
    assert [h for h in ("recall", "specificity", "F1", "AUC") if h not in head] == []
    for row in results["classes"]:
        line = next(line for line in lines if row["name"] in line and "┃" not in line)
        assert str(row["support"]) in line
        assert row["auc"].get("reason", f"{row['auc'].get('value', 0):.4f}") in line
    assert "note: never above 0.5: hernia" in text


def test_of_very_many_labels_the_worst_ranked_are_listed(capsys: Any) -> None:
    classes = many(60)
    results = dict.fromkeys(("auc", "accuracy"), measured(0.8)) | {
        **{"task": MULTI_LABEL, "model": "m", "split": "val", "n": 9, "classes": classes},
        **{"method": {"threshold": 0.5}, "notes": []},
    }
    show_evaluation.evaluated(Evaluated(results, Path("x")))
    out = capsys.readouterr().out
    assert "the 50 lowest of 60 labels" in out
    assert "long name 59 " in out and "long name 5 " not in out


# ------------------------------------------------------------------------------ what is refused


def test_one_label_and_several_do_not_go_together(tmp_path: Path) -> None:
    several = toys_labels.dataset({"train": 4, "val": 4, "test": 4})
    one = dataclasses.replace(several, task=MULTI_CLASS)
    for trained, fits, wrong, said in (
        (MULTI_CLASS, one, several, "ends in a softmax .* can have several of 4 labels"),
        (MULTI_LABEL, several, one, "ends in a sigmoid .* has one of 4 classes"),
    ):
        run = RunDir(tmp_path / trained)
        record_training(run, trained, {"val_accuracy": measured(0.5)})
        target = Target(run.path / "model.keras", run, Config())
        check_trained_task(target, fits)
        with pytest.raises(DataError, match=said):
            check_trained_task(target, wrong)
    check_trained_task(Target(tmp_path / "lone.keras", None, Config()), one)
