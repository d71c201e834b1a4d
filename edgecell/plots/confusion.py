"""Confusion matrices, from 2 to 100 classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgecell.plots.style import INK, headed, new_figure, short, tidy

_MAX_ANNOTATED = 20  # above, cell text would be smaller than one can read
_LEVEL = 14  # letters that stand side by side below 2 or 3 columns
_MAX_NAMED = 50  # above, only every n-th class gets its name


def confusion_matrix(
    matrix: NDArray, class_names: Sequence[str], *, normalized: bool = False, title: str = ""
) -> Figure:
    """Rows = label, columns = prediction. `matrix` (C, C): counts, or with `normalized` shares 0..1."""
    count = len(class_names)
    side = float(np.clip(2.6 + 0.5 * count, 4.2, 12.0))
    figure = new_figure(side * 0.93, side)
    axes = figure.subplots()
    top = 1.0 if normalized else max(float(matrix.max()), 1.0)
    # the square root shows single mistakes beside a diagonal of hundreds
    image = axes.imshow(matrix, cmap="Blues", norm=PowerNorm(0.5, vmin=0.0, vmax=top))
    tidy(axes, x="predicted", y="labelled")
    said = "Confusion matrix, share of each class" if normalized else "Confusion matrix, images"
    headed(figure, title or said)  # beside long names two columns are narrower than the title
    step = int(np.ceil(count / _MAX_NAMED))
    shown = range(0, count, step)
    size = 9 if count <= 12 else 7.5 if count <= 30 else 6
    names = [short(class_names[i]) for i in shown]
    level = count <= 3 and max(map(len, names)) <= _LEVEL
    axes.set_xticks(
        list(shown), names, rotation=0 if level else 40 if count <= 30 else 90, fontsize=size
    )
    if count <= 30 and not level:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set_yticks(list(shown), names, fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if count <= _MAX_ANNOTATED:
        axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="minor", length=0)
        _annotate(axes, matrix, normalized, top, size=9.5 if count <= 10 else 7)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    return figure


def _annotate(axes: Axes, matrix: NDArray, normalized: bool, top: float, size: float) -> None:
    for row, column in np.argwhere(matrix > 0):
        value = matrix[row, column]
        text = f"{value:.3f}".lstrip("0") if normalized and value < 1 else f"{value:.0f}"
        dark = (value / top) ** 0.5 > 0.6
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else INK,
        )
