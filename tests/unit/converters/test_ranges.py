from __future__ import annotations

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.lowering import calibrate
from converters.ranges import (
    BINS,
    Histogram,
    choose_ranges,
    histograms,
    mse_range,
    percentile_range,
    range_error,
)
from edgecell.errors import ConvertError


def histogram(values: np.ndarray) -> Histogram:
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    counts, _ = np.histogram(values, BINS, (low, high))
    return Histogram(float(low), float(high), counts)


@pytest.fixture(scope="module")
def with_outliers() -> Histogram:
    """Ten million values of sd 1, one at either end of ±12: the tail of a linear bottleneck."""
    bulk = np.random.default_rng(0).normal(0, 1, 100_000)
    counts, _ = np.histogram(bulk, BINS, (-12.0, 12.0))
    counts = counts * 100
    counts[[0, -1]] += 1
    return Histogram(-12.0, 12.0, counts)


def test_squared_error_beats_min_max_where_there_are_outliers(with_outliers):
    low, high = mse_range(with_outliers)
    assert -8 < low < -3 and 3 < high < 8
    # Steps of 24/255: error 7.4e-4. Clipped at ±5.5: 1.6e-4, and 2 · 6.5² / 10^7 = 8e-6 for the two.
    full = range_error(with_outliers, -12.0, 12.0)
    assert full == pytest.approx((24 / 255) ** 2 / 12, rel=0.02)
    assert range_error(with_outliers, low, high) < 0.3 * full


def test_percentile_cuts_the_outliers_and_both_ends_alike(with_outliers):
    low, high = percentile_range(with_outliers, 99.9)
    # Half of 0.1 % of a normal distribution lies beyond 3.29 sd.
    assert low == pytest.approx(-3.29, abs=0.15) and high == pytest.approx(3.29, abs=0.15)


def test_the_end_at_zero_of_a_relu_is_never_cut():
    values = np.random.default_rng(0).normal(0, 1, 50_000).clip(0)
    low, high = percentile_range(histogram(values), 99.0)
    assert low == 0.0 and high == pytest.approx(np.quantile(values, 0.99), abs=0.01)
    assert mse_range(histogram(values))[0] == 0.0


@settings(max_examples=50)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=40))
def test_squared_error_is_never_worse_than_min_max_and_holds_zero(values):
    seen = np.array([*values, 1.0])
    found = histogram(seen)
    low, high = mse_range(found)
    assert low <= 0 <= high and low < high
    full = range_error(found, found.low, found.high)
    assert range_error(found, low, high) <= full * (1 + 1e-9)


def test_histograms_of_a_model_count_every_value():
    images = toys.images(6, seed=1)[0]
    calibrated, scaling = calibrate(toys.trained(), images)
    found = histograms(calibrated, images, scaling)
    assert calibrated.input_name not in found
    relu = next(found[name] for name in found if "re_lu/" in name or "re_lu;" in name)
    assert relu.counts.sum() == 6 * 8 * 8 * 8  # images, height, width, channels
    chosen = choose_ranges(found, lambda each: percentile_range(each, 99.0))
    assert set(chosen) == set(found) and set(found) < set(calibrated.ranges)
    with pytest.raises(ConvertError, match="ranges need calibration images"):
        histograms(calibrated, images[:0], scaling)
