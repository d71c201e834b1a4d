"""Tango's interval and test against a published example, an optimiser, and every possible outcome."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from edgecell.metrics.paired import (
    discordant,
    images_for_equivalence,
    images_for_worse,
    non_inferiority_p,
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
    assert non_inferiority_p(0, 0, 539, 0.005) < 0.05 < non_inferiority_p(0, 0, 537, 0.005)
    assert images_for_equivalence(0.0, 0.0, 0.005, 0.05) == pytest.approx(538, abs=1)


@pytest.mark.parametrize("discordance", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("drop", [0.0, 0.0025, 0.005])
@pytest.mark.parametrize("n", [538, 1712, 3424])
def test_coverage_over_every_outcome(n, discordance, drop):
    lost, gained, weight = outcomes(n, discordance, drop)
    covered = weight[np.abs(tango_z(lost, gained, n, drop)) <= Z].sum()
    assert 0.945 <= covered <= 0.96


@pytest.mark.parametrize("discordance", [0.005, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("n", [200, 538, 1712, 3424])
def test_a_model_at_the_margin_is_rarely_called_equivalent(n, discordance):
    lost, gained, weight = outcomes(n, discordance, 0.005)
    passed = tango_z(lost, gained, n, 0.005) <= -stats.norm.isf(0.05)
    assert weight[passed].sum() <= 0.052


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
