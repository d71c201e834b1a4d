"""Learning curves of a two-stage training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgecell.plots.style import BLUE, INK, MUTED, ORANGE, legend_below, new_figure, tidy

_SHOWN = {"auc": "mean AUC", "kappa": "quadratic kappa"}


def learning_curves(
    history: Sequence[Mapping[str, Any]],
    *,
    best_epoch: int | None = None,
    metric: str = "accuracy",
    title: str = "",
) -> Figure:
    """The figure that chose the epoch, loss and learning rate by epoch.

    `history`: one mapping per epoch with epoch, stage, loss, val_loss, `val_<metric>`, learning_rate,
    and `metric` itself where it was measured on train. Each stage has its own background, with a
    line where one ends; `best_epoch` (the kept weights) is marked with its value.
    """
    figure = new_figure(6.4)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[4, 3, 1.4])
    epochs = [entry["epoch"] for entry in history]
    for axes, key in ((panels[0], metric), (panels[1], "loss")):
        for name, column, color in (("train", key, BLUE), ("validation", f"val_{key}", ORANGE)):
            known = [entry for entry in history if column in entry]
            axes.plot(
                [entry["epoch"] for entry in known],
                [entry[column] for entry in known],
                color=color,
                linewidth=1.8,
                marker="o" if len(epochs) <= 40 else "",
                markersize=3.5,
                label=name,
            )
        tidy(axes, y=_SHOWN.get(key, key), grid="y")
    rates = [entry["learning_rate"] for entry in history]
    panels[2].step(epochs, rates, where="mid", color=INK, linewidth=1.4)
    if min(rates) > 0:
        panels[2].set_yscale("log")
    tidy(panels[2], x="epoch", y="learning\nrate", grid="y")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    _mark_stages(panels, history)
    if best_epoch is not None:
        _mark_best(panels[:2], history, best_epoch, (f"val_{metric}", "val_loss"))
    panels[0].set_title(
        title or "Learning curves", loc="left", fontsize=11, fontweight="bold", color=INK, pad=20
    )
    legend_below(figure, panels[0], 2)
    return figure


def _mark_best(
    panels: Sequence[Axes], history: Sequence[Mapping[str, Any]], epoch: int, keys: Sequence[str]
) -> None:
    """A star on each validation curve where the weights were kept, and what was reached there."""
    best = next(entry for entry in history if entry["epoch"] == epoch)
    first, last = history[0]["epoch"], history[-1]["epoch"]
    late = epoch - first > (last - first) / 2
    for axes, key in zip(panels, keys, strict=True):
        axes.axvline(epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        look: dict[str, Any] = {
            "color": ORANGE,
            "markersize": 14,
            "markeredgecolor": INK,
            "clip_on": False,
        }
        axes.plot(epoch, best[key], "*", zorder=4, **look)
        low, high = axes.get_ylim()
        above = best[key] < (low + high) / 2  # the half of the panel that the curve leaves free
        axes.annotate(
            f"kept: epoch {epoch}, {best[key]:.4f}",
            (epoch, 0.93 if above else 0.07),
            xycoords=("data", "axes fraction"),
            xytext=(-6 if late else 6, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
            va="top" if above else "bottom",
            ha="right" if late else "left",
        )


def _mark_stages(panels: Sequence[Axes], history: Sequence[Mapping[str, Any]]) -> None:
    for index, (stage, entries) in enumerate(groupby(history, key=lambda entry: entry["stage"])):
        members = list(entries)
        left, right = members[0]["epoch"] - 0.5, members[-1]["epoch"] + 0.5
        for axes in panels:
            axes.axvspan(
                left, right, color="#f5f7fa" if index % 2 else "#e3e9f0", zorder=0, linewidth=0
            )
            axes.margins(x=0)
            if index:
                axes.axvline(left, color=INK, linewidth=1.1, zorder=1, gid="stage boundary")
        # a short stage ends its name where it ends, a long one starts it where it starts
        short = index == 0 and len(members) < 0.15 * len(history)
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
