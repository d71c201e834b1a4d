"""One row per label, where several can hold for an image: how it is ranked, and what is decided at 0.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgecell.plots.classes import first_rows
from edgecell.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    SKY,
    WIDTH,
    headed,
    legend_below,
    new_figure,
    short,
    tidy,
)

_RATES = (
    ("recall", "recall", ORANGE),
    ("specificity", "specificity", GREEN),
    ("precision", "precision", SKY),
    ("f1", "F1", BLUE),
)
_COUNTS = (
    ("hits", "found"),
    ("missed", "missed"),
    ("false_alarms", "false\nalarms"),
    ("rejected", "rightly\nnot said"),
)
Rows = Sequence[Mapping[str, Any]]


def label_aucs(classes: Rows, mean: Mapping[str, Any], n: int, *, title: str = "") -> Figure:
    """AUC and average precision of each label with their 95 % intervals, the best ranked first.

    ``classes``: the "classes" of an evaluation of several labels; ``mean``: its "auc"; ``n`` images.
    Grey marks are what chance gives: 0.5, and for average precision the share of images with the
    label. A label that cannot be ranked says why. Of more than MOST_ROWS those of the lowest AUC.
    """
    chosen, some = first_rows(classes, _auc)
    rows = sorted(chosen, key=_auc, reverse=True)
    rows.sort(key=lambda row: "value" not in row["auc"])  # what cannot be ranked comes last
    many = len(rows) > 30
    figure = new_figure(1.7 + (0.2 if many else 0.34) * max(len(rows), 3))
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(rows):
        draw_interval(left, place, row["auc"], BLUE, "95 % interval" if place == 0 else None)
        draw_interval(right, place, row["average_precision"], BLUE)
    left.axvline(0.5, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    chance = [row["support"] / n for row in rows]
    right.plot(chance, range(len(rows)), "|", color=MUTED, markersize=11, markeredgewidth=1.6)
    if "value" in mean:
        left.axvline(mean["value"], color=ORANGE, linewidth=1.2, label=f"mean {mean['value']:.3f}")
    lowest = [row["auc"].get("low", row["auc"].get("value", 0.5)) for row in rows]
    left.set_xlim(min(0.45, min(lowest, default=0.5) - 0.03), 1.02)
    right.set_xlim(-0.02, 1.02)
    name_rows(left, rows, many)
    tidy(left, x="AUC", grid="x")
    tidy(right, x="average precision", grid="x")
    for axes in (left, right):
        axes.tick_params(axis="y", length=0, labelsize=6 if many else 9)
    headed(figure, title or f"How well each label is ranked{some}")
    legend_below(figure, left)
    return figure


def label_decisions(classes: Rows, *, title: str = "") -> Figure:
    """Recall, specificity, precision and F1 of each label at 0.5 with 95 % intervals, and its four counts.

    ``classes``: the "classes" of an evaluation of several labels. A missing figure draws no mark. Of more
    than MOST_ROWS those of the lowest F1.
    """
    rows, some = first_rows(classes, lambda row: row["f1"].get("value", 2.0))
    many = len(rows) > 30
    step, size = (0.3, 6.0) if many else (0.56, 9.0)
    figure = new_figure(1.9 + step * max(len(rows), 2), width=1.25 * WIDTH)
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=[5, 4])
    shifts = np.linspace(-0.3, 0.3, len(_RATES))
    for place, row in enumerate(rows):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="#f5f7fa", zorder=0, linewidth=0)
        for shift, (key, name, color) in zip(shifts, _RATES, strict=True):
            label = name if place == 0 else None
            draw_interval(axes, place + shift, row[key], color, label, silent=True)
        for at, (key, _) in enumerate(_COUNTS):
            text = f"{row['counts'][key]:,}"
            beside.text(at, place, text, ha="center", va="center", fontsize=size - 0.5, color=INK)
    for at, (_, name) in enumerate(_COUNTS):
        beside.text(at, -0.62, name, ha="center", va="bottom", fontsize=7.5, color=MUTED)
    beside.set_xlim(-0.6, len(_COUNTS) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    name_rows(axes, rows, many)
    tidy(axes, grid="x")
    headed(figure, title or f"What is decided about each label at 0.5{some}")
    axes.tick_params(axis="y", length=0, labelsize=size)
    beside.axis("off")
    figure.legend(
        *_legend(axes), loc="outside lower center", ncols=len(_RATES), fontsize=9, frameon=False
    )
    return figure


def _auc(row: Mapping[str, Any]) -> float:
    return float(row["auc"].get("value", 2.0))


def name_rows(axes: Axes, rows: Rows, many: bool) -> None:
    """The rows' labels and how many images have them, from top to bottom."""
    names = [f"{short(row['name'])}  ({row['support']:,})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=6 if many else 9)
    axes.set_ylim(len(rows) - 0.4, -0.6)


def draw_interval(
    axes: Axes,
    place: float,
    figure: Mapping[str, Any],
    color: str,
    label: str | None = None,
    *,
    silent: bool = False,
) -> None:
    """A point in its interval; a figure that is missing is its reason in words, unless ``silent``."""
    # Drawn for the legend even where the first label has no value.
    known = "value" in figure
    if known and "low" in figure:
        axes.plot([figure["low"], figure["high"]], [place, place], color=color, linewidth=1.6)
    at = [figure["value"]] if known else []
    axes.plot(at, [place] * len(at), "o", color=color, markersize=5, label=label, zorder=3)
    if not known and not silent:
        axes.text(0.5, place, f" {figure['reason']}", va="center", fontsize=7.5, color=MUTED)


def _legend(axes: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    return list(handles), [str(label) for label in labels]
