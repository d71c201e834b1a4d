"""The Pareto front against an oracle that asks every pair, and its shares against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.pareto import draw_costs, front_shares, pareto_front
from edgecell.record import Measurement

# Few values, so that ties and equal rows are common.
COSTS = st.integers(1, 12).flatmap(
    lambda k: arrays(np.float64, (k, 3), elements=st.integers(0, 4).map(float))
)


def oracle(costs: np.ndarray) -> list[bool]:
    """By the definition, pair by pair, in plain Python."""

    def dominates(a: list[float], b: list[float]) -> bool:
        pairs = list(zip(a, b, strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    rows = costs.tolist()
    return [not any(dominates(other, row) for other in rows) for row in rows]


@given(COSTS)
@settings(max_examples=300)
def test_the_front_is_the_oracle_s(costs):
    assert pareto_front(costs).tolist() == oracle(costs)


@given(COSTS, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_what_holds_of_every_front(costs, random):
    front = pareto_front(costs)
    assert front.any()
    # The best of each column, the rest deciding ties, is on it.
    for column in range(3):
        order = np.lexsort(
            (costs[:, (column + 2) % 3], costs[:, (column + 1) % 3], costs[:, column])
        )
        assert front[order[0]]
    # Neither the order of the models nor the units of the costs matter.
    order = random.sample(range(len(costs)), len(costs))
    assert pareto_front(costs[order]).tolist() == front[order].tolist()
    assert pareto_front(costs * [3.0, 0.5, 7.0] + 1).tolist() == front.tolist()
    # The front of the front is all of it, and who is dominated is so by somebody on it.
    assert pareto_front(costs[front]).all()
    for row in costs[~front]:
        assert any((one <= row).all() and (one < row).any() for one in costs[front])


def test_the_front_by_hand():
    costs = np.array([[1, 5, 1], [2, 2, 2], [5, 1, 1], [2, 2, 3], [2, 2, 2], [6, 6, 6.0]])
    assert pareto_front(costs).tolist() == [True, True, True, False, True, False]


def test_shares_count_the_draws():
    apart = np.array([[1, 2, 2.0], [2, 1, 1.0]])  # both on the front
    beaten = np.array([[1, 1, 1.0], [2, 1, 1.0]])  # only the first
    assert front_shares(np.stack([apart, apart, beaten, beaten])).tolist() == [1.0, 0.5]


def times(*ends: tuple[float, float, float]) -> list[Measurement]:
    return [Measurement(value, "ms", low=low, high=high) for low, value, high in ends]


def test_a_clear_case_is_sure_and_a_toss_up_is_half():
    quality = np.full((2000, 2), 0.9)  # equal, and equal bytes: time alone decides
    clear = draw_costs(quality, [10, 10], times((0.9, 1.0, 1.1), (1.9, 2.0, 2.1)))
    assert front_shares(clear).tolist() == [1.0, 0.0]
    even = front_shares(draw_costs(quality, [10, 10], times((0.9, 1.0, 1.1), (0.9, 1.0, 1.1))))
    # 2,000 fair tosses: the standard deviation of a share is 0.011.
    assert even[0] + even[1] == pytest.approx(1.0)
    assert even[0] == pytest.approx(0.5, abs=0.05)


def test_a_drawn_time_has_the_interval_that_was_measured():
    drawn = draw_costs(np.full((20_000, 1), 0.9), [7], times((1.8, 2.0, 2.2)), seed=3)
    assert drawn.shape == (20_000, 1, 3)
    assert np.unique(drawn[:, 0, 1]).tolist() == [7.0]
    assert drawn[:, 0, 0] == pytest.approx(0.1)
    low, high = np.quantile(drawn[:, 0, 2], [0.025, 0.975])
    # The ends of a quantile from 20,000 draws vary by about 0.003.
    assert (low, high) == (pytest.approx(1.8, abs=0.02), pytest.approx(2.2, abs=0.02))


def test_a_time_without_an_interval_stays():
    drawn = draw_costs(np.full((50, 1), 0.9), [7], [Measurement(2.0, "ms")])
    assert (drawn[:, 0, 2] == 2.0).all()
