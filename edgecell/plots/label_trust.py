"""Can each label's probability be trusted, and what does its threshold find?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from edgecell.plots.classes import first_rows
from edgecell.plots.labels import draw_interval, name_rows
from edgecell.plots.style import (
    BLUE,
    GREEN,
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

Bins = Mapping[str, ArrayLike]
MOST_FRAMES = 30
"""Labels that have a frame of their own; of more, those that are furthest off."""


def label_reliability(
    names: Sequence[str],
    models: Mapping[str, Sequence[Bins]],
    *,
    off: Sequence[float],
    title: str = "Reliability by label",
) -> Figure:
    """A small frame for each label: its probability against the share of images that have it.

    ``models``: name → bins of each label in the order of ``names`` (count, confidence and accuracy, each
    (bins,)). ``off``: each label's calibration error; of too many labels the largest are drawn. Empty bins
    are left out, areas show how many images a bin holds; both axes have the reach of the label, which for a
    rare one is far below 1.
    """
    chosen = list(range(len(names)))
    some = ""
    if len(names) > MOST_FRAMES:
        chosen = sorted(sorted(chosen, key=lambda i: -off[i])[:MOST_FRAMES])
        some = f": the {MOST_FRAMES} worst of {len(names):,}"
    columns = min(len(chosen), 5)
    rows = -(-len(chosen) // columns)
    figure = new_figure(1.1 + 1.9 * rows, width=max(1.9 * columns + 0.8, 6.6))
    frames = figure.subplots(rows, columns, squeeze=False)
    for frame, i in zip(frames.flat, chosen, strict=False):
        reach = 0.0
        for color, (name, tables) in zip((INK, VERMILION, BLUE), models.items(), strict=False):
            count = np.asarray(tables[i]["count"])
            filled = count > 0
            x, y = (np.asarray(tables[i][key])[filled] for key in ("confidence", "accuracy"))
            reach = max(reach, *x, *y)
            frame.plot(x, y, color=color, linewidth=1.1, label=name)
            frame.scatter(
                x, y, s=6 + 60 * count[filled] / count.max(), color=color, zorder=3, linewidth=0
            )
        reach = min(1.0, 1.08 * reach + 0.01)
        frame.plot(
            [0, reach],
            [0, reach],
            color=MUTED,
            linewidth=1,
            linestyle=(0, (4, 3)),
            label="calibrated",
        )
        frame.set_xlim(-0.03 * reach, 1.03 * reach)
        frame.set_ylim(-0.05 * reach, 1.05 * reach)
        frame.locator_params(nbins=4)
        frame.tick_params(labelsize=7)
        tidy(frame, grid="both")
        frame.set_title(short(names[i], 22), fontsize=8.5, color=INK, loc="left")
    for frame in list(frames.flat)[len(chosen) :]:
        frame.set_axis_off()
    figure.supxlabel("probability", fontsize=9, color=INK)
    figure.supylabel("share that has it", fontsize=9, color=INK)
    figure.legend(
        *frames.flat[0].get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2 if columns < 4 else 4,
        fontsize=8.5,
        frameon=False,
        title=f"{title}{some}",
        title_fontproperties={"weight": "bold", "size": 11},
        alignment="left",
    )
    return figure


def label_sensitivity(
    rows: Sequence[Mapping[str, Any]],
    *,
    wanted: float,
    title: str = "What each label's threshold finds",
) -> Figure:
    """Sensitivity and specificity of each label at its threshold with 95 % intervals.

    ``rows``: name, positives, threshold (None: none was found, 0.5 stands), and the measurements (JSON)
    sensitivity and specificity. Of more than MOST_ROWS those of the lowest specificity.
    """
    drawn, some = first_rows(rows, lambda row: row["specificity"].get("value", 2.0))
    many = len(drawn) > 30
    figure = new_figure(1.8 + (0.22 if many else 0.4) * max(len(drawn), 2))
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=[5, 1])
    for place, row in enumerate(drawn):
        said = place == 0
        draw_interval(
            axes,
            place - 0.14,
            row["sensitivity"],
            ORANGE,
            "sensitivity" if said else None,
            silent=True,
        )
        draw_interval(
            axes,
            place + 0.14,
            row["specificity"],
            GREEN,
            "specificity" if said else None,
            silent=True,
        )
        limit = row["threshold"]
        beside.text(
            0.5,
            place,
            "0.5 (kept)" if limit is None else f"{limit:.3g}",
            ha="center",
            va="center",
            fontsize=6 if many else 8.5,
            color=MUTED if limit is None else INK,
        )
    beside.text(0.5, -0.62, "threshold", ha="center", va="bottom", fontsize=7.5, color=MUTED)
    beside.axis("off")
    axes.axvline(
        wanted,
        color=VERMILION,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        label=f"wanted sensitivity {wanted:g}",
    )
    axes.set_xlim(-0.02, 1.02)
    tidy(axes, x="share of the images with it, and without it, that are called rightly", grid="x")
    name_rows(axes, [dict(row) | {"support": row["positives"]} for row in drawn], many)
    axes.tick_params(axis="y", length=0)
    headed(figure, f"{title}{some}")
    legend_below(figure, axes)
    return figure
