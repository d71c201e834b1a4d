from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar

from converters import class_tests
from converters.class_tests import f1_permutation_p
from converters.gate import judge
from edgecell.metrics import paired
from edgecell.metrics.paired import paired_bootstrap

NAMES = ("a", "b", "c", "d")


def world(n, seed, churn=0.05, accuracy=0.9, shares=(0.4, 0.3, 0.2, 0.1)):
    """Labels and two exchangeable models: each answers anew on ``churn`` of the images."""
    random = np.random.default_rng(seed)
    labels = random.choice(4, n, p=shares)
    shared = np.where(random.random(n) < accuracy, labels, random.integers(0, 4, n))
    models = []
    for _ in range(2):
        anew = np.where(random.random(n) < accuracy, labels, random.integers(0, 4, n))
        models.append(np.where(random.random(n) < churn, anew, shared))
    return labels, *models


def run(labels, reference, converted, margin=0.005, class_budget=0.02, alpha=0.05):
    return judge(
        labels, reference, converted, NAMES, margin=margin, class_budget=class_budget, alpha=alpha
    )


def test_a_model_is_equivalent_to_itself_when_there_are_images_enough():
    labels, model, _ = world(700, 1)
    report = run(labels, model, model)
    assert report.verdict == "equivalent" and report.images_needed is None
    assert report.upper_bound <= 0.005 and report.mcnemar_p == 1.0
    assert report.sentence == (
        "equivalent at a margin of 0.005 on 700 images; no class lost more than 0.042 of its recall"
    )
    few = run(labels[:300], model[:300], model[:300])
    assert few.verdict == "cannot tell" and few.needed_for == "equivalence"
    assert few.images_needed == 598
    assert "with 300 images; about 600 would show equivalence" in few.sentence
    json.dumps(few.to_json(), allow_nan=False)


def test_every_class_can_be_asked_for():
    labels, model, _ = world(700, 1)
    rows = run(labels, model, model).classes
    widest = max(row.bound for row in rows)
    assert [row.bound for row in rows] == [1 - 0.05 ** (1 / row.support) for row in rows]
    asked = dict(margin=0.005, class_budget=0.02)
    assert judge(labels, model, model, NAMES, class_margin=widest, **asked).verdict == "equivalent"
    open_ = judge(labels, model, model, NAMES, class_margin=widest / 2, **asked)
    assert open_.verdict == "cannot tell" and open_.non_inferior
    fewest = min(row.support for row in rows)
    wanted = np.log(0.05) / np.log(1 - widest / 2)  # of the smallest class
    assert open_.images_needed == pytest.approx(wanted * 700 / fewest, rel=0.05)


def test_of_very_many_classes_one_that_is_gone_is_seen():
    """400 classes: the correction multiplies p by 800, more than 9999 permutations can bear."""
    labels = np.repeat(np.arange(400), 3)
    names = tuple(map(str, range(400)))
    reference, converted = labels.copy(), labels.copy()
    converted[150:300] = 0  # class 0 keeps its recall and is called of everything
    converted[150:300:3] = labels[150:300:3]
    report = judge(labels, reference, converted, names, margin=0.005, class_budget=0.02)
    first = report.classes[0]
    assert first.recall_drop.value == 0 and first.f1_drop.value > 0.5
    assert first.worse and first.f1_p_holm < 0.05


def test_an_accuracy_that_fell_is_worse():
    labels, model, _ = world(2000, 2)
    spoiled = model.copy()
    right = np.flatnonzero(model == labels)[::80]
    spoiled[right] = (labels[right] + 1) % 4
    report = run(labels, model, spoiled, class_budget=1.0)
    assert (report.lost, report.gained) == (len(right), 0)
    assert report.verdict == "worse" and report.accuracy_worse
    assert report.worse_classes == () and report.sentence == "worse: accuracy"
    # The same loss under a margin that allows it.
    assert run(labels, model, spoiled, margin=0.03, class_budget=1.0).verdict == "equivalent"


def test_a_significant_loss_within_the_margin_is_still_equivalent():
    labels, model, _ = world(20_000, 3)
    spoiled = model.copy()
    right = np.flatnonzero(model == labels)[::400]
    spoiled[right] = (labels[right] + 1) % 4
    report = run(labels, model, spoiled)
    assert report.worse_p < 1e-6 and report.verdict == "equivalent"


def test_a_rare_class_is_named_while_accuracy_is_equivalent():
    labels = np.r_[np.arange(2960) % 3, np.full(40, 3)]
    spoiled = labels.copy()
    spoiled[-8:] = 0
    report = run(labels, labels, spoiled)
    assert report.non_inferior and not report.accuracy_worse
    assert report.verdict == "worse"
    assert [row.name for row in report.worse_classes] == ["d"]
    row = report.worse_classes[0]
    # 8 lost and none gained: p = 2^-8; eight tests in the family, of which this is the smallest.
    assert row.recall_p == 2**-8 and row.recall_p_holm == pytest.approx(8 * 2**-8, rel=0.2)
    # The same class with 3 lost images may be chance.
    spoiled[-5:] = 3
    assert run(labels, labels, spoiled).verdict == "equivalent"


