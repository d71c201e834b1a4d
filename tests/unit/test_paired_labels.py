"""The drop of an AUC: against scikit-learn, SciPy, and images drawn again and again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from edgecell.metrics.paired_labels import (
    AreaDrop,
    Areas,
    areas,
    label_drops,
    mean_drop,
    paired_label_bootstrap,
)

RATES = np.array([0.5, 0.3, 0.1])


def draw(
    random: np.random.Generator, n: int, first: float, second: float, shared: float = 0.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n, 3) and two models' probabilities; ``first`` and ``second`` are their d' of each label.

    What both models see of an image is the same but for a part, and labels of an image go together.
    """
    image = random.normal(size=(n, 1))
    labels = (stats.norm.cdf((image + random.normal(size=(n, 3))) / math.sqrt(2)) < RATES).astype(
        np.int64
    )
    noise = random.normal(size=(3, n, 3))
    found = []
    for strength, own in ((first, noise[1]), (second, noise[2])):
        mixed = math.sqrt(shared) * noise[0] + math.sqrt(1 - shared) * own
        found.append(stats.norm.cdf(strength * labels + mixed - 1).astype(np.float32))
    return labels, found[0], found[1]


def area_of(strength: float) -> float:
    """The AUC of two normal distributions so far apart."""
    return float(stats.norm.cdf(strength / math.sqrt(2)))


def test_areas_are_scikit_learn_s_and_their_spread_scipy_s():
    random = np.random.default_rng(0)
    labels, first, _ = draw(random, 150, 1.0, 1.0)
    first = np.round(first, 1)  # ties
    found = areas(labels, first)
    for i in range(3):
        has = labels[:, i] == 1
        assert found.area[i] == pytest.approx(roc_auc_score(labels[:, i], first[:, i]))
        error = math.sqrt((found.parts[:, i] ** 2).sum())
        statistic, _ = stats.brunnermunzel(first[~has, i], first[has, i])
        assert (found.area[i] - 0.5) / error == pytest.approx(statistic)


def test_a_label_that_two_images_have_cannot_be_told():
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
    found = areas(
        labels, np.array([[0.9, 0.1], [0.2, 0.1], [0.3, 0.4], [0.4, 0.9], [0.6, 0], [0.1, 1]])
    )
    assert found.known.tolist() == [True, False]
    drops = label_drops(labels, found, found)
    assert drops[0] is not None and drops[1] is None
    assert mean_drop(labels[:, 1:], *(areas(labels[:, 1:], np.eye(6)[:, :1]),) * 2) is None


def test_without_any_difference_p_is_even():
    random = np.random.default_rng(1)
    p = {"mean": [], "rare": []}
    for _ in range(1500):
        labels, first, second = draw(random, 200, 1.2, 1.2)
        before, after = areas(labels, first), areas(labels, second)
        whole = mean_drop(labels, before, after)
        rare = label_drops(labels, before, after)[2]
        assert whole is not None
        p["mean"].append(whole.worse_p())
        p["rare"].append(rare.worse_p() if rare else 0.5)
    for values in p.values():
        assert stats.kstest(values, "uniform").pvalue > 0.001
        assert 0.03 < (np.array(values) <= 0.05).mean() < 0.07


def test_a_drop_of_the_margin_passes_for_equivalent_in_one_of_twenty():
    random = np.random.default_rng(2)
    margin = area_of(1.2) - area_of(1.0)
    passed = narrow = 0
    for _ in range(1000):
        labels, first, second = draw(random, 400, 1.2, 1.0)
        drop = mean_drop(labels, areas(labels, first), areas(labels, second))
        assert drop is not None
        passed += drop.non_inferiority_p(margin) <= 0.05
        assert (drop.non_inferiority_p(margin) <= 0.05) == (drop.upper_bound(0.05) <= margin)
        low, high = drop.interval()
        narrow += low <= margin <= high
    assert 0.02 < passed / 1000 < 0.06
    assert 0.93 < narrow / 1000 < 0.98


def test_equal_rankings_of_few_images_prove_little():
    labels = np.tile([[1], [0]], (15, 1))
    found = areas(labels, np.linspace(0, 1, 30)[:, None])
    few = mean_drop(labels, found, found)
    assert few is not None and (few.drop, few.error, few.worse_p()) == (0.0, 0.0, 1.0)
    assert few.upper_bound(0.05) == pytest.approx(0.5 / 15 * stats.norm.isf(0.05))
    assert few.non_inferiority_p(0.005) > 0.3
    needed = few.images_for_equivalence(30, 0.005, 0.05)
    assert needed == 498  # Tango's test wants 539 where every answer agrees


@pytest.mark.parametrize("rarer", [3, 4])
def test_a_label_of_three_images_is_not_found_worse_more_often_than_agreed(rarer):
    random = np.random.default_rng(7)
    labels = (np.arange(60) < rarer).astype(np.int64)[:, None]
    p = []
    for _ in range(3000):
        noise = random.normal(size=(3, 60, 1))
        models = [areas(labels, labels + noise[0] + 0.3 * own) for own in noise[1:]]
        drop = mean_drop(labels, *models)
        assert drop is not None
        p.append(drop.worse_p())
    for level in (0.05, 0.005):
        assert (np.array(p) <= level).mean() < 1.6 * level


