"""The statistical gate as intervals: what the drop may be, against what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgecell.naming import GATE_DROPS
from edgecell.plots.classes import first_rows
from edgecell.plots.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    VERMILION,
    headed,
    legend_below,
    new_figure,
    short,
    tidy,
)

_BY_CLASS = (
    ("AUC", "auc_drop", VERMILION),
    ("recall", "recall_drop", ORANGE),
    ("F1", "f1_drop", BLUE),
)


def gate_intervals(gate: Mapping[str, Any], *, title: str = "") -> Figure:
    """Drops with their 95 % intervals: what the margin is about and macro-F1 above, each class below.

    `gate`: a gate report in JSON types. Right of zero is worse; dashed lines are margin and budget.
    Of very many classes those that lost most.
    """
    classes, some = first_rows(gate["classes"], _urgency)
    many = len(classes) > 30
    figure = new_figure(2.6 + (0.2 if many else 0.4) * len(classes))
    above, below = figure.subplots(2, 1, height_ratios=[2.2, max(0.8 * len(classes), 1.5)])
    wholes = [(name, key) for name, key in GATE_DROPS if key in gate]
    for place, (_, key) in enumerate(wholes):
        worse = gate.get(key.replace("_drop", "_worse"), False)
        _interval(above, place, gate[key], VERMILION if worse else BLUE)
    _limit(above, gate["margin"], "margin")
    _rows(above, [name for name, _ in wholes], 9)
    tidy(above, grid="x")
    above.locator_params(axis="x", nbins=6)  # beside long names more numbers run together
    said = f"{gate['verdict']} at a margin of {gate['margin']:g} (n = {gate['n']:,})"
    headed(figure, title or said)
    above.tick_params(axis="y", length=0)
    for place, row in enumerate(classes):
        shown = [each for each in _BY_CLASS if each[1] in row]
        for step, (_, key, color) in enumerate(shown):
            shift = 0.5 * (step - (len(shown) - 1) / 2) / len(shown)
            _interval(below, place + 1.2 * shift, row[key], color)
    for name, key, color in _BY_CLASS:
        if any("value" in row.get(key, {}) for row in classes):
            below.plot([], [], "o", color=color, markersize=5.5, label=name)
    _limit(below, gate["class_budget"], "budget")
    _rows(below, [f"{short(row['name'])}  ({row['support']})" for row in classes], 6 if many else 9)
    tidy(
        below,
        title=some and f"Classes{some}",
        x="drop, reference minus converted (right is worse)",
        grid="x",
    )
    below.tick_params(axis="y", length=0, labelsize=6 if many else 9)
    for label, row in zip(below.get_yticklabels(), classes, strict=True):
        label.set_color(VERMILION if row["worse"] else INK)
        label.set_fontweight("bold" if row["worse"] else "normal")
    legend_below(figure, below)
    return figure


def _urgency(row: Mapping[str, Any]) -> float:
    """Smallest for the class that lost most, largest for one without images."""
    drops = (row[key] for _, key, _ in _BY_CLASS if key in row)
    return -max((drop.get("value", -1.0) for drop in drops), default=0.0)


def _interval(axes: Axes, place: float, drop: Mapping[str, Any], color: str) -> None:
    if "reason" in drop:
        left = axes.get_yaxis_transform()  # from the left edge on: a long reason has room there
        axes.text(0.01, place, drop["reason"], va="center", fontsize=7, color=MUTED, transform=left)
        return
    if "low" in drop:  # where no answer differs resampling gives none
        axes.plot([drop["low"], drop["high"]], [place, place], color=color, linewidth=1.6)
    axes.plot(drop["value"], place, "o", color=color, markersize=5.5)


def _limit(axes: Axes, limit: float, name: str) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvline(limit, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"{name} {limit:g}",
        (limit, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=VERMILION,
    )


def _rows(axes: Axes, names: list[str], size: float) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.9)  # above the first row the limit has its name
