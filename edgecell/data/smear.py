"""Drawing one blood cell in its field of view: geometry, stain and camera, all in NumPy.

Coordinates run from -1 to 1 over the picture; lengths of a nucleus are in units of its cell's
radius. Outlines are bent by a slow random field so that none is a circle. Colours are RGB fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.data.nucleus import Array, nucleus_distance

Pair = tuple[float, float]

_GRIDS = {"slow": 4, "coarse": 13, "fine": 24}


@dataclass(frozen=True)
class Canvas:
    """The fixed part of every picture of one size: coordinates and smoothing matrices.

    ``side`` is the drawing resolution, ``size`` the picture's; ``side`` is a multiple of it.
    """

    size: int
    side: int
    x: Array
    y: Array
    spread: dict[str, Array]

    @classmethod
    def of(cls, size: int) -> Canvas:
        """The canvas for pictures of ``size`` × ``size``, drawn at three times that or, when large, less."""
        side = size * (3 if size <= 32 else 2 if size <= 64 else 1)
        axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
        spread = {}
        for name, knots in _GRIDS.items():
            at = np.linspace(-1.1, 1.1, knots)
            weight = np.exp(-0.5 * ((axis[:, None] - at) / (0.5 * (at[1] - at[0]))) ** 2)
            weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))  # the field keeps variance 1
            spread[name] = weight.astype(np.float32)
        return cls(size, side, axis[None, :], axis[:, None], spread)

    def field(self, name: str, rng: np.random.Generator) -> Array:
        """Smooth noise (side, side), mean 0, variance 1, at the named grain."""
        weight = self.spread[name]
        knots = rng.standard_normal((weight.shape[1], weight.shape[1]), dtype=np.float32)
        return weight @ knots @ weight.T

    @property
    def pixel(self) -> float:
        """Width of one drawing pixel."""
        return 2.0 / self.side


@dataclass(frozen=True)
class Kind:
    """How a class looks; pairs are ranges that are drawn from uniformly.

    ``radius``: of the cell; ``ragged``: how far the outline is bent; ``cytoplasm`` and ``grain``:
    colours of the cell's body and of its granules; ``granules``: their density (0 none, 1 packed);
    ``grain_size``: "coarse" or "fine"; ``nucleus``: one of the shapes of :func:`nucleus_distance`;
    ``chromatin``: nucleus colour; ``lacy``: contrast of its texture; ``overlay``: granules also lie
    on the nucleus; ``vacuoles``: density of pale bubbles.
    """

    radius: Pair
    ragged: Pair
    cytoplasm: tuple[float, float, float]
    nucleus: str
    chromatin: tuple[float, float, float] = (0.30, 0.16, 0.47)
    lacy: float = 0.10
    grain: tuple[float, float, float] = (0.5, 0.3, 0.55)
    granules: Pair = (0.0, 0.0)
    grain_size: str = "fine"
    overlay: bool = False
    vacuoles: float = 0.0


KINDS = {
    "basophil": Kind(
        (0.46, 0.66), (0.02, 0.05), (0.68, 0.54, 0.74), "blotch", lacy=0.12,
        grain=(0.24, 0.12, 0.40), granules=(0.45, 0.8), grain_size="coarse", overlay=True,
    ),
    "eosinophil": Kind(
        (0.48, 0.68), (0.01, 0.04), (0.87, 0.66, 0.66), "two lobes",
        grain=(0.80, 0.42, 0.40), granules=(0.55, 0.95), grain_size="coarse",
    ),
    "erythroblast": Kind(
        (0.32, 0.50), (0.01, 0.03), (0.70, 0.62, 0.70), "off-centre disc", (0.24, 0.13, 0.38), 0.06,
    ),
    "immature granulocyte": Kind(
        (0.54, 0.76), (0.02, 0.05), (0.76, 0.64, 0.80), "oval", (0.40, 0.22, 0.58), 0.10,
        grain=(0.52, 0.32, 0.62), granules=(0.2, 0.6),
    ),
    "lymphocyte": Kind(
        (0.36, 0.54), (0.02, 0.05), (0.68, 0.66, 0.84), "full disc", (0.29, 0.16, 0.48), 0.10,
    ),
    "monocyte": Kind(
        (0.54, 0.78), (0.04, 0.08), (0.70, 0.65, 0.78), "horseshoe", (0.42, 0.25, 0.58), 0.16,
        grain=(0.55, 0.42, 0.66), granules=(0.0, 0.25), vacuoles=0.35,
    ),
    "neutrophil": Kind(
        (0.48, 0.68), (0.01, 0.04), (0.87, 0.74, 0.78), "chain",
        grain=(0.76, 0.54, 0.62), granules=(0.15, 0.5),
    ),
    "platelet": Kind(
        (0.13, 0.27), (0.02, 0.05), (0.70, 0.56, 0.76), "none",
        grain=(0.42, 0.24, 0.56), granules=(0.5, 0.9),
    ),
}  # fmt: skip


def draw(kind: Kind, canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture, uint8 (size, size, 3)."""
    picture = np.empty((canvas.side, canvas.side, 3), np.float32)
    picture[:] = (0.96, 0.90, 0.86)
    radius = float(rng.uniform(*kind.radius))
    reach = 0.08 + 0.5 * (1 - radius)  # a large cell stays nearer the middle
    centre = rng.uniform(-reach, reach, 2)
    _red_cells(picture, canvas, centre, radius, rng)
    _stray_platelets(picture, canvas, centre, radius, rng)
    _cell(picture, kind, canvas, centre, radius, rng)
    return _photograph(picture, canvas, rng)


