"""What ``calibrate`` measures on: a split as two models see it; means and shares with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell import metrics
from edgecell.confidence import mean_interval
from edgecell.record import Measurement


@dataclass(frozen=True)
class Seen:
    """Labels (N,) of one split, or (N, C) of 0 and 1, and what a reference and a file say of it (N, C)."""

    labels: NDArray[np.int64]
    reference: NDArray[np.float32]
    converted: NDArray[np.float32]


def mean_of(values: NDArray[np.float64], unit: str) -> dict[str, Any]:
    """The mean of values (N,) with its 95 % t interval, in JSON types."""
    low, high = mean_interval(values)
    return Measurement(float(values.mean()), unit, len(values), low, high).to_json()


def share_of(hits: int, n: int, missing: str = "no images") -> dict[str, Any]:
    """``hits`` of ``n`` with Wilson's interval, in JSON types; ``missing`` is said where n is 0."""
    interval = metrics.wilson_interval(hits, n)
    if interval is None:
        return Measurement.missing("fraction", missing).to_json()
    return Measurement(hits / n, "fraction", n, *interval).to_json()
