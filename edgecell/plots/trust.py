"""Can the confidence be trusted, and what do worse images cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

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
    legend_below,
    new_figure,
    short,
    tidy,
)
from edgecell.tasks import task_of_record

_COLORS = (VERMILION, BLUE, ORANGE, GREEN, PURPLE, SKY)


def reliability_lines(
    bins: Mapping[str, Mapping[str, ArrayLike]], *, title: str = "Reliability"
) -> Figure:
    """Accuracy against confidence of several models in one frame.

    `bins`: name → count, confidence, accuracy, each (bins,); empty bins are left out. Areas of the
    points show how many images a bin holds.
    """
    figure = new_figure(4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="calibrated")
    for color, (name, table) in zip((INK, VERMILION, BLUE, GREEN), bins.items(), strict=False):
        count = np.asarray(table["count"])
        filled = count > 0
        x, y = (np.asarray(table[key])[filled] for key in ("confidence", "accuracy"))
        axes.plot(x, y, color=color, linewidth=1.2)
        size = 12 + 160 * count[filled] / max(count.max(), 1)
        axes.scatter(x, y, s=size, color=color, edgecolor="white", label=short(name, 40), zorder=3)
    tidy(axes, title=title, x="confidence (largest probability)", y="share that is right")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(-0.03, 1.05)
    legend = axes.legend(frameon=False, fontsize=9, loc="upper left")
    for handle in legend.legend_handles[1:]:
        handle.set_sizes([40])  # type: ignore[union-attr]
    return figure


def selective_accuracy(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    target: float,
    chosen: tuple[float, float, float] | None,
    title: str = "Accuracy of the answers when the least sure are left out",
) -> Figure:
    """`curves`: name → (coverage, accuracy); `chosen`: coverage, accuracy, threshold of the promise."""
    figure = new_figure(4.2)
    axes = figure.subplots()
    lowest = target
    for color, (name, (coverage, accuracy)) in zip((INK, VERMILION), curves.items(), strict=False):
        coverage, accuracy = np.asarray(coverage), np.asarray(accuracy)
        settled = coverage >= min(0.05, float(coverage[-1]))
        axes.plot(coverage[settled], accuracy[settled], color=color, linewidth=1.6, label=name)
        lowest = min(lowest, float(accuracy[settled].min()))
    axes.axhline(
        target, color=GREEN, linewidth=1.2, linestyle=(0, (4, 3)), label=f"wanted: {target:g}"
    )
    if chosen is not None:
        coverage_at, accuracy_at, threshold = chosen
        label = f"threshold {threshold:.3f}: {coverage_at:.1%} answered"
        axes.plot(coverage_at, accuracy_at, "o", color=BLUE, markersize=8, zorder=4, label=label)
    tidy(axes, title=title, x="share of images that are answered", y="accuracy", grid="both")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(lowest - 0.1 * (1 - lowest) - 0.002, 1.0 + 0.05 * (1 - lowest))
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def set_coverage(
    names: Sequence[str],
    kinds: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    promised: float,
    title: str = "How often the conformal set holds the right class",
) -> Figure:
    """`kinds`: kind of set → one coverage measurement (JSON) per class, in the order of `names`."""
    many = len(names) > 30
    figure = new_figure(1.8 + (0.2 if many else 0.42) * len(names))
    axes = figure.subplots()
    spread = np.linspace(-0.18, 0.18, len(kinds)) if len(kinds) > 1 else [0.0]
    lowest = promised
    for shift, color, (kind, rows) in zip(spread, (ORANGE, BLUE), kinds.items(), strict=False):
        drawn = [(i, row) for i, row in enumerate(rows) if "value" in row]
        for place, row in drawn:
            axes.plot([row["low"], row["high"]], [place + shift] * 2, color=color, linewidth=1.5)
            lowest = min(lowest, row["low"])
        places = [place + shift for place, _ in drawn]
        axes.plot([r["value"] for _, r in drawn], places, "o", color=color, label=kind)
    axes.axvline(
        promised,
        color=VERMILION,
        linestyle=(0, (4, 3)),
        linewidth=1.2,
        label=f"promised {promised:g}",
    )
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(lowest - 0.02, 1.005)
    tidy(axes, title=title, x="coverage, 95 % interval", grid="x")
    axes.tick_params(axis="y", length=0, labelsize=6 if many else 9)
    legend_below(figure, axes)
    return figure


def robustness_curves(results: Mapping[str, Any], *, title: str = "") -> Figure:
    """Accuracy, of several labels mean AUC, against strength, one frame per corruption; the first
    model is the reference."""
    task = task_of_record(results)
    names, models = results["corruptions"], results["models"]
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = new_figure(0.9 + 2.3 * rows, width=2.3 * columns + 0.6)
    frames = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    found = {(c["corruption"], c["strength"]): c["models"] for c in results["conditions"]}
    strengths = sorted({strength for _, strength in found})
    for frame, name in zip(frames.flat, names, strict=False):
        keys = [("clean", 0) if s == 0 else (name, s) for s in strengths]
        for index, model in enumerate(models):
            _curve(frame, strengths, [found[key][index][task.metric] for key in keys], index, model)
        tidy(frame, title=name, grid="y")
        frame.set_xticks(strengths)
    for frame in list(frames.flat)[len(names) :]:
        frame.set_axis_off()
    figure.supxlabel("strength (0: as it is)", fontsize=9.5, color=INK)
    figure.supylabel(task.metric_name, fontsize=9.5, color=INK)
    handles, labels = frames.flat[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(len(labels), 3),
        fontsize=9,
        frameon=False,
        title=title or None,
        alignment="left",
    )
    return figure


def _curve(
    axes: Axes, strengths: list[int], rows: list[Mapping[str, Any]], index: int, model: str
) -> None:
    color = INK if index == 0 else _COLORS[(index - 1) % len(_COLORS)]
    axes.plot(
        strengths,
        [row["value"] for row in rows],
        "s-" if index == 0 else "o-",
        color=color,
        markersize=4,
        linewidth=1.4,
        label=short(model, 40),
        zorder=2 + (index == 0),
    )
    if index == 0:  # one band is enough to judge the spread by
        low, high = ([row[key] for row in rows] for key in ("low", "high"))
        axes.fill_between(strengths, low, high, color=MUTED, alpha=0.18, linewidth=0)


def corruption_strip(
    tiles: Mapping[str, Sequence[NDArray[np.uint8]]], *, title: str = ""
) -> Figure:
    """One image under each corruption: `tiles` name → the image (H, W, 3) at strength 0, 1, … 5."""
    columns = max(len(row) for row in tiles.values())
    figure = new_figure(0.5 + 1.05 * len(tiles), width=1.1 * columns + 0.6)
    frames = figure.subplots(len(tiles), columns, squeeze=False)
    for line, (name, row) in zip(frames, tiles.items(), strict=True):
        for strength, (frame, tile) in enumerate(zip(line, row, strict=False)):
            frame.imshow(tile, interpolation="nearest")
            frame.set_xticks([])
            frame.set_yticks([])
            for side in frame.spines.values():
                side.set_visible(False)
            if name == next(iter(tiles)):
                said = str(strength) if strength else "as it is"
                frame.set_title(said, fontsize=9, color=INK)
        line[0].set_ylabel(name, fontsize=9, color=INK)
    headed(figure, title or "Strengths of each corruption")
    return figure
