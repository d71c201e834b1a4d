from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.verify import VerifyBudget, require, verify
from edgecell.errors import DataError, ParityError

NAMES = ("a", "b", "c")
IMAGES = np.zeros((60, 4, 4, 3), np.uint8)
LABELS = np.arange(60) % 3


@dataclass
class Fixed:
    """A predictor with prescribed answers."""

    answers: np.ndarray
    name: str = "fixed"
    image_size: tuple[int, int] = (4, 4)
    class_count: int = 3
    output_scale: float | None = 1 / 256

    def predict(self, images):
        rows = np.full((len(images), 3), 16 / 256, np.float32)
        rows[np.arange(len(images)), self.answers] = 224 / 256
        return rows


def spoiled(*wrong):
    answers = LABELS.copy()
    answers[list(wrong)] = (answers[list(wrong)] + 1) % 3
    return Fixed(answers, "spoiled")


def check(report, name):
    (found,) = [each for each in report.checks if each.name == name]
    return found


def test_the_numbers_of_one_wrong_image():
    report = verify(Fixed(LABELS), spoiled(0), IMAGES, LABELS, NAMES, VerifyBudget(0.02, 0.03))
    assert report.passed
    measured = report.measurements
    assert measured["accuracy_drop"].value == pytest.approx(1 / 60)
    assert measured["agreement"].value == 59 / 60 and measured["agreement"].n == 60
    assert measured["agreement"].low < 59 / 60 < measured["agreement"].high
    # 224 - 16 of 256: the answer moved to another class.
    assert measured["max_difference_quanta"].value == 208
    first = report.classes[0]
    # Class a: 19 of 20 found and no false one, F1 = 38 / 39.
    assert (first.name, first.support) == ("a", 20)
    assert first.f1_drop == pytest.approx(1 - 38 / 39)
    assert first.converted_recall == 0.95
    assert json.loads(json.dumps(report.to_json()))["verdict"].startswith("cannot tell")


def test_a_budget_is_met_exactly_and_missed_by_one_image():
    budget = VerifyBudget(max_accuracy_drop=0.1, max_f1_drop=1.0)
    assert verify(Fixed(LABELS), spoiled(*range(6)), IMAGES, LABELS, NAMES, budget).passed
    report = verify(Fixed(LABELS), spoiled(*range(7)), IMAGES, LABELS, NAMES, budget)
    assert check(report, "accuracy drop").passed is False
    with pytest.raises(ParityError, match=r"'accuracy drop': \+0.1167, allowed at most 0.1"):
        require(report)


def test_one_class_can_fail_while_accuracy_is_within_budget():
    report = verify(
        Fixed(LABELS), spoiled(1, 4, 7), IMAGES, LABELS, NAMES, VerifyBudget(0.06, 0.05)
    )
    assert check(report, "accuracy drop").passed is True
    assert check(report, "F1 drop of each class").passed is False
    with pytest.raises(ParityError, match="worst class 'b': F1 1.0000 → 0.9189 on 20 images"):
        require(report)


def test_better_than_the_reference_is_no_failure():
    report = verify(spoiled(0, 1), Fixed(LABELS), IMAGES, LABELS, NAMES, VerifyBudget(0.0, 0.0))
    assert report.passed and report.measurements["accuracy_drop"].value < 0


def test_a_class_without_images_is_not_judged():
    labels = np.arange(60) % 2
    answers = labels.copy()
    answers[0] = 2
    report = verify(Fixed(labels), Fixed(answers), IMAGES, labels, NAMES, VerifyBudget(1.0, 1.0))
    assert [row.passed for row in report.classes] == [True, True, None]
    assert report.worst_class().name == "a"


@settings(max_examples=12)
@given(st.sets(st.integers(0, 59), max_size=20))
def test_a_model_is_equivalent_to_itself_and_drops_have_their_sign(wrong):
    reference = spoiled(*wrong)
    same = verify(reference, reference, IMAGES, LABELS, NAMES, VerifyBudget(0.0, 0.0, 1.0))
    assert same.passed and same.measurements["max_difference_quanta"].value == 0
    other = verify(Fixed(LABELS), reference, IMAGES, LABELS, NAMES, VerifyBudget(1.0, 1.0))
    assert other.measurements["accuracy_drop"].value == pytest.approx(len(wrong) / 60)
    assert other.measurements["macro_f1_drop"].value >= -1e-12


def test_float_outputs_have_no_quanta():
    floating = Fixed(LABELS, output_scale=None)
    report = verify(Fixed(LABELS), floating, IMAGES, LABELS, NAMES, VerifyBudget())
    assert report.measurements["max_difference_quanta"].reason == (
        "the output is float, it has no step"
    )
    assert "float output" in check(report, "largest probability difference").measured


def test_what_does_not_fit_together_is_refused():
    good, budget = Fixed(LABELS), VerifyBudget()
    with pytest.raises(DataError, match="0 images"):
        verify(good, good, IMAGES[:0], LABELS[:0], NAMES, budget)
    with pytest.raises(DataError, match="60 images and 59 labels"):
        verify(good, good, IMAGES, LABELS[1:], NAMES, budget)
    with pytest.raises(DataError, match="has 3 classes, the data set 2"):
        verify(good, good, IMAGES, LABELS, NAMES[:2], budget)
    with pytest.raises(DataError, match=r"takes \(4, 4\) pixels"):
        verify(good, Fixed(LABELS, image_size=(8, 8)), IMAGES, LABELS, NAMES, budget)
