from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from edgecell import confidence as trust
from edgecell.errors import DataError
from edgecell.metrics import log_loss


def model(n, seed, *, classes=4, skill=2.5, sharpness=1.0):
    """Labels drawn from the probabilities of a calibrated model, told with ``sharpness``."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, skill, (n, classes))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    labels = (random.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return labels.astype(np.int64), trust.tempered(np.maximum(p, 1e-12), 1 / sharpness)


def as_uint8(p):
    """What an int8 file's output of these probabilities is."""
    return np.rint(p * 256).clip(0, 255).astype(np.float32) / 256


# ------------------------------------------------------------------------------- temperature


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 3.0])
def test_the_temperature_undoes_a_known_sharpness(sharpness):
    labels, p = model(6000, 1, sharpness=sharpness)
    assert trust.fit_temperature(labels, p) == pytest.approx(sharpness, rel=0.08)
    chosen = trust.choose_temperature(labels, p)
    assert chosen.kept and chosen.used == chosen.value and chosen.gain > 0


def test_the_least_log_loss_against_a_grid():
    labels, p = model(400, 2, sharpness=1.7)
    grid = np.linspace(0.5, 4, 2001)
    losses = [log_loss(labels, trust.tempered(p, t)) for t in grid]
    assert trust.fit_temperature(labels, p) == pytest.approx(grid[np.argmin(losses)], abs=0.003)


def test_a_calibrated_model_keeps_its_confidence():
    kept = [trust.choose_temperature(*model(400, seed)).kept for seed in range(40)]
    # A one-sided 2.5 % test of a gain that is not there.
    assert sum(kept) <= 4
    unused = trust.choose_temperature(*model(400, kept.index(False)))
    assert unused.used == 1.0 != unused.value


def test_no_temperature_is_kept_where_no_answer_is_wrong():
    """The likelihood has no maximum then: 90 images all right would make every later answer certain."""
    labels = np.arange(90) % 3
    p = np.full((90, 3), 0.05)
    p[np.arange(90), labels] = 0.9
    chosen = trust.choose_temperature(labels, p)
    assert chosen.interval.low > 0
    assert not chosen.kept and chosen.used == 1.0
    assert chosen.reason == "without a wrong answer on val every lower temperature looks better"
    for each in (range(9), range(0, 90, 10)):  # wrong answers as sure as the right ones
        some = labels.copy()
        some[list(each)] = (some[list(each)] + 1) % 3
        assert trust.choose_temperature(some, p).reason is None


def test_temperature_keeps_the_order_of_classes_and_1_changes_nothing():
    _, p = model(200, 3)
    p = trust.floored(p, None)
    assert trust.tempered(p, 1.0) == pytest.approx(p)
    for temperature in (0.3, 3.0):
        changed = trust.tempered(p, temperature)
        assert changed.sum(axis=1) == pytest.approx(1)
        assert (changed.argmax(axis=1) == p.argmax(axis=1)).all()


def test_a_quantized_zero_is_half_a_step():
    rows = trust.floored(np.array([[1.0, 0.0, 0.0]]), 1 / 256)
    assert rows[0, 1] == pytest.approx((1 / 512) / (1 + 2 / 512))
    assert trust.floored(np.array([[1.0, 0.0]]), None)[0, 1] == pytest.approx(1e-7)


# -------------------------------------------------------------------------------- abstention


def test_the_promise_of_a_threshold_is_kept():
    """Over many validation sets, the true accuracy above the threshold misses at most 5 %."""
    everyone, p = model(200_000, 99, skill=3.0)
    truth_confidence, truth_right = p.max(axis=1), p.argmax(axis=1) == everyone
    missed, found = 0, 0
    for seed in range(200):
        labels, probabilities = model(600, seed, skill=3.0)
        chosen = trust.choose_threshold(labels, probabilities, 0.9)
        if chosen.threshold is not None:
            found += 1
            missed += truth_right[truth_confidence >= chosen.threshold].mean() < 0.9
    assert found > 150  # a rule that never answers promises nothing
    assert missed <= 0.05 * 200 + 3 * math.sqrt(0.05 * 0.95 * 200)


