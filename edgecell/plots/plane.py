"""Images as points in a plane, by class, and how pure their neighbourhoods are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from edgecell.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    headed,
    new_figure,
    short,
    tidy,
)

_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, "#B8A800", MUTED)
_SHAPES = "osD^vPX*"
_WIDE = 10.2
_COLUMNS = 4  # of panels, where each label has its own


def class_plane(
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    class_names: Sequence[str],
    *,
    title: str,
    note: str = "",
) -> Figure:
    """Points (N, 2) coloured by label (N,); a mistake has a black ring."""
    count = len(class_names)
    figure = new_figure(7.4, _WIDE)
    axes = figure.subplots()
    size = _point(len(points))
    for number in range(count):
        mine = labels == number
        look = _look(number)
        x, y = points[mine].T
        axes.scatter(x, y, s=size, linewidths=0, alpha=0.8, **look)
        x, y = points[mine & wrong].T
        axes.scatter(x, y, s=2.2 * size, linewidths=1.0, edgecolors=INK, zorder=3, **look)
    handles = [
        Line2D(
            [], [], linestyle="", markersize=6, **_look(number), label=_entry(name, labels, number)
        )
        for number, name in enumerate(class_names)
    ]
    ring = Line2D(
        [], [], linestyle="", marker="o", markersize=7, color="white", markeredgecolor=INK,
        label=f"mistake  ({int(wrong.sum())})",
    )  # fmt: skip
    figure.legend(
        handles=[*handles, ring],
        loc="outside right upper",
        ncols=1 + count // 28,
        fontsize=8.5 if count <= 28 else 6,
        frameon=False,
    )
    _bare(axes, title, note)
    _write_names(axes, points, labels, class_names)
    return figure


def label_planes(
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    said: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    title: str,
    note: str = "",
) -> Figure:
    """Of several labels (N, C), a panel for each: images that have it, and wrong decisions on it."""
    count = len(class_names)
    rows = -(-count // _COLUMNS)
    figure = new_figure(0.9 + 2.5 * rows, _WIDE)
    grid = figure.subplots(rows, min(count, _COLUMNS), squeeze=False).ravel()
    size = 0.4 * _point(len(points))
    for number, (axes, name) in enumerate(zip(grid[:count], class_names, strict=True)):
        has, wrong = labels[:, number] == 1, labels[:, number] != said[:, number]
        axes.scatter(*points[~has].T, s=size, color="#c9ced6", linewidths=0)
        axes.scatter(*points[has].T, s=size, color=BLUE, linewidths=0, alpha=0.85)
        axes.scatter(
            *points[wrong].T, s=2.2 * size, facecolors="none", edgecolors=INK, linewidths=0.6
        )
        remark = f"{int(has.sum())} have it, {int(wrong.sum())} mistakes"
        _bare(axes, short(name), remark, large=False)
    for axes in grid[count:]:
        axes.set_axis_off()
    figure.suptitle(
        f"{title}\n{note}" if note else title, x=0.01, ha="left", fontsize=11, color=INK
    )
    return figure


def purity_bars(found: Mapping[str, Any], *, title: str = "") -> Figure:
    """``found``: of :func:`edgecell.embedding.neighbourhoods`; a bar per class, chance as a line."""
    classes = found["classes"]
    count = len(classes)
    figure = new_figure(1.5 + max((0.36 if count <= 30 else 0.2) * count, 1.0))
    axes = figure.subplots()
    size = 8.5 if count <= 30 else 6
    for place, entry in enumerate(classes):
        purity = entry["purity"]
        if "value" not in purity:
            axes.text(0.01, place, purity["reason"], va="center", fontsize=size, color=MUTED)
            continue
        axes.barh(place, purity["value"], height=0.62, color=BLUE)
        axes.plot([purity["low"], purity["high"]], [place, place], color=INK, linewidth=1.3)
        axes.plot([entry["chance"]] * 2, [place - 0.36, place + 0.36], color=ORANGE, linewidth=2)
        if entry.get("best", 1.0) < 1:  # a class of few images has no more neighbours of its own
            axes.plot([entry["best"]] * 2, [place - 0.36, place + 0.36], color=MUTED, linewidth=2)
        axes.text(1.015, place, f"{purity['value']:.3f}", va="center", fontsize=size, color=INK)
    axes.set_yticks(range(count), [f"{short(e['name'])}  ({e['support']})" for e in classes])
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.1)
    axes.set_xticks(np.linspace(0, 1, 6))
    few = any(entry.get("best", 1.0) < 1 for entry in classes)
    tidy(
        axes,
        x="purity with its 95 % interval; orange: by chance" + ("; grey: at best" if few else ""),
        grid="x",
    )
    headed(
        figure, title or f"Of the {found['neighbours']} nearest images, the share of the same class"
    )
    axes.tick_params(axis="y", length=0, labelsize=9 if count <= 30 else 6.5)
    return figure


def _write_names(
    axes: Axes, points: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]
) -> None:
    """Each name above the middle of its points, large classes first, where no other name stands yet."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # only now the layout, and with it a text's place, is known
    taken: list[Bbox] = []
    frame = axes.get_window_extent()
    sizes = np.bincount(labels, minlength=len(class_names))
    for number in np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]:
        x, y = np.median(points[labels == number], axis=0)
        text = axes.annotate(
            short(class_names[number]),
            (float(x), float(y)),
            xytext=(0, 4),  # a class in one small clump would be hidden by its own name
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            fontweight="bold",
            color=INK,
            path_effects=[patheffects.withStroke(linewidth=2.6, foreground="white")],
            zorder=4,
        )
        box = text.get_window_extent()
        beyond = max(frame.x0 - box.x0, 0.0) - max(box.x1 - frame.x1, 0.0)
        if beyond:
            text.set_position((beyond * 72 / figure.dpi, 4))
            box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)


def _look(number: int) -> dict[str, Any]:
    return {
        "color": _COLORS[number % len(_COLORS)],
        "marker": _SHAPES[number // len(_COLORS) % len(_SHAPES)],
    }


def _entry(name: str, labels: NDArray[np.int64], number: int) -> str:
    return f"{short(name)}  ({int((labels == number).sum())})"


def _point(count: int) -> float:
    """Area of a point in square points: fewer images, larger points."""
    return float(np.clip(16_000 / max(count, 1), 6, 40))


def _bare(axes: Axes, title: str, note: str, *, large: bool = True) -> None:
    """An equal scale both ways and no ticks: the plane has no unit."""
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    tidy(axes, title=title if large else "", x=note)
    if not large:
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold", color=INK, pad=4)
        axes.set_xlabel(note, fontsize=8, color=MUTED)
