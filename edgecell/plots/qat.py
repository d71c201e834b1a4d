"""How quantization-aware training brought the int8 file back to its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgecell.plots.style import BLUE, INK, MUTED, ORANGE, new_figure, tidy


def qat_curves(history: Sequence[Mapping[str, Any]], *, best_epoch: int) -> Figure:
    """Agreement with the reference and drop of accuracy on val, by epoch; epoch 0 is before training.

    `history`: one mapping per epoch with epoch, val_agreement and val_accuracy_drop (fractions).
    """
    figure = new_figure(4.6)
    panels = figure.subplots(2, 1, sharex=True)
    epochs = [entry["epoch"] for entry in history]
    for axes, key, name, color in (
        (panels[0], "val_agreement", "agreement, %", BLUE),
        (panels[1], "val_accuracy_drop", "accuracy\ndrop, points", ORANGE),
    ):
        values = [100 * entry[key] for entry in history]
        axes.plot(epochs, values, color=color, linewidth=1.8, marker="o", markersize=3.5)
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        tidy(axes, y=name, grid="y")
    panels[1].axhline(0, color=INK, linewidth=0.8)
    tidy(panels[1], x="epoch (0: before training)", y="accuracy\ndrop, points", grid="y")
    panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].annotate(
        "kept",
        (best_epoch, 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 0),
        textcoords="offset points",
        fontsize=8.5,
        color=MUTED,
        ha="right",
    )
    panels[0].set_title(
        "The int8 file against its float model, on val",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    return figure
