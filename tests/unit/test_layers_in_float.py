"""What ``--keep-float`` says: why no number of layers is enough, and when layers in float lose more than none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from converters.verify import VerifyBudget, VerifyReport, verify
from edgecell.pipeline import analysing

NAMES = ("a", "b", "c")
LABELS = np.arange(60) % 3
IMAGES = np.zeros((60, 4, 4, 3), np.uint8)
BUDGET = VerifyBudget(0.1, 0.02, margin=0.3)


def known(name: str, answers: np.ndarray) -> analysing.Known:
    """A model that gives these answers, each with a probability of 7/8."""
    probabilities = np.full((60, 3), 1 / 16, np.float32)
    probabilities[np.arange(60), answers] = 7 / 8
    return analysing.Known(name, (4, 4), 3, 1 / 256, probabilities)


def answers(*wrong: int) -> np.ndarray:
    """The right ones, but for these images."""
    given = LABELS.copy()
    given[list(wrong)] = (given[list(wrong)] + 1) % 3
    return given


REFERENCE = answers(0, 3, 6, 9)  # of class a, taken for b


def judged(count: int, given: np.ndarray, reference: np.ndarray = REFERENCE) -> tuple:
    """The row of the trade and the report of a file with ``count`` layers in float."""
    name = f"file {count}"
    report = verify(known("it", reference), known(name, given), IMAGES, LABELS, NAMES, BUDGET)
    drop = float((given != LABELS).mean() - (reference != LABELS).mean())
    row = {"float_layers": count, "accuracy_drop": drop, "passed": report.passed}
    return row, report


def said(*files: tuple[dict, VerifyReport]) -> str:
    rows, reports = zip(*files, strict=True)
    assert not any(row["passed"] for row in rows)
    return analysing._none_passes(list(rows), list(reports))


def test_what_failed_is_said_and_not_what_was_gained() -> None:
    # Three of a right at last, and two of c taken for a: more accurate, and class c fell.
    found = said(judged(0, answers(0, 2, 5)))
    assert judged(0, answers(0, 2, 5))[0]["accuracy_drop"] < 0
    # c: 18 of 20 found and no false one; F1 = 36 / 38 where it was 1.
    assert found == (
        "no number of float layers from 0 to 0 passes verify on val; the best, file 0, is"
        " refused by 'F1 drop of each class': +0.0526 (c), allowed at most 0.02; worst class"
        " 'c': F1 1.0000 → 0.9474 on 20 images; try --qat or a larger budget"
    )


def test_the_best_fails_least() -> None:
    worst = judged(0, answers(*range(2, 60, 3)))  # accuracy and class c
    better = judged(1, answers(0, 3, 6, 9, 2))
    more_accurate = judged(2, answers(2, 5, 8))  # and yet it loses more of c
    found = said(worst, better, more_accurate)
    assert "from 0 to 2 passes verify on val; the best, file 1, is" in found
    assert "+0.0256 (c), allowed at most 0.02" in found  # 38 / 39 where it was 1


def test_of_a_dead_model_no_budget_helps() -> None:
    dead = np.zeros(60, np.int64)
    found = said(judged(0, dead, dead), judged(1, dead, dead))
    assert "is refused by 'reference alive'" in found
    assert found.endswith("; train it longer with 'edgecell train'")


@pytest.mark.parametrize(
    ("key", "what", "without", "mixed", "heard"),
    [
        ("accuracy_drop", "accuracy", 0.0031, 0.0094, True),
        ("accuracy_drop", "accuracy", -0.0063, -0.0031, True),
        ("auc_drop", "AUC", 0.0001, 0.0004, True),
        ("accuracy_drop", "accuracy", 0.0094, 0.0031, False),
        ("auc_drop", "AUC", 0.00012, 0.00013, False),  # the same as anybody reads it
    ],
)
def test_layers_in_float_that_lose_more_than_none_are_noted(
    key: str, what: str, without: float, mixed: float, heard: bool
) -> None:
    lines: list[str] = []
    material = SimpleNamespace(progress=SimpleNamespace(say=lines.append))
    rows = [{"float_layers": n, key: drop} for n, drop in ((0, without), (2, mixed))]
    analysing._say_what_more_is_lost(material, rows)
    line = (
        f"note: with 2 layers in float the {what} drop on val is {mixed:+.4f}, with none {without:+.4f};"
        " --keep-float auto takes the fewest that pass verify"
    )
    assert lines == ([line] if heard else [])
