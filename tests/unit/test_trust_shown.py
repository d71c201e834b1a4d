"""Promises of one class to an image where a person reads of them: record, report, card, terminal."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecell.cli import trust as shown
from edgecell.confidence import coverage_at_least
from edgecell.config import ConfidenceConfig
from edgecell.pipeline.confidence import _calibrate
from edgecell.pipeline.measured import Seen
from edgecell.report.card import _confidence as confidence_part
from edgecell.report.trust import calibrate_section
from edgecell.tasks import MULTI_CLASS, task_named

NAMES = ("basophil", "rare", "monocyte")
COUNTS = (120, 5, 40)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """Of 165 images five are of a class that has too few for a threshold of its own."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), COUNTS)
    odds = np.exp(random.normal(size=(len(labels), 3)) + 2.5 * np.eye(3)[labels])
    p = odds / odds.sum(axis=1, keepdims=True)
    settings = ConfidenceConfig(target_accuracy=0.8, certainty=0.9, coverage=0.9)
    results, _ = _calibrate({"val": Seen(labels, p, p)}, NAMES, settings, None)
    entry = {"file": "m-int8.tflite", "precision": "int8", "sha256": "ab" * 32} | results
    return {"outputs": {}, "results": {"splits": ["val"], "models": [entry]}}


def before(record: dict[str, Any]) -> dict[str, Any]:
    """The record as it was when it did not tell what one validation set promises."""
    old = copy.deepcopy(record)
    conformal = old["results"]["models"][0]["conformal"]
    for key in ("certainty", "coverage_at_least", "class_coverage_at_least"):
        del conformal[key]
    return old


def test_the_record_has_what_this_val_is_good_for(record: dict[str, Any]) -> None:
    conformal = record["results"]["models"][0]["conformal"]
    assert conformal["certainty"] == 0.9 and conformal["always_in"] == ["rare"]
    assert conformal["coverage_at_least"] == coverage_at_least(165, 0.9, 0.9) < 0.9
    assert conformal["class_coverage_at_least"] == {
        "basophil": coverage_at_least(120, 0.9, 0.9),
        "rare": 1.0,
        "monocyte": coverage_at_least(40, 0.9, 0.9),
    }


def test_the_terminal_says_what_is_promised(record: dict[str, Any], capsys: Any) -> None:
    shown._calibrated(record)
    said = " ".join(capsys.readouterr().out.split())
    whole, rarer = (coverage_at_least(n, 0.9, 0.9) for n in (165, 40))
    assert (
        "coverage 0.9 holds on average over validation sets; with certainty 0.9 it is at least"
        f" {whole:.3f} (165 images in val); one per class, at least {rarer:.3f} for monocyte, and no less"
        " for the others"
    ) in said
    shown._calibrated(before(record))
    assert "validation sets" not in capsys.readouterr().out


def test_without_a_class_that_has_a_threshold_only_the_common_one_is_told(
    record: dict[str, Any], capsys: Any
) -> None:
    alone = copy.deepcopy(record)
    alone["results"]["models"][0]["conformal"]["always_in"] = list(NAMES)
    shown._calibrated(alone)
    said = " ".join(capsys.readouterr().out.split())
    assert "(165 images in val)" in said and "one per class, at least" not in said
    page = calibrate_section(alone, Path("calibrate"), NoPictures(), {})  # type: ignore[arg-type]
    assert f"{coverage_at_least(165, 0.9, 0.9):.3f}" in page


class NoPictures:
    def figure(self, path: Path, caption: str) -> str:
        return f"{path.name}: {caption}"


def test_the_report_has_it_beside_what_was_kept(record: dict[str, Any]) -> None:
    page = calibrate_section(record, Path("calibrate"), NoPictures(), {})  # type: ignore[arg-type]
    assert "on average over validation sets like this one" in page and "over images" not in page
    entry = record["results"]["models"][0]
    accuracy = entry["abstention"]["accuracy_at_least"]
    rarer = coverage_at_least(40, 0.9, 0.9)
    assert "At least, with 0.9" in page
    for said in (accuracy, entry["conformal"]["coverage_at_least"]):
        assert f">{said:.3f}</td>" in page
    assert f">{rarer:.3f} (monocyte)</td>" in page
    old = calibrate_section(before(record), Path("calibrate"), NoPictures(), {})  # type: ignore[arg-type]
    assert old.count(">–</td>") == 2


def test_the_card_has_it(record: dict[str, Any]) -> None:
    task = task_named(MULTI_CLASS)

    def rows(found: dict[str, Any]) -> dict[str, str]:
        records = {"calibrate": found}
        return dict(confidence_part(found["results"]["models"][0], records, task).grids[0].rows)

    least = f"{coverage_at_least(165, 0.9, 0.9):.3f}"
    assert rows(record)["sets at least, with 0.9"] == least
    assert not any("at least" in said for said in rows(before(record)))