def _cell(
    picture: Array,
    kind: Kind,
    canvas: Canvas,
    centre: NDArray,
    radius: float,
    rng: np.random.Generator,
) -> None:
    angle, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.22)
    bend = float(rng.uniform(*kind.ragged)) * (0.6 + 0.7 * radius)
    dx = canvas.x - np.float32(centre[0]) + bend * canvas.field("slow", rng)
    dy = canvas.y - np.float32(centre[1]) + bend * canvas.field("slow", rng)
    cos, sin = np.float32(np.cos(angle) / radius), np.float32(np.sin(angle) / radius)
    u, v = (cos * dx + sin * dy) * np.float32(squeeze), cos * dy - sin * dx
    soft = canvas.pixel / radius
    body = _cover(np.sqrt(u * u + v * v) - 1, soft * 1.5)
    fine, coarse = canvas.field("fine", rng), canvas.field("coarse", rng)
    density = float(rng.uniform(0.75, 1.0))
    _lay(picture, _shade(kind.cytoplasm, rng, 0.045) + 0.02 * coarse[..., None], body * density)
    speckle = fine if kind.grain_size == "fine" else 0.6 * coarse + 0.8 * fine
    amount = float(rng.uniform(*kind.granules))
    grains = body * np.clip(1.6 * (speckle - 1.2 + 2.0 * amount), 0, 1) if amount > 0.02 else None
    grain_colour = _shade(kind.grain, rng, 0.05)
    if grains is not None:
        _lay(picture, grain_colour, 0.75 * grains)
    if kind.vacuoles:
        _lay(
            picture,
            np.array((0.93, 0.87, 0.90), np.float32),
            body * np.clip(2 * (fine - 2.4 + 2 * kind.vacuoles), 0, 0.8),
        )
    if kind.nucleus != "none":
        edge = 3.0 if kind.overlay else 1.5
        nucleus = _cover(nucleus_distance(kind.nucleus, u, v, rng), soft * edge) * body
        texture = (1 + kind.lacy * (0.6 * coarse + 0.8 * fine))[..., None]
        _lay(
            picture,
            _shade(kind.chromatin, rng, 0.04) * texture,
            nucleus * float(rng.uniform(0.85, 1.0)),
        )
    if kind.overlay and grains is not None:
        _lay(picture, grain_colour, 0.55 * grains)


def _cover(distance: Array, soft: float) -> Array:
    """Coverage 0 … 1 across an edge of half-width ``soft``."""
    return np.clip(0.5 - distance / np.float32(2 * soft), 0, 1)


def _lay(picture: Array, colour: Array, cover: Array) -> None:
    picture += cover[..., None] * (colour - picture)


