"""One row per class: scores, and what conversion cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgecell.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    SKY,
    VERMILION,
    legend_below,
    new_figure,
    short,
    tidy,
)

MOST_ROWS = 100
"""Classes that a figure has a row for; of more, those that need a look first."""


def first_rows(
    classes: Sequence[Mapping[str, Any]], urgency: Callable[[Mapping[str, Any]], float]
) -> tuple[list[Mapping[str, Any]], str]:
    """At most MOST_ROWS of ``classes``, in their order, and what to add to the title.

    Of more, those of the least ``urgency``: 1,000 rows are a picture of five metres.
    """
    if len(classes) <= MOST_ROWS:
        return list(classes), ""
    places = sorted(range(len(classes)), key=lambda i: urgency(classes[i]))[:MOST_ROWS]
    return [classes[i] for i in sorted(places)], f": the {MOST_ROWS} worst of {len(classes):,}"


def per_class_bars(classes: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Precision, recall and F1 of each class, with the interval of F1.

    `classes`: the "classes" of an evaluation: name, support, and the measurements precision, recall
    and f1 as JSON objects (a missing one draws no bar). Of more than MOST_ROWS those of the lowest F1.
    """
    classes, some = first_rows(classes, lambda entry: entry["f1"].get("value", 2.0))
    count = len(classes)
    figure = new_figure(1.6 + max(0.52 * count, 1.2) if count <= 30 else 1.6 + 0.26 * count)
    axes = figure.subplots()
    places = list(range(count))
    for shift, key, color in (
        (-0.26, "precision", SKY),
        (0.0, "recall", ORANGE),
        (0.26, "f1", BLUE),
    ):
        values = [entry[key].get("value") or 0.0 for entry in classes]
        label = "F1 (95 % interval)" if key == "f1" else key
        axes.barh(
            [place + shift for place in places], values, height=0.24, color=color, label=label
        )
    text_size = 8.5 if count <= 30 else 6
    for place, entry in zip(places, classes, strict=True):
        f1 = entry["f1"]
        if "low" in f1:
            axes.plot([f1["low"], f1["high"]], [place + 0.26] * 2, color=INK, linewidth=1.3)
        text = f"{f1['value']:.3f}" if "value" in f1 else "no images"
        axes.text(1.015, place, text, va="center", fontsize=text_size, color=INK)
    names = [f"{short(entry['name'])}  ({entry['support']})" for entry in classes]
    axes.set_yticks(places, names)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.1)
    axes.set_xticks(np.linspace(0, 1, 6))
    tidy(axes, title=title or f"Precision, recall and F1 per class{some}", grid="x")
    axes.tick_params(axis="y", length=0, labelsize=9 if count <= 30 else 6.5)
    axes.text(1.015, -0.62, "F1", fontsize=8.5, fontweight="bold", color=INK, va="bottom")
    legend_below(figure, axes)
    return figure


def score_drops(
    classes: Sequence[Mapping[str, Any]],
    *,
    score: str = "F1",
    allowed: float | None = None,
    title: str = "",
) -> Figure:
    """A score of the reference minus that of the converted per class: right of zero is worse.

    `classes`: name, reference, converted, drop, passed. `allowed` draws the budget. Of more than
    MOST_ROWS those of the largest drops.
    """
    classes, some = first_rows(classes, lambda entry: -entry["drop"])
    count = len(classes)
    figure = new_figure(1.7 + max((0.36 if count <= 30 else 0.2) * count, 1.0))
    axes = figure.subplots()
    places = list(range(count))
    drops = [entry["drop"] for entry in classes]
    colors = [VERMILION if not e["passed"] else MUTED if e["drop"] > 0 else GREEN for e in classes]
    axes.barh(places, drops, height=0.62, color=colors)
    axes.axvline(0, color=INK, linewidth=1)
    reach = max([abs(drop) for drop in drops] + [allowed or 0.0, 0.002])
    if allowed is not None:
        axes.axvline(allowed, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"allowed {allowed:.3f}",
            (allowed, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=VERMILION,
        )
    for place, entry in zip(places, classes, strict=True):
        verdict = "" if entry["passed"] else "  ✗"
        axes.annotate(
            f"{entry['reference']:.3f} → {entry['converted']:.3f}{verdict}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5 if count <= 30 else 6,
            color=INK if entry["passed"] else VERMILION,
        )
    axes.set_xlim(-1.15 * reach, 1.15 * reach)
    axes.set_yticks(places, [short(entry["name"]) for entry in classes])
    axes.set_ylim(count - 0.4, -0.6)
    tidy(
        axes,
        title=title or f"{score} lost by conversion, per class{some}",
        x=f"{score} drop (right is worse)",
        grid="x",
    )
    axes.set_title(
        axes.get_title(loc="left"), loc="left", fontsize=11, fontweight="bold", pad=18, color=INK
    )
    axes.tick_params(axis="y", length=0, labelsize=9 if count <= 30 else 6.5)
    return figure