def test_the_chosen_threshold_by_its_own_bound():
    labels, p = model(2000, 5, skill=3.0)
    chosen = trust.choose_threshold(labels, as_uint8(p), 0.95)
    answered, right = trust.answered_above(labels, as_uint8(p), chosen.threshold)
    assert (answered, right) == (chosen.answered, chosen.right)
    level = 1 - 0.05 / 6  # six sequences share the error
    bound = stats.binomtest(right, answered, alternative="greater").proportion_ci(level).low
    assert chosen.accuracy_low == pytest.approx(bound) and bound >= 0.95
    # Looser by one step breaks the bound, else it would have been chosen.
    looser = trust.answered_above(labels, as_uint8(p), chosen.threshold - 1 / 256)
    ci = stats.binomtest(looser[1], looser[0], alternative="greater").proportion_ci(level)
    assert ci.low < 0.95


def test_too_few_images_for_a_promise():
    labels, p = model(150, 6, skill=6.0)
    chosen = trust.choose_threshold(labels, p, 0.99)
    # 0.99^k <= 0.05 / 6 from k = 477 on.
    assert chosen.threshold is None and "at least 477 answers without an error" in chosen.reason
    assert 0.99**477 <= 0.05 / 6 < 0.99**476


def test_a_model_that_is_always_wrong_gets_no_threshold():
    labels, p = model(2000, 7)
    assert trust.choose_threshold((p.argmax(axis=1) + 1) % 4, p, 0.9).threshold is None


def test_selective_curve_ends_at_the_accuracy():
    labels, p = model(500, 8)
    coverage, accuracy = trust.selective_curve(labels, p)
    assert coverage[-1] == 1.0 and accuracy[-1] == (p.argmax(axis=1) == labels).mean()
    assert accuracy[:100].mean() > accuracy[-1]


# --------------------------------------------------------------------------------- conformal


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.99])
def test_conformal_coverage_over_many_draws(coverage):
    """Mean coverage is at least the promise, and at most 1 / (n + 1) more for continuous scores."""
    held = []
    for seed in range(300):
        labels, p = model(400, seed)
        sets = trust.fit_conformal(labels[:200], p[:200], coverage)
        held.append(trust.judge_sets(labels[200:], sets.members(p[200:])).covered / 200)
    error = np.std(held) / np.sqrt(len(held))
    assert coverage - 3 * error <= np.mean(held) <= coverage + 1 / 201 + 3 * error


@pytest.mark.parametrize("read", [np.asarray, as_uint8])
def test_one_validation_set_keeps_what_it_promises_with_certainty(read):
    """Half of the sets give less than the coverage, 5 % less than ``at_least``; ties make it fewer."""
    everyone, told = model(200_000, 99)
    shown = read(told)
    mine, sets = np.sort(shown[np.arange(len(everyone)), everyone]), []
    for seed in range(600):
        labels, p = model(150, seed)
        found = trust.fit_conformal(labels, read(p), 0.9)
        true = 1 - np.searchsorted(mine, found.threshold - 1e-7) / len(mine)
        sets.append((true < 0.9, true < found.at_least))
    less, below = np.mean(sets, axis=0)
    assert below <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(sets))
    if read is np.asarray:
        assert 0.4 < less < 0.55 and below > 0.025


