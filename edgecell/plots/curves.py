"""Learning curves of a two-stage training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgecell.plots.style import BLUE, INK, MUTED, ORANGE, new_figure, tidy


def learning_curves(
    history: Sequence[Mapping[str, Any]], *, best_epoch: int | None = None, title: str = ""
) -> Figure:
    """Accuracy, loss and learning rate by epoch.

    `history`: one mapping per epoch with epoch, stage, loss, accuracy, val_loss, val_accuracy,
    learning_rate. Each stage has its own background; `best_epoch` (kept weights) gets a line.
    """
    figure = new_figure(6.2)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[4, 3, 1.4])
    epochs = [entry["epoch"] for entry in history]
    marker = "o" if len(epochs) <= 40 else ""
    for axes, key in ((panels[0], "accuracy"), (panels[1], "loss")):
        for name, prefix, color in (("train", "", BLUE), ("validation", "val_", ORANGE)):
            values = [entry[prefix + key] for entry in history]
            axes.plot(
                epochs,
                values,
                color=color,
                linewidth=1.8,
                marker=marker,
                markersize=3.5,
                label=name,
            )
        tidy(axes, y=key, grid="y")
    rates = [entry["learning_rate"] for entry in history]
    panels[2].step(epochs, rates, where="mid", color=INK, linewidth=1.4)
    if min(rates) > 0:
        panels[2].set_yscale("log")
    tidy(panels[2], x="epoch", y="learning\nrate", grid="y")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    _mark_stages(panels, history)
    if best_epoch is not None:
        for axes in panels[:2]:
            axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        panels[1].annotate(
            "kept",
            (best_epoch, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=MUTED,
            va="top",
            ha="right",
        )
    tidy(panels[0], y="accuracy")
    panels[0].set_title(
        title or "Learning curves", loc="left", fontsize=11, fontweight="bold", color=INK, pad=20
    )
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        fontsize=9,
        frameon=False,
    )
    return figure


def _mark_stages(panels: Sequence[Axes], history: Sequence[Mapping[str, Any]]) -> None:
    for index, (stage, entries) in enumerate(groupby(history, key=lambda entry: entry["stage"])):
        members = list(entries)
        left, right = members[0]["epoch"] - 0.5, members[-1]["epoch"] + 0.5
        for axes in panels:
            axes.axvspan(
                left, right, color="#f5f7fa" if index % 2 else "#e3e9f0", zorder=0, linewidth=0
            )
            axes.margins(x=0)
        # a short stage ends its name where it ends, a long one starts it where it starts
        short = len(members) < 0.15 * len(history)
        panels[0].annotate(
            str(stage).replace("_", " "),
            (right if short else left, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if short else 3, 2),
            textcoords="offset points",
            fontsize=8.5,
            color=MUTED,
            ha="right" if short else "left",
        )