def test_libraries_agree_on_mcnemar():
    labels, first, second = world(900, 4, churn=0.3)
    report = run(labels, first, second)
    table = [[0, report.lost], [report.gained, 0]]
    assert report.mcnemar_p == pytest.approx(mcnemar(table, exact=True).pvalue)
    pairs = report.lost + report.gained
    assert report.mcnemar_p == pytest.approx(stats.binomtest(report.lost, pairs).pvalue)
    for row in report.classes:
        lost = int(((first == labels) & (second != labels))[labels == NAMES.index(row.name)].sum())
        assert row.lost == lost


def test_bootstrap_against_resampling_image_by_image():
    labels, first, second = world(400, 5, churn=0.4)
    ours = paired_bootstrap(labels, first, second, 4)
    random = np.random.default_rng(0)
    theirs = []
    for _ in range(400):
        i = random.integers(0, 400, 400)
        scores = [f1_score(labels[i], m[i], average="macro") for m in (first, second)]
        theirs.append(scores[0] - scores[1])
    # Standard errors of the two simulations: sd / sqrt(2000) and sd / sqrt(400), mean and sd alike.
    sd = np.std(theirs)
    assert ours["macro_f1"].mean() == pytest.approx(np.mean(theirs), abs=4 * sd / 20)
    assert ours["macro_f1"].std() == pytest.approx(sd, rel=4 / np.sqrt(2 * 400))
    assert ours["f1"].shape == (2000, 4)


def test_the_permutation_p_value_by_hand():
    # Class 0 has 6 images; the second model misses four of them and nothing else differs: of the
    # 2^4 ways to swap, only the observed one has a drop this large.
    labels = np.r_[np.zeros(6, int), np.ones(6, int)]
    second = labels.copy()
    second[:4] = 2
    assert f1_permutation_p(labels, labels, second, 0, seed=0) == pytest.approx(1 / 16)
    assert f1_permutation_p(labels, second, labels, 0, seed=0) == 1.0
    assert f1_permutation_p(labels, labels, second, 1, seed=0) == 1.0


def test_class_p_values_under_the_null_are_uniform_enough():
    p = []
    for seed in range(150):
        labels, first, second = world(250, seed, churn=0.25)
        p += [f1_permutation_p(labels, first, second, index, seed=0) for index in (0, 3)]
    p = np.array(p)
    for level in (0.01, 0.05, 0.1, 0.3, 0.5):
        share = np.mean(p <= level)
        error = np.sqrt(level * (1 - level) / len(p))
        assert share <= level + 3.5 * error, (level, share)
    # Conservative only by discreteness: half the level at least.
    assert np.mean(p <= 0.3) > 0.15


@pytest.mark.slow
def test_the_whole_gate_under_the_null_seldom_cries_worse(monkeypatch):
    # No budget for a class: each significant class counts. Holm keeps the family at 0.05.
    monkeypatch.setattr(class_tests, "_PERMUTATIONS", 999)
    monkeypatch.setattr(paired, "RESAMPLES", 20)
    found = [
        any(row.worse for row in run(*world(300, seed, churn=0.2), class_budget=0.0).classes)
        for seed in range(60)
    ]
    # 3.5 standard errors of a share of 0.05 in 60.
    assert np.mean(found) <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 60)


def test_holm_by_hand():
    labels, first, second = world(900, 8, churn=0.3)
    rows = run(labels, first, second).classes
    raw = np.array([p for row in rows for p in (row.recall_p, row.f1_p)])
    found = np.array([p for row in rows for p in (row.recall_p_holm, row.f1_p_holm)])
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)).clip(max=1.0)
    np.testing.assert_allclose(found[order], stepped)
    assert raw.min() < found.min()


@pytest.mark.slow
def test_a_model_at_the_margin_is_seldom_called_equivalent(monkeypatch):
    monkeypatch.setattr(class_tests, "_PERMUTATIONS", 99)
    monkeypatch.setattr(paired, "RESAMPLES", 20)
    random = np.random.default_rng(9)
    verdicts = []
    for _ in range(150):
        labels = random.choice(4, 1712, p=(0.4, 0.3, 0.2, 0.1))
        first, second = labels.copy(), labels.copy()
        # 3 % of the images are right in one model alone; the drop is the margin.
        told = random.choice(3, 1712, p=(0.97, 0.0175, 0.0125))
        second[told == 1] = (labels[told == 1] + 1) % 4
        first[told == 2] = (labels[told == 2] + 1) % 4
        verdicts.append(run(labels, first, second, class_budget=1.0).verdict)
    # 3.5 standard errors of a share of 0.05 in 150; and the gate is not simply mute.
    assert verdicts.count("equivalent") / 150 <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 150)
    assert run(labels, labels, labels).verdict == "equivalent"


def test_a_class_without_images_is_not_tested():
    labels, first, second = world(300, 7, shares=(0.5, 0.5, 0.0, 0.0))
    rows = run(labels, first, second).classes
    assert rows[2].recall_p is None and rows[2].f1_drop.reason == "no images of this class"
    assert rows[0].recall_p is not None and not rows[2].worse
