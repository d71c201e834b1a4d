"""How much a model loses against another, from draws of images that both share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.joint_draws import JointDraws
from edgecell.metrics import bootstrap_together
from edgecell.metrics.paired import tango_interval

IMAGES, CLASSES = 1500, 4
EVERY = tuple("abcdefghij")


def said(
    labels: np.ndarray, shares: list[float], random: np.random.Generator, alike: float = 0.8
) -> np.ndarray:
    """Answers (K, N), right in these shares of all images; what is hard for one is hard for all."""
    hard = random.normal(size=len(labels))
    found = []
    for share in shares:
        own = random.normal(size=len(labels))
        wrong = np.sqrt(alike) * hard + np.sqrt(1 - alike) * own > stats.norm.ppf(share)
        found.append((labels + wrong) % CLASSES)
    return np.stack(found)


def test_of_two_it_is_the_percentile_interval_of_the_paired_draws():
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, IMAGES)
    answers = said(labels, [0.97, 0.95], random)
    drawn = bootstrap_together(labels, answers, CLASSES, 500, seed=1)
    found = JointDraws(("a", "b"), IMAGES, drawn)
    right = (answers == labels).mean(axis=1)
    for score in ("accuracy", "macro_f1"):
        [interval] = found.drop_intervals(score, "a", ["b"], [right[0] - right[1]])
        lost = drawn[score][:, 0] - drawn[score][:, 1]
        assert interval == pytest.approx(np.quantile(lost, [0.025, 0.975]))
    [back] = found.drop_intervals("accuracy", "b", ["a"], [right[1] - right[0]])
    lost = drawn["accuracy"][:, 1] - drawn["accuracy"][:, 0]
    assert back.low == pytest.approx(np.quantile(lost, 0.025))
    assert back.low < -0.01


def test_where_files_never_differ_the_images_still_exclude_only_so_much():
    same = JointDraws(("a", "b"), 300, {"accuracy": np.full((100, 2), 0.9)})
    [interval] = same.drop_intervals("accuracy", "a", ["b"], [0.0])
    assert interval == (0.0, pytest.approx(tango_interval(0, 0, 300).high))
    assert interval.high == pytest.approx(3.8415 / 303.8415, rel=1e-3)
    # 765 images are the fewest that exclude half a point, as docs/sweep.md says.
    assert tango_interval(0, 0, 765).high <= 0.005 < tango_interval(0, 0, 764).high


def test_a_model_without_draws_is_an_error():
    found = JointDraws(("a",), 300, {"accuracy": np.zeros((100, 1))})
    with pytest.raises(KeyError, match="b"):
        found.drop_intervals("accuracy", "a", ["b"], [0.0])


@pytest.mark.parametrize("others", [1, 5])
def test_a_loss_beyond_the_margin_is_seldom_taken_for_one_within_it(others):
    """0.8 points worse, in pairs: named in at most 5 % of sweeps, however many such cells there are."""
    random, margin, named, alike = np.random.default_rng(5), 0.005, 0, 0
    sweeps = 80
    for seed in range(sweeps):
        labels = random.integers(0, CLASSES, IMAGES)
        answers = said(labels, [0.975, *[0.975 - 0.008] * others], random)
        drawn = bootstrap_together(labels, answers, CLASSES, 300, seed=seed)
        scores = (answers == labels).mean(axis=1)
        found = JointDraws(EVERY[: 1 + others], IMAGES, drawn)
        drops = list(scores[0] - scores[1:])
        intervals = found.drop_intervals("accuracy", "a", EVERY[1 : 1 + others], drops)
        named += any(interval.high <= margin for interval in intervals)
        alike += scores[1] >= np.quantile(drawn["accuracy"][:, 0], 0.025)
    assert named / sweeps <= 0.05 < 0.3 < alike / sweeps


def test_with_many_that_lose_just_the_margin_their_interval_is_the_wider():
    """One by one some of nine would be within the margin in more than 5 % of sweeps."""
    random, loss, named, singly = np.random.default_rng(6), 0.02, 0, 0
    sweeps, names = 200, EVERY[1:]
    for _ in range(sweeps):
        noise = random.normal(0, 0.004, 10)
        true = np.array([0.9, *[0.9 - loss] * 9])
        drawn = true + noise + random.normal(0, 0.004, (400, 10))
        found = JointDraws(EVERY, 10_000, {"macro_f1": drawn})
        drops = list((true + noise)[0] - (true + noise)[1:])
        together = found.drop_intervals("macro_f1", "a", names, drops)
        alone = [
            found.drop_intervals("macro_f1", "a", [name], [drop])[0]
            for name, drop in zip(names, drops, strict=True)
        ]
        named += any(interval.high <= loss for interval in together)
        singly += any(interval.high <= loss for interval in alone)
    assert named / sweeps <= 0.06 < singly / sweeps
