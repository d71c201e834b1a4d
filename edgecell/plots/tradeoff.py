"""Cost against quality: one labelled point per model, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from edgecell.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    short,
    tidy,
)

_LOOKS = {
    "float32": (INK, "s"),
    "float16": (BLUE, "D"),
    "dynamic": (ORANGE, "^"),
    "int8": (VERMILION, "o"),
    "int16x8": (PURPLE, "v"),
}
_OTHER_LOOKS = ((GREEN, "P"), (SKY, "X"), (MUTED, "h"))


@dataclass(frozen=True)
class Point:
    """One model. `group` chooses colour and marker; intervals are (low, high) in the axis' unit."""

    label: str
    x: float
    y: float
    group: str = ""
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


def tradeoff(points: Sequence[Point], *, x: str, y: str, title: str) -> Figure:
    """Scatter of `points`; the x axis is logarithmic where it spans more than a factor of 10."""
    figure = new_figure(4.6)
    axes = figure.subplots()
    looks = looks_of([point.group for point in points])
    for point in points:
        color, marker = looks[point.group]
        axes.errorbar(
            point.x,
            point.y,
            xerr=arms(point.x, point.x_interval),
            yerr=arms(point.y, point.y_interval),
            color=color,
            marker=marker,
            markersize=7.5,
            markeredgecolor="white",
            capsize=3,
            elinewidth=1.3,
        )
    tidy(axes, title=title, x=x, y=y, grid="both")
    fit_x(axes, [point.x for point in points])
    place_labels(figure, axes, points, [looks[point.group][0] for point in points])
    return figure


def looks_of(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group; precisions look the same in every figure."""
    looks = dict(_LOOKS)
    for group in groups:
        if group not in looks:
            looks[group] = _OTHER_LOOKS[(len(looks) - len(_LOOKS)) % len(_OTHER_LOOKS)]
    return looks


def fit_x(axes: Axes, values: Sequence[float]) -> None:
    """From 0, or logarithmic where the values span more than a factor of 10."""
    axes.margins(x=0.2, y=0.18)
    if min(values, default=0.0) > 0 and max(values) / min(values) > 10:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))


def arms(value: float, interval: tuple[float, float] | None) -> np.ndarray | None:
    """Lengths of the error bars of a value, (2, 1)."""
    if interval is None:
        return None
    return np.array([[max(value - interval[0], 0.0)], [max(interval[1] - value, 0.0)]])


def place_labels(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    colors: Sequence[str],
    unnamed: Sequence[Point] = (),
) -> list[Annotation]:
    """Put each label where it covers least and its own point is the nearest; `unnamed` have none.

    Works in pixels, greedily from the most crowded point on. A label that had to move away gets a
    thin line to its point.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # later changes must not move what was placed
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer)
    scale = figure.dpi / 72
    centers = axes.transData.transform([(point.x, point.y) for point in points]).reshape(-1, 2)
    taken = [_around(center, 6 * scale) for center in centers]
    taken += [box for point in points for box in _whiskers(axes, point)]
    others = axes.transData.transform([(p.x, p.y) for p in unnamed]).reshape(-1, 2)
    taken += [_around(center, 5 * scale) for center in others]
    crowding = [(np.hypot(*(centers - center).T) < 60 * scale).sum() for center in centers]
    placed: list[Annotation] = []
    for index in np.argsort(crowding, kind="stable")[::-1]:
        point, center = points[index], centers[index]
        note = axes.annotate(
            short(point.label, 40),
            (point.x, point.y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=colors[index],
            ha="center",
            va="center",
        )
        size = note.get_window_extent(renderer)
        rivals = np.delete(centers, index, axis=0)
        boxes = {
            offset: _box(center, offset, size, scale)
            for offset in _candidates(size.width / scale, size.height / scale)
        }
        best = min(
            boxes,
            key=lambda offset: (
                _cost(boxes[offset], taken, frame)
                + _ambiguity(boxes[offset], center, rivals)
                + np.hypot(*offset)
            ),
        )
        note.set_position(best)
        if _distance(boxes[best], center) > 12 * scale:
            axes.annotate(
                "",
                (point.x, point.y),
                xytext=(best[0] * 0.8, best[1] * 0.8),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.7},
            )
        taken.append(_box(center, best, size, scale))
        placed.append(note)
    return placed


def _candidates(width: float, height: float) -> list[tuple[float, float]]:
    """Offsets in points: eight directions, at growing distances."""
    found = []
    for distance, (across, up) in product((7, 18, 32, 50, 72), product((1, 0, -1), (1, -1, 0))):
        if across or up:
            found.append((across * (width / 2 + distance), up * (height / 2 + distance * 0.8)))
    return found


def _box(center: np.ndarray, offset: tuple[float, float], size: Bbox, scale: float) -> Bbox:
    middle = center + np.array(offset) * scale
    half = np.array([size.width, size.height]) / 2 + 1
    return Bbox([middle - half, middle + half])


def _around(center: np.ndarray, radius: float) -> Bbox:
    return Bbox([center - radius, center + radius])


def _whiskers(axes: Axes, point: Point) -> list[Bbox]:
    down, up = point.y_interval or (point.y, point.y)
    left, right = point.x_interval or (point.x, point.x)
    corners = [(point.x, down), (point.x, up), (left, point.y), (right, point.y)]
    ends = axes.transData.transform(corners)
    return [Bbox([ends[0] - [2, 0], ends[1] + [2, 0]]), Bbox([ends[2] - [0, 2], ends[3] + [0, 2]])]


def _distance(box: Bbox, spot: np.ndarray) -> float:
    """Pixels from `spot` to the nearest edge of `box`, 0 inside."""
    return float(
        np.hypot(
            *np.maximum([box.x0 - spot[0], box.y0 - spot[1]], 0)
            + np.maximum([spot[0] - box.x1, spot[1] - box.y1], 0)
        )
    )


def _ambiguity(box: Bbox, own: np.ndarray, others: np.ndarray) -> float:
    """A fine in pixels for a label that is nearer to another point than to its own."""
    nearest = min((_distance(box, other) for other in others), default=np.inf)
    return 400.0 if nearest < _distance(box, own) else 0.0


def _cost(box: Bbox, taken: list[Bbox], frame: Bbox) -> float:
    """Covered pixels, outside of the frame included."""
    covered = sum(_area(Bbox.intersection(box, other)) for other in taken)
    inside = _area(Bbox.intersection(box, frame))
    return covered + (box.width * box.height - inside)


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else box.width * box.height
