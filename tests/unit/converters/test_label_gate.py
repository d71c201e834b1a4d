"""The gate and verify where an image can have several labels."""

from __future__ import annotations

import numpy as np
import pytest

from converters.gate import judge
from converters.label_gate import judge_labels
from converters.verify import VerifyBudget, require, verify
from edgecell.errors import DataError, ParityError
from edgecell.runtime import Predictor

NAMES = tuple(f"label {i}" for i in range(14))
RARE = 13


def told(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n, 14) and a model's probabilities; the last label is rare and never above 0.5."""
    random = np.random.default_rng(seed)
    rates = np.r_[np.linspace(0.4, 0.05, RARE), 0.02]
    labels = (random.random((n, 14)) < rates).astype(np.int64)
    scores = 1 / (1 + np.exp(-(2.5 * labels - 1.2 + random.normal(size=labels.shape))))
    scores[:, RARE] *= 0.45
    return labels, scores.astype(np.float32)


def rounded(probabilities: np.ndarray) -> np.ndarray:
    """As an int8 file would say them."""
    return (np.round(probabilities * 256) / 256).clip(0, 255 / 256).astype(np.float32)


def gate(labels: np.ndarray, before: np.ndarray, after: np.ndarray):
    return judge_labels(labels, before, after, NAMES, margin=0.005, label_budget=0.02)


def test_rounding_to_int8_s_steps_is_equivalent():
    labels, before = told()
    found = gate(labels, before, rounded(before))
    assert found.verdict == "equivalent", found.sentence
    assert found.upper_bound < 0.005 and not found.worse_classes
    assert found.auc_drop.value == pytest.approx(0.0, abs=1e-3)
    assert "equivalent at a margin of 0.005 on 3,000 images" in found.sentence


def test_a_rare_label_whose_ranking_is_lost_is_named_though_no_decision_changed():
    labels, before = told()
    after = before.copy()
    after[:, RARE] = np.random.default_rng(5).permutation(before[:, RARE])
    assert np.array_equal(before > 0.5, after > 0.5)
    found = gate(labels, before, after)
    assert (found.lost, found.gained) == (0, 0)
    assert [row.name for row in found.worse_classes] == [NAMES[RARE]]
    assert found.verdict == "worse" and "label 13" in found.sentence
    row = found.classes[RARE]
    assert row.auc_drop is not None and row.auc_drop.value > 0.3
    assert row.recall_drop.value == 0.0 and row.auc_p_holm is not None and row.auc_p_holm < 1e-4


def test_a_label_that_is_no_longer_said_is_named_though_its_ranking_stands():
    labels, before = told()
    after = before.copy()
    after[:, 0] *= 0.5  # the same order, never above 0.5
    found = gate(labels, before, after)
    row = found.classes[0]
    assert row.auc_drop is not None and row.auc_drop.value == pytest.approx(0.0, abs=1e-9)
    assert [each.name for each in found.worse_classes] == [NAMES[0]]
    assert row.recall_p_holm is not None and row.recall_p_holm < 1e-6


def test_a_mean_that_fell_beyond_the_margin_is_worse():
    labels, before = told()
    noise = np.random.default_rng(3).normal(0, 0.12, before.shape)
    found = gate(labels, before, (before + noise).clip(0, 1).astype(np.float32))
    assert found.auc_worse and found.sentence.startswith("worse: mean AUC")


def test_few_images_cannot_tell_and_say_how_many_would():
    labels, before = told(150)
    after = (before + np.random.default_rng(1).normal(0, 0.02, before.shape)).clip(0, 1)
    found = gate(labels, before, after.astype(np.float32))
    assert found.verdict == "cannot tell"
    assert found.needed_for == "equivalence" and found.images_needed > 150
    with pytest.raises(ValueError, match="3 images"):
        gate(np.zeros((9, 14), np.int64), before[:9], before[:9])


