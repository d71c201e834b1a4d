"""Tango's interval and test against a published example, an optimiser, and every possible outcome."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from edgecell.metrics.paired import (
    discordant,
    drop_bound,
    f1_drop_interval,
    images_for_equivalence,
    images_for_worse,
    non_inferiority_p,
    paired_bootstrap,
    tango_interval,
    tango_z,
    worse_p,
)

Z = float(stats.norm.isf(0.025))


def outcomes(n: int, discordance: float, drop: float):
    """Every (lost, gained) of n images that is not impossible, and its probability."""
    most = min(n, int(stats.binom.isf(1e-10, n, discordance)) + 1)
    lost, pairs = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    lost, pairs = lost[lost <= pairs], pairs[lost <= pairs]
    share = (discordance + drop) / (2 * discordance)
    weight = stats.binom.pmf(pairs, n, discordance) * stats.binom.pmf(lost, pairs, share)
    assert weight.sum() == pytest.approx(1, abs=1e-8)
    return lost, pairs - lost, weight


def test_the_example_of_fagerland_lydersen_and_laake():
    # Complete response before and after consolidation therapy (Cavo et al. 2012), n = 161:
    # estimate -0.0621, Tango's 95 % interval -0.1240 to -0.0054.
    assert tango_interval(6, 16, 161) == pytest.approx((-0.1240, -0.0054), abs=5e-5)


@pytest.mark.parametrize(
    ("lost", "gained", "n", "drop"),
    [(6, 16, 161, 0.05), (6, 16, 161, -0.2), (3, 0, 40, 0.01), (0, 5, 300, 0.002), (9, 9, 50, 0.3)],
)
def test_the_variance_is_that_of_the_constrained_maximum_likelihood(lost, gained, n, drop):
    def minus_likelihood(q):
        parts = ((lost, q + drop), (gained, q), (n - lost - gained, 1 - 2 * q - drop))
        return -sum(k * np.log(p) for k, p in parts if k)

    low, high = max(0.0, -drop) + 1e-12, (1 - drop) / 2 - 1e-12
    q = optimize.minimize_scalar(
        minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    z = (lost - gained - n * drop) / np.sqrt(n * (2 * q + drop * (1 - drop)))
    assert tango_z(lost, gained, n, drop) == pytest.approx(z, rel=1e-4)


@given(st.integers(1, 400), st.data())
def test_the_interval_holds_the_estimate_and_turns_over_with_the_models(n, data):
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    low, high = tango_interval(lost, gained, n)
    assert -1 <= low <= (lost - gained) / n <= high <= 1 and low < high
    assert tango_interval(gained, lost, n) == pytest.approx((-high, -low), abs=1e-8)
    for end in (low, high):
        if abs(end) < 1:
            assert abs(tango_z(lost, gained, n, end)) == pytest.approx(Z, abs=1e-5)


def test_no_discordant_pair_still_has_a_width():
    # With none of n, z = -sqrt(n d / (1 - d)): the bound is z² / (n + z²).
    z = stats.norm.isf(0.05)
    assert tango_interval(0, 0, 200, 0.9).high == pytest.approx(z**2 / (200 + z**2), abs=1e-9)
    # A model that loses 0.005 of its answers loses none of n with the probability 0.995^n.
    assert non_inferiority_p(0, 0, 598, 0.005) <= 0.05 < non_inferiority_p(0, 0, 597, 0.005)
    assert images_for_equivalence(0.0, 0.0, 0.005, 0.05) == 598
    assert drop_bound(0, 0, 598, 0.05) == pytest.approx(0.005, abs=1e-5)
    assert drop_bound(0, 0, 20, 0.05) == pytest.approx(1 - 0.05**0.05)
    assert drop_bound(3, 1, 200, 0.05) == tango_interval(3, 1, 200, 0.9).high


@pytest.mark.parametrize("discordance", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("drop", [0.0, 0.0025, 0.005])
@pytest.mark.parametrize("n", [538, 1712, 3424])
def test_coverage_over_every_outcome(n, discordance, drop):
    lost, gained, weight = outcomes(n, discordance, drop)
    covered = weight[np.abs(tango_z(lost, gained, n, drop)) <= Z].sum()
    assert 0.945 <= covered <= 0.96


@pytest.mark.parametrize("discordance", [0.005, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("n", [200, 539, 598, 1712, 3424])
def test_a_model_at_the_margin_is_rarely_called_equivalent(n, discordance):
    lost, gained, weight = outcomes(n, discordance, 0.005)
    likely = np.flatnonzero(weight > 1e-9)
    p = [non_inferiority_p(int(lost[i]), int(gained[i]), n, 0.005) for i in likely]
    assert weight[likely[np.array(p) <= 0.05]].sum() <= 0.052


@pytest.mark.parametrize(("n", "drop"), [(20, 0.1), (40, 0.05), (60, 0.1)])
@pytest.mark.parametrize("gains", [0.0, 0.02])
def test_the_bound_of_a_small_class_holds_its_drop(n, drop, gains):
    lost, gained, weight = outcomes(n, drop + 2 * gains, drop)
    likely = np.flatnonzero(weight > 1e-9)
    bounds = [drop_bound(int(lost[i]), int(gained[i]), n, 0.05) for i in likely]
    assert weight[likely[np.array(bounds) < drop]].sum() <= 0.056


@pytest.mark.parametrize("images", [20, 60])
def test_the_interval_of_a_small_class_s_f1_drop_holds_the_true_one(images):
    """Two of 60 of its images are lost in truth: resampling alone sees it about every other time."""
    n, rng, true, held = 1712, np.random.default_rng(0), 1 / 30, 0
    has = np.arange(n) < images
    wanted = 1 - 2 * (1 - true) / (2 - true)  # of a reference without a mistake
    for _ in range(200):
        says = has & (rng.random(n) > true)
        classes = [np.where(each, 0, 1) for each in (has, has, says)]
        drawn = paired_bootstrap(*classes, 2)["f1"][:, 0]
        low, high = f1_drop_interval(has, has, says, drawn)
        held += low <= wanted <= high
    assert held >= 186


def test_identical_answers_still_leave_a_class_s_f1_drop_open():
    has = np.arange(100) < 20
    low, high = f1_drop_interval(has, has, has, np.zeros(10))
    assert low < -0.05 and high > 0.05


@pytest.mark.parametrize(("discordance", "drop"), [(0.007, 0.001), (0.02, 0.0), (0.02, 0.002)])
def test_the_number_of_images_gives_the_power_it_promises(discordance, drop):
    n = images_for_equivalence(discordance, drop, 0.005, 0.05)
    lost, gained, weight = outcomes(n, discordance, drop)
    power = weight[tango_z(lost, gained, n, 0.005) <= -stats.norm.isf(0.05)].sum()
    assert power == pytest.approx(0.8, abs=0.02)


def test_the_number_of_images_that_shows_a_drop():
    n = images_for_worse(0.05, 0.01, 0.05)
    lost, gained, weight = outcomes(n, 0.05, 0.01)
    # The exact test is conservative: a little less than the approximation promises.
    found = weight[stats.binom.sf(lost - 1, lost + gained, 0.5) <= 0.05].sum()
    assert 0.76 <= found <= 0.8
    assert images_for_worse(0.05, 0.0, 0.05) is None
    assert images_for_equivalence(0.05, 0.005, 0.005, 0.05) is None


@pytest.mark.parametrize("pairs", [1, 5, 12, 40, 200])
def test_mcnemar_p_values_under_the_null(pairs):
    lost = np.arange(pairs + 1)
    p = np.array([worse_p(int(b), int(pairs - b)) for b in lost])
    weight = stats.binom.pmf(lost, pairs, 0.5)
    for level in (0.001, 0.01, 0.05, 0.1, 0.3, 0.5):
        assert weight[p <= level].sum() <= level + 1e-12
    if pairs == 200:  # discrete, yet not absurdly so
        assert weight[p <= 0.05].sum() > 0.035


def test_counts_that_cannot_be():
    for lost, gained, n in ((-1, 0, 5), (3, 3, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match=f"of {n} images"):
            tango_interval(lost, gained, n)
    assert worse_p(0, 0) == 1.0


def test_discordant_counts_who_is_right_alone():
    first = np.array([True, True, True, False, False])
    second = np.array([True, False, False, True, False])
    assert discordant(first, second) == (2, 1)
    assert discordant(second, first) == (1, 2)


# ------------------------------------------------------------------------------ p-values by simulation


def is_uniform(p: np.ndarray) -> bool:
    """Kolmogorov and Smirnov cannot tell ``p`` from uniform; errs once in 10,000 sets."""
    return bool(stats.kstest(p, "uniform").pvalue > 1e-4)


def drawn(count: int, n: int, discordance: float, drop: float, seed: int):
    """Lost and gained of ``count`` pairs of models on ``n`` images."""
    random = np.random.default_rng(seed)
    shares = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    lost, gained, _ = random.multinomial(n, shares, size=count).T
    return lost, gained


def test_mcnemar_s_p_value_under_the_null_is_uniform_but_for_its_steps():
    """P(as many lost or more) jumps from count to count; drawn from within its jump it is uniform."""
    lost, gained = drawn(3000, 1712, 0.02, 0.0, seed=1)
    jump = np.random.default_rng(2).random(len(lost))

    def within(p_value) -> np.ndarray:
        p = np.array([p_value(int(b), int(c)) for b, c in zip(lost, gained, strict=True)])
        next_one = np.array(
            [
                p_value(int(b) + 1, int(c) - 1) if c else 0.0
                for b, c in zip(lost, gained, strict=True)
            ]
        )
        return next_one + jump * (p - next_one)

    assert is_uniform(within(worse_p))
    # The partner: the chi-square test without its correction, one-sided, is not uniform here ...
    assert not is_uniform(within(lambda b, c: float(stats.norm.sf((b - c) / max(b + c, 1) ** 0.5))))
    # ... and models of which one is worse are not under the null.
    lost, gained = drawn(3000, 1712, 0.02, 0.002, seed=3)
    assert not is_uniform(within(worse_p))


@pytest.mark.parametrize(("n", "discordance"), [(1712, 0.05), (3424, 0.02), (20_000, 0.01)])
def test_the_equivalence_p_value_at_the_margin_is_uniform_enough(n, discordance):
    """The hypothesis is a drop of the margin or more; at the margin itself p must be uniform."""
    margin, count = 0.005, 4000
    lost, gained = drawn(count, n, discordance, margin, seed=n)
    p = stats.norm.cdf(tango_z(lost, gained, n, margin))
    assert p[0] == non_inferiority_p(int(lost[0]), int(gained[0]), n, margin)
    for level in (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9):
        # Four standard errors of the simulation, and the largest jump of the discrete statistic.
        jump = 1 / np.sqrt(2 * np.pi * n * discordance)
        allowed = 4 * np.sqrt(level * (1 - level) / count) + jump
        assert abs(np.mean(p <= level) - level) <= allowed, level
    # The partners: a margin of 0 instead, and Wald's variance, which forgets what it cannot see.
    wrong = stats.norm.cdf(tango_z(lost, gained, n, 0.0))
    assert abs(np.mean(wrong <= 0.05) - 0.05) > 0.03
    few = drawn(count, 600, 0.006, margin, seed=5)
    drop = (few[0] - few[1]) / 600
    deviation = np.sqrt(np.maximum((few[0] + few[1]) / 600 - drop**2, 0) / 600)
    with np.errstate(divide="ignore", invalid="ignore"):
        wald = np.where(deviation > 0, (drop - margin) / deviation, -np.inf)
    assert np.mean(stats.norm.cdf(wald) <= 0.05) > 0.12
    assert np.mean(stats.norm.cdf(tango_z(*few, 600, margin)) <= 0.05) < 0.06


# --------------------------------------------------------------------------- libraries as oracles


@given(st.integers(0, 60), st.integers(0, 60))
def test_statsmodels_agrees_with_mcnemar(lost, gained):
    table = [[0, lost], [gained, 0]]
    if lost + gained:
        two_sided = mcnemar(table, exact=True).pvalue
        assert two_sided == pytest.approx(
            min(1.0, 2 * min(worse_p(lost, gained), worse_p(gained, lost)))
        )
        # At a drop of 0 the score statistic is McNemar's, whatever n.
        chi_square = mcnemar(table, exact=False, correction=False).statistic
        assert tango_z(lost, gained, 5000, 0.0) ** 2 == pytest.approx(chi_square)


def test_scipy_agrees_with_the_bootstrap_of_the_drop():
    random = np.random.default_rng(4)
    labels = random.integers(0, 3, 600)
    models = [np.where(random.random(600) < 0.15, random.integers(0, 3, 600), labels) for _ in "ab"]
    ours = paired_bootstrap(labels, *models, 3)["accuracy"]
    right = [(model == labels).astype(float) for model in models]
    theirs = stats.bootstrap(
        right,
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    # Standard error of a 2.5 % quantile of 2,000 draws: sqrt(0.025 · 0.975 / 2000) / density
    # ≈ 0.06 sd; four of ours and of theirs together.
    error = 4 * 0.08 * theirs.standard_error
    assert np.quantile(ours, 0.025) == pytest.approx(theirs.confidence_interval.low, abs=error)
    assert np.quantile(ours, 0.975) == pytest.approx(theirs.confidence_interval.high, abs=error)
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.1)
