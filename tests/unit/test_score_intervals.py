"""Intervals hold the true value as often as they say, also where a class is small or without a mistake."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgecell import metrics
from edgecell.metrics.ordinal import quadratic_kappa


def mean_f1(confusion, draws=500):
    hits, support, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    drawn = metrics.bootstrap_confusion(confusion, draws, seed=1)
    return metrics.mean_f1_interval(hits, support, called, drawn["f1"], drawn["macro_f1"])


def drawn_confusions(share, accuracy, n, times, seed=0):
    """Confusion matrices of ``n`` images and the one they are drawn from; mistakes go to neighbours."""
    classes = len(share)
    cells = np.diag(np.full(classes, accuracy))
    for c in range(classes):
        near = [k for k in (c - 1, c + 1) if 0 <= k < classes]
        cells[c, near] = (1 - accuracy) / len(near)
    cells *= np.asarray(share)[:, None] / np.sum(share)
    rng = np.random.default_rng(seed)
    return cells, rng.multinomial(n, cells.ravel(), size=times).reshape(times, classes, classes)


def held(intervals, true):
    return np.mean([ends.low <= true <= ends.high for ends in intervals])


def test_the_f1_of_a_class_is_wilson_s_interval_of_its_jaccard_index():
    j = metrics.wilson_interval(18, 18 + 2 + 4)  # 18 hits, 2 missed, 4 false alarms
    low, high = metrics.f1_interval(18, 20, 22)
    assert low == pytest.approx(2 * j.low / (1 + j.low))
    assert high == pytest.approx(2 * j.high / (1 + j.high))
    assert low < 2 * 18 / 42 < high


def test_a_faultless_class_and_one_that_is_never_hit_are_not_certain():
    assert metrics.f1_interval(10, 10, 10) == pytest.approx((0.839, 1.0), abs=1e-3)
    assert metrics.f1_interval(60, 60, 60) == pytest.approx((0.969, 1.0), abs=1e-3)
    assert metrics.f1_interval(0, 20, 0) == pytest.approx((0.0, 0.278), abs=1e-3)
    assert metrics.f1_interval(0, 0, 0) is None


@pytest.mark.parametrize(("f1", "images"), [(0.8, 10), (0.95, 20), (0.99, 50)])
def test_the_f1_interval_of_a_small_class_holds_the_true_one(f1, images):
    n, jaccard = 1712, f1 / (2 - f1)
    either = 2 * images / (n * (1 + jaccard))
    rng = np.random.default_rng(0)
    hits, wrong, _ = rng.multinomial(
        n, [jaccard * either, (1 - jaccard) * either, 1 - either], size=2000
    ).T
    missed = rng.binomial(wrong, 0.5)
    ends = [
        metrics.f1_interval(int(h), int(h + m), int(h + w - m))
        for h, w, m in zip(hits, wrong, missed, strict=True)
        if h + w
    ]
    assert held(ends, f1) > 0.92


def test_the_mean_f1_of_a_faultless_set_is_not_certain():
    low, high = mean_f1(np.diag([30, 20, 6]))
    assert 0.8 < low < 0.95 and high == 1.0


def test_classes_without_images_do_not_enter_the_mean_f1():
    two = np.array([[18, 2], [1, 19]])
    three = np.zeros((3, 3), int)
    three[:2, :2] = two
    assert mean_f1(three) == pytest.approx(mean_f1(two), abs=0.01)
    three[0, 2] = 1  # called what no image is
    assert mean_f1(three).high > 0.9


@pytest.mark.parametrize(
    ("share", "accuracy", "n"), [([1, 1], 0.99, 56), ([26, 7, 14, 10], 0.9, 60)]
)
def test_the_interval_of_macro_f1_holds_the_true_one(share, accuracy, n):
    cells, drawn = drawn_confusions(share, accuracy, n, 200)
    true = metrics.macro_f1(np.round(cells * 1e9).astype(np.int64))
    assert held([mean_f1(each) for each in drawn], true) > 0.92


def test_kappa_keeps_a_width_and_holds_the_true_one():
    assert metrics.kappa_interval(np.diag([26, 7, 14])).low < 0.999
    cells, drawn = drawn_confusions([26, 7, 14, 10, 3], 0.99, 120, 200)
    true = quadratic_kappa(np.round(cells * 1e9).astype(np.int64))
    ends = [metrics.kappa_interval(each, 500) for each in drawn]
    assert held(ends, true) > 0.92
    assert all(
        end.low <= quadratic_kappa(c) <= end.high for end, c in zip(ends, drawn, strict=True)
    )


def test_the_ends_of_an_area_are_its_own_errors_away():
    """As the method is defined: both ends solve |area - value| = z · their standard error."""
    value, m, n = 0.93, 12, 300
    for area in metrics.auc_interval(value, m, n):
        star = (m + n) / 2 - 1
        spread = 1 + star * (1 - area) / (2 - area) + star * area / (1 + area)
        error = math.sqrt(area * (1 - area) * spread / (m * n))
        assert abs(area - value) == pytest.approx(1.959964 * error, rel=1e-6)


def test_an_area_of_one_is_not_certain_and_without_pairs_there_is_none():
    low, high = metrics.auc_interval(1.0, 10, 1702)
    assert 0.85 < low < 0.95 and high == 1.0
    low, high = metrics.auc_interval(0.0, 10, 1702)
    assert low == 0.0 and 0.05 < high < 0.15
    assert metrics.auc_interval(1.0, 0, 5) is None and metrics.auc_interval(1.0, 5, 0) is None


@pytest.mark.parametrize(("positives", "area"), [(10, 0.97), (30, 0.995), (60, 0.8)])
def test_the_interval_of_a_rare_label_s_area_holds_the_true_one(positives, area):
    n, apart = 1712, math.sqrt(2) * stats.norm.ppf(area)
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(400):
        without = np.sort(rng.normal(size=n - positives))
        found = np.searchsorted(without, rng.normal(size=positives) + apart).mean()
        ends.append(metrics.auc_interval(found / len(without), positives, len(without)))
    assert held(ends, area) > 0.92


def test_a_calibrated_model_has_a_calibration_error_too():
    rng = np.random.default_rng(3)
    for n, least, most in ((56, 0.05, 0.2), (1712, 0.01, 0.04)):
        sure = 0.5 + rng.random(n) / 2
        drawn = metrics.calibrated_eces(sure, seed=1)
        assert drawn.shape == (200,) and least < drawn.mean() < most
        right = rng.random(n) < sure
        labels = np.where(right, 1, 0)
        seen = metrics.ece(labels, np.stack([1 - sure, sure], axis=1))
        assert drawn.min() * 0.8 < seen < drawn.max() * 1.2
