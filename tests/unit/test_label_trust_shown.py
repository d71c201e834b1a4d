"""Thresholds of labels where a person reads of them: figures, report, card, terminal; and records of one label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from legible import check_legible
from matplotlib.figure import Figure

from edgecell import plots
from edgecell.cli import trust as shown
from edgecell.config import ConfidenceConfig
from edgecell.pipeline import label_confidence as stage
from edgecell.pipeline.measured import Seen
from edgecell.report.card_labels import thresholds_part
from edgecell.report.trust import calibrate_section
from edgecell.tasks import MULTI_LABEL

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
NAMES = ("atelectasis", "pleural_thickening <b>", "hernia", "mass")


def found(names: tuple[str, ...] = NAMES, n: int = 300) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Results and figures: hernia has five images in val, mass is an output of 0 for all."""
    seen = {}
    for seed, split in enumerate(("val", "test")):
        random = np.random.default_rng(seed)
        z = random.normal(size=(n, len(names))) * 2 - 1
        labels = (random.random(z.shape) < 1 / (1 + np.exp(-z))).astype(np.int64)
        p = 1 / (1 + np.exp(-2 * z))
        if len(names) == len(NAMES):
            labels[:, 2] = np.arange(n) < 5
            p[:, 3] = 0
        seen[split] = Seen(labels, p, np.round(p * 255) / 256)
    calibrate, *_ = stage.CALIBRATION
    return calibrate(seen, names, ConfidenceConfig(), 1 / 256)


def record_of(results: dict[str, Any]) -> dict[str, Any]:
    entry = {"file": "m-int8.tflite", "precision": "int8", "sha256": "ab" * 32} | results
    outputs = {f"calibrate/m-int8-{kind}.png": "0" for kind in ("reliability", "sensitivity")}
    return {
        "outputs": outputs,
        "results": {"task": MULTI_LABEL, "splits": ["val", "test"], "models": [entry]},
    }


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return record_of(found()[0])


@pytest.mark.parametrize("count", [1, 2, 4, 14, 40, 120])
def test_every_word_of_the_figures_can_be_read(count: int) -> None:
    names = tuple(f"Pleural_Thickening of a long name {i}" for i in range(count))
    for figure in found(names, 60)[1].values():
        check_legible(figure)


def test_of_very_many_labels_those_furthest_off_are_drawn() -> None:
    bins = {"count": [4, 6], "confidence": [0.2, 0.7], "accuracy": [0.1, 0.6]}
    names = [str(i) for i in range(40)]
    figure = plots.label_reliability(names, {"m": [bins] * 40}, off=[i / 40 for i in range(40)])
    drawn = [axes.get_title("left") for axes in figure.axes if axes.axison]
    assert drawn == names[-30:]


def test_a_label_without_a_threshold_says_so_in_the_figure() -> None:
    texts = {text.get_text() for text in found()[1]["sensitivity"].axes[1].texts}
    assert "0.5 (kept)" in texts and "0" in texts


class NoPictures:
    def figure(self, path: Path, caption: str) -> str:
        return f"{path.name}: {caption}"


def test_the_report_has_a_row_for_each_label(record: dict[str, Any]) -> None:
    page = calibrate_section(record, Path("calibrate"), NoPictures(), {})  # type: ignore[arg-type]
    assert "pleural_thickening &lt;b&gt;" in page and "<b>" not in page
    assert "above 0.5: 5 images with it, and 9 are needed to promise 0.9" in page
    assert "m-int8-sensitivity.png: What each label" in page and "m-int8-conformal" not in page
    assert "split conformal" in page and "abstain" not in page
    assert page.count("Thresholds for a sensitivity of 0.9") == 2  # on val and on test


def test_the_card_has_what_was_found_on_test(record: dict[str, Any]) -> None:
    [entry] = record["results"]["models"]
    part = thresholds_part(entry, "test")
    table, confidence = part.grids
    assert [row[0] for row in table.rows] == list(NAMES)
    first = entry["test"]["labels"]["atelectasis"]
    assert table.columns[3] == "sensitivity on test"
    assert table.rows[0][3].startswith(f"{first['sensitivity']['value']:.3f} [")
    assert table.rows[2][1].startswith("above 0.5: 5 images") and table.rows[2][-1] == "–"
    assert [row[0] for row in confidence.rows] == ["ECE", "log loss", "Brier score"]
    missing = thresholds_part(None, None)
    assert missing.missing and "no label has a threshold of its own" in missing.text[0]


def test_the_terminal_says_what_is_promised(record: dict[str, Any], capsys: Any) -> None:
    shown._calibrated(record)
    said = " ".join(capsys.readouterr().out.split())
    assert "which takes 9 with the label, so still called above 0.5: hernia (5)" in said
    assert "called on every image, for the file's output is 0 also where they are: mass;" in said
    least = min(
        label["sensitivity_at_least"]
        for label in record["results"]["models"][0]["sensitivity"]["labels"].values()
        if label["threshold"] is not None
    )
    assert f"with certainty 0.95 it is at least {least:.3f} for" in said


@pytest.mark.parametrize("path", sorted(ARTIFACTS.glob("*/calibrate/record.json")), ids=str)
def test_records_of_one_label_still_open(path: Path, capsys: Any) -> None:
    """Written before several labels were known here."""
    old = json.loads(path.read_text("utf-8"))
    assert "sensitivity" not in old["config"] and "task" not in old["results"]
    page = calibrate_section(old, path.parent, NoPictures(), {})  # type: ignore[arg-type]
    assert "Set holds the class" in page
    shown._calibrated(old)
    assert "conformal sets, one threshold" in capsys.readouterr().out


def test_there_are_such_records() -> None:
    assert len(list(ARTIFACTS.glob("*/calibrate/record.json"))) >= 2