def _shade(colour: tuple[float, float, float], rng: np.random.Generator, spread: float) -> Array:
    """The colour, lighter or darker and a little off in hue."""
    shifted = np.array(colour) * rng.uniform(0.88, 1.10) + rng.normal(0, spread, 3)
    return np.clip(shifted, 0.04, 1.0).astype(np.float32)


def _red_cells(
    picture: Array, canvas: Canvas, centre: NDArray, radius: float, rng: np.random.Generator
) -> None:
    colour = _shade((0.84, 0.68, 0.64), rng, 0.03)
    pallor = rng.uniform(0.35, 0.85)
    for _ in range(int(rng.integers(2, 10))):
        own = rng.uniform(0.27, 0.37)
        at = rng.uniform(-1.15, 1.15, 2)
        if np.hypot(*(at - centre)) < radius + 0.6 * own and rng.random() < 0.9:
            continue
        window, dx, dy = _window(canvas, at, own * 1.2)
        if dx.size == 0 or dy.size == 0:
            continue
        dx = dx * rng.uniform(0.9, 1.1)
        distance = np.sqrt(dx * dx + dy * dy) / np.float32(own)
        dip = 1 - pallor * np.exp(-((distance / 0.45) ** 2))
        _lay(picture[window], colour, _cover(distance - 1, canvas.pixel / own * 1.5) * dip * 0.85)


def _stray_platelets(
    picture: Array, canvas: Canvas, centre: NDArray, radius: float, rng: np.random.Generator
) -> None:
    for _ in range(int(rng.choice([0, 0, 0, 1, 2]))):
        own, at = rng.uniform(0.07, 0.17), rng.uniform(-1, 1, 2)
        if np.hypot(*(at - centre)) < radius + own:
            continue
        window, dx, dy = _window(canvas, at, own * 1.3)
        distance = np.hypot(dx * rng.uniform(0.8, 1.2), dy) / np.float32(own)
        _lay(picture[window], _shade((0.52, 0.36, 0.64), rng, 0.05), _cover(distance - 1, 0.25))


def _window(canvas: Canvas, at: NDArray, reach: float) -> tuple[tuple[slice, slice], Array, Array]:
    """The part of the picture around ``at``, and the coordinates in it relative to ``at``."""
    low = np.clip(((at - reach + 1) / 2 * canvas.side).astype(int), 0, canvas.side)
    high = np.clip(((at + reach + 1) / 2 * canvas.side).astype(int) + 1, 0, canvas.side)
    columns, rows = slice(low[0], high[0]), slice(low[1], high[1])
    return (
        (rows, columns),
        canvas.x[:, columns] - np.float32(at[0]),
        canvas.y[rows] - np.float32(at[1]),
    )


def _photograph(picture: Array, canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Stain strength, lamp, focus and sensor; then the picture's own resolution."""
    factor = canvas.side // canvas.size
    parts = [picture[i::factor, j::factor] for i in range(factor) for j in range(factor)]
    small = np.sum(parts, axis=0) / np.float32(factor * factor)
    small = _blur(small, float(rng.uniform(0.15, 0.75)) * canvas.size / 28)
    stain = rng.uniform(0.72, 1.35) * rng.uniform(0.90, 1.12, 3)  # exponent = optical density
    small = np.clip(small, 0.01, 1.0) ** stain.astype(np.float32)
    lamp = rng.uniform(0.82, 1.05) * rng.uniform(0.93, 1.05, 3)
    axis = np.linspace(-1, 1, canvas.size)
    tilt = rng.normal(0, 0.05, 2)
    shade = 1 + tilt[0] * axis[None, :] + tilt[1] * axis[:, None]
    small = small * (shade[..., None] * lamp).astype(np.float32)
    noise = rng.standard_normal(small.shape, dtype=np.float32) * np.float32(
        rng.uniform(0.005, 0.025)
    )
    return (np.clip(small + noise, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blur(picture: Array, sigma: float) -> Array:
    """Gaussian blur, cut off at 3 sd; the border is repeated."""
    reach = max(1, math.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for _ in range(2):  # rows, then columns
        padded = np.pad(picture, ((reach, reach), (0, 0), (0, 0)), mode="edge")
        shifted = (tap * padded[k : k + len(picture)] for k, tap in enumerate(taps))
        picture = sum(shifted, np.zeros_like(picture)).transpose(1, 0, 2)
    return picture