def test_a_perfect_label_that_is_no_longer_ranked_is_named():
    labels, before = told()
    before[:, 0] = 0.1 + 0.3 * labels[:, 0]
    after = before.copy()
    after[:, 0] = 0.2
    found = gate(labels, before, after)
    assert [row.name for row in found.worse_classes] == [NAMES[0]]
    assert found.classes[0].auc_p is not None and found.classes[0].auc_p < 1e-6


def test_the_report_of_one_label_to_an_image_says_nothing_of_auc():
    labels = np.arange(60) % 3
    found = judge(labels, labels, labels, ("a", "b", "c"), margin=0.05, class_budget=0.02)
    data = found.to_json()
    assert not [key for row in data["classes"] for key in row if "auc" in key]
    several, before = told()
    rows = gate(several, before, rounded(before)).to_json()["classes"]
    assert {"auc_drop", "auc_p", "auc_p_holm"} <= rows[0].keys()


class Told:
    """A predictor that gives what it was told."""

    image_size, output_scale = (4, 4), None

    def __init__(self, name: str, answers: np.ndarray, scale: float | None = None) -> None:
        self.name, self.answers, self.output_scale = name, answers, scale
        self.class_count = answers.shape[1]

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self.answers


def held(before: np.ndarray, after: np.ndarray, labels: np.ndarray, **budget: float):
    first: Predictor = Told("reference", before)
    second: Predictor = Told("converted", after, 1 / 256)
    images = np.zeros((len(labels), 4, 4, 3), np.uint8)
    return verify(first, second, images, labels, NAMES, VerifyBudget(**budget))


def test_verify_holds_rankings_against_the_budgets_of_several_labels():
    labels, before = told()
    report = held(before, rounded(before), labels)
    assert report.passed and report.verdict.startswith("equivalent")
    names = [check.name for check in report.checks]
    assert "mean AUC drop" in names and "equivalence of the mean AUC" in names
    assert "accuracy drop" not in names and "F1 drop of each class" not in names
    data = report.to_json()
    assert data["classes"][0]["auc_drop"] == report.classes[0].auc_drop
    assert data["measurements"]["max_difference_quanta"]["value"] <= 0.51 + 1.0  # clipped at 255

    tight = held(before, before * 0.99 + 0.01 * before[::-1], labels, max_label_auc_drop=0.0)
    assert not tight.passed
    with pytest.raises(ParityError, match="AUC drop of each label.*AUC 0"):
        require(tight)


def test_a_constant_reference_and_one_of_nan_prove_nothing():
    labels, before = told()
    for wrong in (np.full_like(before, 0.3), np.random.default_rng(0).random(before.shape)):
        report = held(wrong, wrong, labels)
        assert report.verdict == "refused: reference alive" and report.gate is None
    broken = before.copy()
    broken[7, 3] = np.nan
    assert held(broken, before, labels).verdict == "refused: reference alive"
    answered = held(before, broken, labels)
    assert answered.verdict == "refused: largest probability difference"


def test_images_without_any_label_twice_cannot_be_verified():
    labels, before = told()
    with pytest.raises(DataError, match="none of the 14 labels has 3 images"):
        held(before, before, np.zeros_like(labels))


def test_grades_are_told_what_their_kappa_lost():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    before = np.eye(3)[np.where(random.random(400) < 0.8, labels, (labels + 1) % 3)]
    after = np.eye(3)[np.where(random.random(400) < 0.2, 0, before.argmax(1))]
    images = np.zeros((400, 4, 4, 3), np.uint8)
    report = verify(
        Told("a", before.astype(np.float32)),
        Told("b", after.astype(np.float32)),
        images,
        labels,
        ("mild", "moderate", "severe"),
        VerifyBudget(),
        ordinal=True,
    )
    drop = report.measurements["kappa_drop"]
    assert drop.value > 0.05 and drop.low < drop.value < drop.high
    assert "quadratic kappa drop" in [check.name for check in report.checks]