@pytest.mark.parametrize("spoilt", ["constant", "inverted"])
def test_a_perfect_ranking_that_is_lost_is_worse_though_no_part_differs(spoilt):
    labels = np.tile([[1], [0]], (30, 1))
    perfect = labels * 0.4 + 0.05
    found = np.full((60, 1), 0.3) if spoilt == "constant" else 0.5 - perfect
    drop = mean_drop(labels, areas(labels, perfect), areas(labels, found))
    assert drop is not None and drop.error == 0
    assert drop.drop == {"constant": 0.5, "inverted": 1.0}[spoilt]
    assert drop.worse_p() < 1e-6 and drop.two_sided_p() < 1e-6
    low, high = drop.interval()
    assert low < drop.drop < high and drop.images_for_worse(60, 0.05) > 0
    back = mean_drop(labels, areas(labels, found), areas(labels, perfect))
    assert back is not None and back.worse_p() > 1 - 1e-6 and back.two_sided_p() < 1e-6


@pytest.mark.parametrize("freedom", [1.5, 4.0, math.inf])
def test_more_images_are_asked_for_than_could_not_tell(freedom):
    few = AreaDrop(0.001, error=0.003, freedom=freedom, unseen=0.0005)
    assert few.upper_bound(0.05) > 0.005
    needed = few.images_for_equivalence(1000, 0.005, 0.05)
    assert needed is not None and needed > 1000
    fell = AreaDrop(0.01, error=0.007, freedom=freedom, unseen=0.0)
    assert fell.worse_p() > 0.05
    assert (fell.images_for_worse(1000, 0.05) or 0) > 1000


@pytest.mark.parametrize("drop", [0.0, 0.002, -0.01])
def test_the_images_needed_are_those_that_reach_the_margin(drop):
    found = AreaDrop(drop, error=0.004, freedom=math.inf, unseen=0.003)
    n = found.images_for_equivalence(1000, 0.005, 0.05)
    assert n is not None
    spread = math.hypot(0.004 * math.sqrt(1000 / n), 0.003 * 1000 / n)
    reach = stats.norm.isf(0.05) + stats.norm.ppf(0.8)
    assert max(drop, 0) + reach * spread == pytest.approx(0.005, rel=0.01)
    assert AreaDrop(0.006, 0.004, math.inf, 0.0).images_for_equivalence(1000, 0.005, 0.05) is None
    assert AreaDrop(0.0, 0.004, math.inf, 0.0).images_for_worse(1000, 0.05) is None


def test_the_bootstrap_of_decisions_moves_about_what_was_seen():
    random = np.random.default_rng(4)
    labels, first, second = draw(random, 500, 1.5, 1.0)
    said, says = first > 0.5, second > 0.5
    found = paired_label_bootstrap(labels, said, says, seed=1)
    f1 = [f1_score(labels, each, average=None) for each in (said, says)]
    assert found["f1"].mean(axis=0) == pytest.approx(f1[0] - f1[1], abs=0.01)
    assert found["macro_f1"].mean() == pytest.approx((f1[0] - f1[1]).mean(), abs=0.01)
    accuracy = (said == labels).mean() - (says == labels).mean()
    assert found["accuracy"].mean() == pytest.approx(accuracy, abs=0.002)
    spread = [
        paired_label_bootstrap(*((x[0], x[1] > 0.5, x[2] > 0.5)), seed=0)["accuracy"].mean()
        for x in (draw(random, 500, 1.5, 1.0) for _ in range(40))
    ]
    assert found["accuracy"].std() == pytest.approx(np.std(spread), rel=0.5)


def test_a_fall_beyond_another_s_is_told_apart_as_often_as_promised():
    """Two models fall alike when their images get worse, each by noise of its own: 5 % are told apart."""
    random = np.random.default_rng(7)
    p = []
    for _ in range(800):
        labels, first, second = draw(random, 150, 1.6, 1.2)
        noise = random.normal(size=(2, *labels.shape)) * 0.3
        worse = [stats.norm.ppf(each.clip(1e-6, 1 - 1e-6)) for each in (first, second)]
        # Both rank by what is left of their own evidence; AUC falls by about as much.
        after = [stats.norm.cdf(each + own) for each, own in zip(worse, noise, strict=True)]
        before = [areas(labels, each) for each in (first, second)]
        moved = [areas(labels, each) - known for each, known in zip(after, before, strict=True)]
        fall = mean_drop(labels, moved[0], moved[1])
        assert fall is not None
        p.append(fall.two_sided_p())
    # Of 800, 5 % are 40, with a standard deviation of 6.2.
    assert 20 <= np.sum(np.array(p) < 0.05) <= 60


def test_what_sums_round_off_is_no_spread():
    # 10 images without the label, of which one is ranked below the 3 that have it: each is ranked above a
    # tenth, and the mean of three tenths is not a tenth in floating point.
    labels = np.array([[1]] * 3 + [[0]] * 10)
    tied = np.array([[0.5]] * 3 + [[0.1]] + [[0.9]] * 9)
    found = areas(labels, tied)
    assert np.unique(found.parts[:3]).tolist() != [0.0]
    # The same ranking in all but its sums: nothing differs.
    again = Areas(np.array([0.1]), np.where(labels == 1, 0.0, found.parts))
    drop = mean_drop(labels, found, again)
    assert drop is not None and (drop.drop, drop.error) == (0.0, 0.0)
    assert (drop.worse_p(), drop.two_sided_p()) == (1.0, 1.0)