def test_the_least_coverage_by_hand():
    # All 9 of 9: the lower bound of Clopper and Pearson, one-sided.
    for certainty in (0.95, 0.8):
        bound = stats.binomtest(9, 9, alternative="greater").proportion_ci(certainty).low
        assert trust.coverage_at_least(9, 0.9, certainty) == pytest.approx(bound)
    assert trust.coverage_at_least(8, 0.9, 0.95) == 1.0  # too few: every class is in every set
    assert trust.coverage_at_least(100, 0.9, 0.95) == pytest.approx(0.848, abs=5e-4)
    assert trust.coverage_at_least(1000, 0.9, 0.95) == pytest.approx(0.884, abs=5e-4)
    labels = np.repeat([0, 1, 2], [100, 30, 5])
    found = trust.fit_conformal(labels, np.full((135, 3), 1 / 3), 0.9, 0.8)
    assert found.at_least == trust.coverage_at_least(135, 0.9, 0.8)
    assert found.class_at_least == tuple(trust.coverage_at_least(n, 0.9, 0.8) for n in (100, 30, 5))


def test_by_class_covers_the_class_that_one_threshold_leaves_out():
    labels, p = model(20_000, 10)
    # The model is shy of class 3: its probability is halved.
    p = p * np.array([1, 1, 1, 0.3])
    p /= p.sum(axis=1, keepdims=True)
    sets = trust.fit_conformal(labels[:10_000], p[:10_000], 0.9)
    rest, shown = labels[10_000:], p[10_000:]
    common = trust.judge_sets(rest, sets.members(shown))
    own = trust.judge_sets(rest, sets.members(shown, by_class=True))
    assert common.by_class[3][0] / common.by_class[3][1] < 0.85
    for hits, n, _ in own.by_class:
        assert hits / n == pytest.approx(0.9, abs=0.03)


def test_the_quantile_by_hand():
    # 9 images, coverage 0.8: the ⌈10 · 0.8⌉ = 8th smallest score, p = 0.2.
    p = np.arange(1, 10)[:, None] / 10
    probabilities = np.hstack([p, 1 - p])
    sets = trust.fit_conformal(np.zeros(9, int), probabilities, 0.8)
    assert sets.threshold == pytest.approx(0.2)
    assert sets.members(probabilities)[:, 0].sum() == 8
    # ⌈10 · 0.91⌉ = 10 of 9: everything is in the set. Class 1 has no image at all.
    assert trust.fit_conformal(np.zeros(9, int), probabilities, 0.91).threshold == 0.0
    assert sets.class_thresholds[1] == 0.0


def test_cross_validated_sets_do_not_see_their_own_image():
    labels, p = model(300, 11)
    labels = (p.argmax(axis=1) + 1) % 4  # every label is a surprise
    common, by_class = trust.cross_members(labels, p, 0.9)
    assert common.shape == by_class.shape == (300, 4)
    assert trust.judge_sets(labels, common).covered / 300 == pytest.approx(0.9, abs=0.05)


def test_set_sizes_are_counted():
    members = np.array([[True, False], [True, True], [False, False]])
    quality = trust.judge_sets(np.array([0, 1, 1]), members)
    assert quality.sizes == (1, 1, 1) and quality.mean_size == 1.0
    assert [(hits, n) for hits, n, _ in quality.by_class] == [(1, 1), (1, 2)]


def test_quanta_are_what_an_app_compares():
    assert trust.quanta(0.95, 1 / 256) == math.ceil(0.95 * 256)
    assert trust.quanta(243 / 256, 1 / 256) == 243
    assert trust.quanta(0.5, None) is None


def test_too_few_images_are_refused():
    labels, p = model(19, 12)
    with pytest.raises(DataError, match="19 images are too few"):
        trust.choose_temperature(labels, p)
    with pytest.raises(DataError, match="no images to judge"):
        trust.judge_sets(np.zeros(0, int), np.zeros((0, 2), bool))


def test_temperature_agrees_with_a_general_optimiser():
    labels, p = model(500, 13, sharpness=2.2)

    def loss(t):
        return log_loss(labels, trust.tempered(p, float(t[0])))

    found = optimize.minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-6}).x[0]
    assert trust.fit_temperature(labels, p) == pytest.approx(found, rel=1e-3)
