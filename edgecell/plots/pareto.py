"""Many models, two of their costs: which nobody beats, where the limits are, which one is chosen."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgecell.plots.style import GREEN, INK, MUTED, new_figure, tidy
from edgecell.plots.tradeoff import Point, arms, fit_x, looks_of, place_labels

_SHADE = "#f1f3f5"


def pareto(
    points: Sequence[Point],
    front: Collection[str],
    *,
    x: str,
    y: str,
    title: str,
    chosen: str | None = None,
    most: float | None = None,
    least: float | None = None,
) -> Figure:
    """Scatter of `points`: filled and named where the label is in `front`, hollow elsewhere.

    `chosen` gets a ring. What is over `most` in x or under `least` in y is shaded.
    """
    figure = new_figure(4.9)
    axes = figure.subplots()
    looks = looks_of([point.group for point in points])
    for point in points:
        color, marker = looks[point.group]
        on = point.label in front
        axes.errorbar(
            point.x,
            point.y,
            xerr=arms(point.x, point.x_interval) if on else None,
            yerr=arms(point.y, point.y_interval) if on else None,
            color=color,
            marker=marker,
            markersize=7.5 if on else 5.5,
            markerfacecolor=color if on else "white",
            markeredgecolor="white" if on else color,
            capsize=3,
            elinewidth=1.1,
            zorder=3 if on else 2,
        )
    for point in points:
        if point.label == chosen:
            axes.scatter(
                [point.x],
                [point.y],
                s=230,
                facecolors="none",
                edgecolors=GREEN,
                linewidths=2.2,
                zorder=4,
            )
    tidy(axes, title=title, x=x, y=y, grid="both")
    fit_x(axes, [point.x for point in points] + ([] if most is None else [most]))
    _limits(axes, most, least)
    _legend(axes, points, looks, chosen is not None)
    named = [point for point in points if point.label in front or point.label == chosen]
    unnamed = [point for point in points if point not in named]
    begin = _shared_beginning([point.label for point in points])
    colors = [looks[point.group][0] for point in named]
    named = [replace(point, label=point.label[begin:]) for point in named]
    place_labels(figure, axes, named, colors, unnamed)
    return figure


def _limits(axes: Axes, most: float | None, least: float | None) -> None:
    """Grey where a limit is broken, the view left as it is unless the limit lies beside it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if most is not None:
        right = max(right, most * 1.05)
        axes.axvspan(most, right, color=_SHADE, zorder=0)
        axes.axvline(most, color=MUTED, linewidth=1, linestyle="--", zorder=1)
    if least is not None:
        low, high = min(bottom, least), max(top, least)
        margin = 0.05 * (high - low)
        bottom = low - margin if least <= bottom else bottom
        top = high + margin if least >= top else top
        axes.axhspan(bottom, least, color=_SHADE, zorder=0)
        axes.axhline(least, color=MUTED, linewidth=1, linestyle="--", zorder=1)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _legend(
    axes: Axes, points: Sequence[Point], looks: dict[str, tuple[str, str]], ringed: bool
) -> None:
    def key(label: str, **look: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **({"markersize": 7} | look))

    groups = dict.fromkeys(point.group for point in points)
    keys = [key(group, color=looks[group][0], marker=looks[group][1]) for group in groups]
    hollow = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": INK}
    keys.append(key("not on the front", **hollow))
    if ringed:
        ring = {"marker": "o", "markersize": 11, "markeredgewidth": 2.0, "markerfacecolor": "none"}
        keys.append(key("the answer", markeredgecolor=GREEN, **ring))
    axes.legend(
        handles=keys,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=min(len(keys), 6),
        fontsize=8.5,
        frameon=False,
    )


def _shared_beginning(labels: Sequence[str]) -> int:
    """Characters that all names begin with, up to a hyphen: they would say nothing on the figure."""
    return os.path.commonprefix(list(labels)).rfind("-") + 1
