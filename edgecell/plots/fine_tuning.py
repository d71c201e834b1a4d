"""How a fine-tuning brought what a model becomes back to what it was, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgecell.plots.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILION, new_figure, tidy


def fine_tuning_curves(
    history: Sequence[Mapping[str, Any]], *, best_epoch: int, what: str
) -> Figure:
    """Agreement with the reference and drop of accuracy on val, by epoch; epoch 0 is before training.

    `history`: one mapping per epoch with epoch, val_agreement and val_accuracy_drop, and sparsity where
    it is that of a pruning (fractions). Of several labels it has val_probability_error and, where there
    is one, val_auc_drop, which is drawn for that of accuracy. `what` was judged: "The int8 file".
    """
    ranked = "val_auc_drop" in history[-1]
    rows = [
        ("val_agreement", "agreement, %", BLUE),
        ("val_auc_drop", "mean AUC\ndrop, points", ORANGE)
        if ranked
        else ("val_accuracy_drop", "accuracy\ndrop, points", ORANGE),
    ]
    if "val_probability_error" in history[-1]:
        rows.append(("val_probability_error", "noise, %", VERMILION))
    if "sparsity" in history[-1]:
        rows.append(("sparsity", "zeros, %", GREEN))
    figure = new_figure(1.2 + 1.7 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True)
    epochs = [entry["epoch"] for entry in history]
    for axes, (key, name, color) in zip(panels, rows, strict=True):
        values = [100 * entry[key] for entry in history]
        axes.plot(epochs, values, color=color, linewidth=1.8, marker="o", markersize=3.5)
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        last = axes is panels[-1]
        tidy(axes, x="epoch (0: before training)" if last else "", y=name, grid="y")
    panels[1].axhline(0, color=INK, linewidth=0.8)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
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
        f"{what} against its float model, on val",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    return figure
