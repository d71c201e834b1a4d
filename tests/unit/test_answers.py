"""Answer, abstention, sets and temperature on probabilities that were worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgecell.answers import Rules, answer_all, logits_to_probabilities
from edgecell.confidence import choose_threshold, fit_conformal, floored, tempered
from edgecell.tasks import MULTI_CLASS, MULTI_LABEL, ORDINAL, TASKS

LABELS = ("a", "b", "c")
PLAIN = Rules(LABELS, TASKS[MULTI_CLASS], floor=1 / 512)


def one(rules: Rules, *row: float):
    [answer] = answer_all(rules, np.array([row], np.float32))
    return answer


def test_the_largest_probability_answers():
    answer = one(PLAIN, 0.2, 0.7, 0.1)
    assert (answer.said, answer.abstained, answer.members, answer.order) == (
        (1,),
        False,
        None,
        [1, 0, 2],
    )
    assert answer.calibrated is None and answer.mean_grade is None


def test_equals_go_to_the_first_as_in_evaluate():
    answer = one(PLAIN, 0.4, 0.4, 0.2)
    assert answer.said == (0,) and answer.order == [0, 1, 2]


@pytest.mark.parametrize(("largest", "said"), [(192, (1,)), (191, ())])
def test_abstention_begins_one_step_below_the_threshold(largest, said):
    rules = dataclasses.replace(PLAIN, abstain_below=192 / 256)
    answer = one(rules, 0, largest / 256, (256 - largest) / 256)
    assert answer.said == said and answer.abstained == (not said)
    assert answer.order[0] == 1  # what it would have been is still told


@pytest.mark.parametrize(("second", "members"), [(32, (0, 1)), (31, (1,))])
def test_a_set_holds_what_reaches_its_threshold(second, members):
    rules = dataclasses.replace(PLAIN, set_from=32 / 256)
    assert one(rules, second / 256, 200 / 256, 0).members == members


def test_a_set_can_be_empty():
    assert one(dataclasses.replace(PLAIN, set_from=0.99), 0.5, 0.4, 0.1).members == ()


def test_thresholds_are_for_the_own_probabilities_and_temperature_only_for_showing():
    rules = dataclasses.replace(PLAIN, abstain_below=0.7, set_from=0.2, temperature=4.0)
    answer = one(rules, 0.25, 0.75, 0.0)
    assert answer.said == (1,) and answer.members == (0, 1)
    assert answer.calibrated.max() < 0.6  # far below the threshold, and yet it answers
    [expected] = tempered(floored(np.array([[0.25, 0.75, 0.0]]), 1 / 256), 4.0)
    np.testing.assert_allclose(answer.calibrated, expected, rtol=1e-12)
    assert answer.calibrated.argmax() == 1


def test_a_temperature_of_no_use_leaves_the_probabilities_as_they_are():
    answer = one(dataclasses.replace(PLAIN, temperature=1.0), 0.0, 1.0, 0.0)
    np.testing.assert_array_equal(answer.calibrated, [0.0, 1.0, 0.0])


def test_labels_hold_above_a_half_each_by_itself():
    rules = Rules(LABELS, TASKS[MULTI_LABEL], floor=1 / 512, abstain_below=0.99, set_from=0.99)
    assert one(rules, 0.6, 0.5, 0.9).said == (2, 0)
    none = one(rules, 0.1, 0.5, 0.2)
    assert none.said == () and not none.abstained and none.members is None
    assert none.to_json(2)["answer"] == []


def test_labels_hold_from_their_own_thresholds_on():
    rules = Rules(
        LABELS,
        TASKS[MULTI_LABEL],
        floor=1 / 512,
        label_thresholds=(77 / 256, None, 0.9),
        sensitivity=0.9,
        scaling=((2.0, 1.0, 1.0), (0.0, -1.0, 0.0)),
    )
    assert one(rules, 77 / 256, 0.5, 0.89).said == (0,)
    assert one(rules, 76 / 256, 0.51, 0.9).said == (2, 1)
    answer = one(rules, 0.0, 0.5, 1.0)
    # Shown otherwise, called by its own: sigmoid(2 ln(1 / 511)), sigmoid(-1), and no 1.
    expected = [1 / (1 + 511**2), 1 / (1 + np.e), 511 / 512]
    np.testing.assert_allclose(answer.calibrated, expected, rtol=1e-12)
    assert rules.to_json()["label_thresholds"] == [77 / 256, None, 0.9]
    told = PLAIN.to_json()  # of one label nothing is said of several
    assert not {"label_thresholds", "sensitivity", "scaled"} & set(told)


def test_several_labels_stand_in_the_order_of_what_is_shown():
    """A scaling of its own for each label can turn the order round; a temperature cannot."""
    rules = Rules(
        LABELS,
        TASKS[MULTI_LABEL],
        floor=1 / 512,
        label_thresholds=(0.2, 0.9, 0.6),
        sensitivity=0.9,
        scaling=((1.0, 1.0, 1.0), (3.0, 0.0, -1.0)),
    )
    # shown 0.834, 0.3, 0.477: by its own probabilities it would be c, b, a
    answer = one(rules, 0.2, 0.3, 0.7125)
    assert answer.order == [0, 2, 1] and answer.said == (0, 2)
    assert answer.names(answer.said) == answer.to_json(3)["answer"] == ["a", "c"]
    shown = [row["calibrated"] for row in answer.to_json(3)["top"]]
    assert shown == sorted(shown, reverse=True) and shown[0] == pytest.approx(0.834, abs=0.001)
    # Shown equals go by their own probability (both are below the floor), then by their number.
    level = dataclasses.replace(rules, scaling=((1.0,) * 3, (0.0,) * 3))
    assert one(level, 0.0, 1 / 1024, 0.5).order == [2, 1, 0]
    assert one(level, 0.4, 0.5, 0.5).order == [1, 2, 0]


def test_grades_have_a_mean():
    rules = Rules(LABELS, TASKS[ORDINAL], floor=1 / 512)
    answer = one(rules, 0.5, 0.0, 0.5)
    assert answer.mean_grade == pytest.approx(1.0) and answer.said == (0,)
    assert answer.to_json(1)["mean_grade"] == 1.0


def test_json_says_both_probabilities():
    rules = dataclasses.replace(PLAIN, temperature=2.0, set_from=0.05, abstain_below=0.9)
    told = one(rules, 0.1, 0.8, 0.1).to_json(2)
    assert told["answer"] == [] and told["abstained"] is True and told["set"] == ["a", "b", "c"]
    first, second = told["top"]
    assert (first["label"], first["index"], first["probability"]) == ("b", 1, 0.8)
    # sqrt(0.8) / (sqrt(0.8) + 2 sqrt(0.1))
    assert first["calibrated"] == pytest.approx(0.8**0.5 / (0.8**0.5 + 2 * 0.1**0.5), abs=1e-6)
    assert second["label"] == "a"


def test_thresholds_that_calibrate_finds_hold_here_what_they_promise():
    """What was fitted with the one code keeps its counts when it is applied with the other."""
    random = np.random.default_rng(5)
    p = np.rint(random.dirichlet([0.2] * 3, 2000) * 256) / 256
    labels = np.array([random.choice(3, p=row / row.sum()) for row in p])
    found = choose_threshold(labels, p, 0.9)
    sets = fit_conformal(labels, p, 0.9)
    rules = dataclasses.replace(PLAIN, abstain_below=found.threshold, set_from=sets.threshold)
    answers = answer_all(rules, p)
    assert sum(not a.abstained for a in answers) == found.answered
    right = sum(a.said == (label,) for a, label in zip(answers, labels, strict=True))
    assert right == found.right and found.right < found.answered
    members = np.array([[i in a.members for i in range(3)] for a in answers])
    np.testing.assert_array_equal(members, sets.members(p))
    assert 0 < members.mean() < 1


def test_logits_become_probabilities():
    p = logits_to_probabilities(np.array([[0.0, 1000.0], [0.0, 0.0]]))
    np.testing.assert_allclose(p, [[0, 1], [0.5, 0.5]])
