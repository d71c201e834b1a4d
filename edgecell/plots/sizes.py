"""What the files of a run take, stored and packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgecell.plots.style import BLUE, INK, MUTED, SKY, new_figure, short, tidy


def file_sizes(models: Sequence[Mapping[str, Any]]) -> Figure:
    """Two bars a file: its bytes, and those left after DEFLATE (zip, gzip, an app's package).

    `models`: label, size_bytes and packed_bytes, in the order to draw.
    """
    figure = new_figure(1.1 + 0.5 * len(models), width=8.2)
    axes = figure.subplots()
    rows = np.arange(len(models))[::-1]
    for key, name, color, shift in (
        ("size_bytes", "file", SKY, 0.2),
        ("packed_bytes", "packed", BLUE, -0.2),
    ):
        values = [model[key] / 1000 for model in models]
        axes.barh(rows + shift, values, color=color, height=0.38, label=name)
        for row, value in zip(rows, values, strict=True):
            axes.annotate(
                f"{value:,.0f}",
                (value, row + shift),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED,
            )
    axes.set_yticks(rows, [short(model["label"], 34) for model in models])
    axes.margins(x=0.1)
    tidy(axes, x="kB", grid="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=9)
    axes.set_title("Bytes of each file", loc="left", fontsize=11, fontweight="bold", color=INK)
    return figure
