"""Activation ranges from histograms: what an int8 tensor may clip so that the rest is finer.

A range that spans the largest value ever seen spends most of its 255 steps on a few outliers. The
linear bottlenecks of MobileNetV2 have such tails; behind a ReLU6 there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.lowering import CalibratedModel
from converters.scaling import InputScaling
from edgecell.errors import ConvertError
from edgecell.runtime import ActivationProbe

BINS = 4096
"""16 bins to a step of the widest range: rounding is resolved, and a tensor takes 32 kB."""

_STEPS = 255
_SHRINK = np.linspace(1.0, 0.2, 41)

Range = tuple[float, float]


@dataclass(frozen=True)
class Histogram:
    """How often an activation took which value: ``counts`` int64 (BINS,) evenly over low..high."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin (BINS,)."""
        step = (self.high - self.low) / len(self.counts)
        return self.low + step * (np.arange(len(self.counts), dtype=np.float64) + 0.5)


def histograms(
    calibrated: CalibratedModel, images: NDArray[np.uint8], scaling: InputScaling
) -> dict[str, Histogram]:
    """The histogram of every activation with a range, over ``images`` uint8 (N, H, W, 3).

    The calibrated range frames the histogram, so ``images`` should be those it was calibrated on.
    Input and output are left out: the range of either is known beforehand.

    Raises:
        ConvertError: no images.
    """
    if len(images) == 0:
        raise ConvertError("ranges need calibration images and got none; name the data with --data")
    probe = ActivationProbe(calibrated.flatbuffer)
    ports = {*probe.file.inputs, *probe.file.outputs}
    watched = {
        tensor.index: calibrated.ranges[tensor.name]
        for tensor in probe.file.tensors
        if tensor.name in calibrated.ranges and tensor.index not in ports
    }
    counts = {index: np.zeros(BINS, np.int64) for index in watched}
    for image in images:
        probe.run(scaling.apply(image)[None])
        for index, (low, high) in watched.items():
            place = (probe.value(index).ravel() - np.float32(low)) * np.float32(BINS / (high - low))
            place = place.clip(0, BINS - 1).astype(np.int32)
            counts[index] += np.bincount(place, minlength=BINS)
    return {
        probe.file.tensors[index].name: Histogram(low, high, counts[index])
        for index, (low, high) in watched.items()
    }


def percentile_range(histogram: Histogram, percent: float) -> Range:
    """The range that holds ``percent`` of the values, as many cut off at either end; 0 is in it.

    ``percent`` 99.9 cuts 0.05 % below and above. An end at 0 (behind a ReLU) is not cut, all of the
    share is then taken from the other.
    """
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    cut = 1 - percent / 100
    one_sided = histogram.low >= 0 or histogram.high <= 0
    below = 0.0 if histogram.low >= 0 else cut if one_sided else cut / 2
    above = 0.0 if histogram.high <= 0 else cut if one_sided else cut / 2
    edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    low = edges[int(np.searchsorted(share, below, side="right"))] if below else histogram.low
    high = edges[int(np.searchsorted(share, 1 - above)) + 1] if above else histogram.high
    return _with_zero(float(low), float(high), histogram)


def mse_range(histogram: Histogram) -> Range:
    """The range whose 8-bit grid has the least mean squared error over the histogram.

    Both ends shrink in 41 steps from 100 % to 20 % of what was seen; first together, then each
    alone until nothing improves.
    """
    best = (1.0, 1.0)
    least = np.inf
    for share in _SHRINK:
        error = _shrunk_error(histogram, share, share)
        if error < least:
            best, least = (share, share), error
    improved = True
    while improved:
        improved = False
        for candidate in [(share, best[1]) for share in _SHRINK] + [
            (best[0], share) for share in _SHRINK
        ]:
            error = _shrunk_error(histogram, *candidate)
            if error < least * (1 - 1e-9):
                best, least, improved = candidate, error, True
    return _with_zero(histogram.low * best[0], histogram.high * best[1], histogram)


def range_error(histogram: Histogram, low: float, high: float) -> float:
    """Mean squared error of rounding and clipping to 8 bits over low..high, zero on the grid."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        return float("inf")
    step = (high - low) / _STEPS
    zero = round(-low / step)
    values = histogram.centers()
    rounded = ((np.rint(values / step) + zero).clip(0, _STEPS) - zero) * step
    return float(((values - rounded) ** 2 * histogram.counts).sum() / histogram.counts.sum())


def _shrunk_error(histogram: Histogram, below: float, above: float) -> float:
    return range_error(histogram, histogram.low * below, histogram.high * above)


def choose_ranges(
    found: Mapping[str, Histogram], rule: Callable[[Histogram], Range]
) -> dict[str, Range]:
    """``rule`` applied to every histogram, for :meth:`CalibratedModel.with_ranges`."""
    return {name: rule(histogram) for name, histogram in found.items()}


def _with_zero(low: float, high: float, histogram: Histogram) -> Range:
    """Zero must be on the grid; a range that would be empty is left as it was seen."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if low < high else (histogram.low, histogram.high)
