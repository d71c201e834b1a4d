"""First and second moments of what each weighted layer sees, over the calibration images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.lowering import CalibratedModel
from converters.scaling import InputScaling
from converters.weighted import WeightedLayer, patches, weighted_layers
from edgecell.errors import ConvertError
from edgecell.runtime import ActivationProbe

POSITIONS = 64
"""Positions drawn from each image: neighbours say the same, 512 images give 30,000 rows."""

MAX_COLUMNS = 2304
"""Layers with more inputs get no covariance: it grows with the square (42 MB at this size)."""

_GATHERED = 32

Step = Callable[[], None]


@dataclass(frozen=True)
class Moments:
    """``mean`` (B, K) and ``covariance`` (B, K, K) of a layer's input patches, in the float graph.

    ``covariance`` is None for layers of more than :data:`MAX_COLUMNS` inputs.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64] | None
    rows: int


class _Sums:
    """Sums over patches; they are gathered first, for one large product instead of many small ones."""

    def __init__(self, blocks: int, columns: int) -> None:
        self.waiting: list[NDArray[np.float32]] = []
        self.rows = 0
        self.first = np.zeros((blocks, columns))
        wide = columns > MAX_COLUMNS
        self.second = None if wide else np.zeros((blocks, columns, columns), np.float32)

    def add(self, seen: NDArray[np.float32]) -> None:
        self.waiting.append(seen)
        if len(self.waiting) >= _GATHERED:
            self._sum()

    def _sum(self) -> None:
        seen = np.concatenate(self.waiting)
        self.waiting.clear()
        self.rows += len(seen)
        self.first += seen.sum(axis=0, dtype=np.float64)
        if self.second is not None:
            blocks = np.ascontiguousarray(seen.transpose(1, 0, 2))  # (B, rows, K)
            self.second += blocks.transpose(0, 2, 1) @ blocks

    def moments(self) -> Moments:
        if self.waiting:
            self._sum()
        mean = self.first / self.rows
        if self.second is None:
            return Moments(mean, None, self.rows)
        # Sums of squares in float32: errors of 1e-6 of the squared mean, which the damping of the rounding
        # covers where inputs vary. Where they hardly do it takes what is below zero for zero.
        second = self.second.astype(np.float64) / self.rows
        return Moments(mean, second - mean[:, :, None] * mean[:, None, :], self.rows)


def input_moments(
    calibrated: CalibratedModel,
    images: NDArray[np.uint8],
    scaling: InputScaling,
    *,
    seed: int = 0,
    step: Step = lambda: None,
) -> dict[str, Moments]:
    """Layer name → moments of its input, over ``images`` uint8 (N, H, W, 3).

    ``seed`` draws the positions; ``step`` is called after each image.

    Raises:
        ConvertError: no images.
    """
    if len(images) == 0:
        raise ConvertError(
            "moments need calibration images and got none; name the data with --data"
        )
    layers = weighted_layers(calibrated.flatbuffer)
    probe = ActivationProbe(calibrated.flatbuffer)
    random = np.random.default_rng(seed)
    sums: dict[str, _Sums] = {}
    for image in images:
        probe.run(scaling.apply(image)[None])
        for layer in layers:
            seen = patches(layer, probe.value(layer.entry), POSITIONS, random)
            if layer.name not in sums:
                sums[layer.name] = _Sums(*seen.shape[1:])
            sums[layer.name].add(seen)
        step()
    return {name: each.moments() for name, each in sums.items()}


def channels_of(layer: WeightedLayer, moments: Moments) -> int:
    """Input channels of a layer, as :meth:`WeightedLayer.as_matrices` wants them."""
    return len(moments.mean) if layer.depthwise else 1
