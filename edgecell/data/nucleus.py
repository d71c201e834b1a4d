"""Shapes of cell nuclei as signed distances (negative inside), joined by a smooth minimum.

Coordinates ``u`` and ``v`` are in units of the cell's radius, with the cell around the origin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Pair = tuple[float, float]


def nucleus_distance(shape: str, u: Array, v: Array, rng: np.random.Generator) -> Array:
    """Signed distance to a nucleus in a cell of radius 1 around the origin."""
    if shape == "chain":
        if rng.random() < 0.12:  # a band form, not yet segmented
            return _arc(u, v, 0.45, float(rng.uniform(1.2, 1.9)), 0.20)
        return _chain(u, v, int(rng.choice([2, 3, 3, 4, 4, 5])), rng)
    if shape == "two lobes":
        return _chain(u, v, 3 if rng.random() < 0.15 else 2, rng)
    if shape == "blotch":
        parts = [
            _disc(u, v, rng.uniform(-0.28, 0.28), rng.uniform(-0.28, 0.28), rng.uniform(0.42, 0.58))
            for _ in range(int(rng.integers(2, 4)))
        ]
        return _join(parts, 0.10)
    if shape == "off-centre disc":
        return _disc(u, v, rng.uniform(0, 0.30), 0, rng.uniform(0.46, 0.66))
    if shape == "full disc":
        round_ = _disc(u, v, rng.uniform(0, 0.12), 0, rng.uniform(0.76, 0.90))
        dent = _disc(u, v, 1.02, rng.uniform(-0.3, 0.3), 0.25)
        return _carve(round_, dent) if rng.random() < 0.3 else round_
    if shape == "oval":
        off = rng.uniform(0.12, 0.30)
        oval = _disc((u - off) * 1.15, v * 0.92, 0, 0, rng.uniform(0.58, 0.72))
        dent = _disc(u, v, off - rng.uniform(0.75, 0.95), rng.uniform(-0.2, 0.2), 0.36)
        return _carve(oval, dent) if rng.random() < 0.55 else oval
    if shape == "horseshoe":
        round_ = _disc(u * 1.08, v, 0, 0, rng.uniform(0.70, 0.84))
        at_u, at_v = -rng.uniform(0.52, 0.80), rng.uniform(-0.25, 0.25)
        return _carve(round_, _disc(u, v, at_u, at_v, rng.uniform(0.36, 0.50)))
    raise ValueError(f"no nucleus shape {shape!r}")


def _chain(u: Array, v: Array, lobes: int, rng: np.random.Generator) -> Array:
    """Lobes on an arc, neighbours tied by a thread."""
    step = {2: 2.3, 3: 1.55, 4: 1.2, 5: 1.0}[lobes] * rng.uniform(0.88, 1.1)
    ring = rng.uniform(0.38, 0.48)
    size = {2: 0.37, 3: 0.30, 4: 0.26, 5: 0.23}[lobes]
    at = (np.arange(lobes) - (lobes - 1) / 2) * step + rng.normal(0, 0.12, lobes)
    radii = ring * rng.uniform(0.85, 1.15, lobes)
    points = [(float(r * np.cos(a)), float(r * np.sin(a))) for a, r in zip(at, radii, strict=True)]
    parts = [_disc(u, v, px, py, size * rng.uniform(0.88, 1.15)) for px, py in points]
    for one, other in zip(points, points[1:], strict=False):
        parts.append(_thread(u, v, one, other, rng.uniform(0.05, 0.10)))
    return _join(parts, 0.035)


def _disc(u: Array, v: Array, at_u: float, at_v: float, radius: float) -> Array:
    du, dv = u - np.float32(at_u), v - np.float32(at_v)
    return np.sqrt(du * du + dv * dv) - np.float32(radius)


def _arc(u: Array, v: Array, ring: float, half: float, width: float) -> Array:
    beyond = np.maximum(np.abs(np.arctan2(v, u)) - np.float32(half), 0)
    return np.hypot(np.hypot(u, v) - np.float32(ring), np.float32(ring) * beyond) - np.float32(
        width
    )


def _thread(u: Array, v: Array, one: Pair, other: Pair, width: float) -> Array:
    eu, ev = other[0] - one[0], other[1] - one[1]
    along = ((u - one[0]) * eu + (v - one[1]) * ev) / (eu * eu + ev * ev)
    along = np.clip(along, 0, 1)
    return np.hypot(u - one[0] - along * eu, v - one[1] - along * ev) - np.float32(width)


def _join(parts: list[Array], k: float) -> Array:
    """Polynomial smooth minimum: parts nearer than ``k`` flow together."""
    joined = parts[0]
    for part in parts[1:]:
        near = np.maximum(k - np.abs(joined - part), 0)
        joined = np.minimum(joined, part) - near * near / (4 * k)
    return joined


def _carve(shape: Array, hole: Array) -> Array:
    return -_join([-shape, hole], 0.10)
