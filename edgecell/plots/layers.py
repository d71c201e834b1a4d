"""Post-training methods side by side, and what each layer's quantization costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgecell.plots.style import BLUE, INK, MUTED, SKY, VERMILION, new_figure, short, tidy

MOST_LAYERS = 30


def search_candidates(
    candidates: Sequence[Mapping[str, Any]], *, chosen: str, judged: int
) -> Figure:
    """Two bars a method: points of accuracy lost, and share of answers changed; `chosen` in colour.

    `candidates`: method, accuracy_drop on val (a fraction), or auc_drop, and changed (of `judged`
    answers), in the order to draw.
    """
    figure = new_figure(1.2 + 0.34 * len(candidates), width=8.2)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(candidates))[::-1]
    colors = [VERMILION if each["method"] == chosen else SKY for each in candidates]
    lost, what = "accuracy_drop", "accuracy"
    if all("auc_drop" in each for each in candidates):
        lost, what = "auc_drop", "mean AUC"
    panels = (
        (left, [100 * each[lost] for each in candidates], f"{what} lost on val, points"),
        (
            right,
            [100 * each["changed"] / judged for each in candidates],
            f"answers changed, % of {judged:,}",
        ),
    )
    for axes, values, name in panels:
        axes.barh(rows, values, color=colors, height=0.66)
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, value in zip(rows, values, strict=True):
            axes.annotate(
                f"{value:.2f}",
                (max(value, 0.0), row),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED,
            )
        axes.margins(x=0.16)
        tidy(axes, x=name, grid="x")
    left.set_yticks(rows, [short(each["method"], 30) for each in candidates])
    left.set_title(
        "int8 against its float model",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    right.set_title(f"kept: {short(chosen, 30)}", loc="left", fontsize=9.5, color=VERMILION)
    return figure


def sensitivity(
    layers: Sequence[Mapping[str, Any]],
    *,
    change: str = "mean squared change\nof probabilities",
) -> Figure:
    """The most expensive layers, each quantized alone: change at the end, and SQNR at the layer.

    `layers`: ranked, with rank, label, weights, probability_error, agreement_drop and sqnr_db (None
    where nothing was lost). At most 30 are drawn. Layers without weights are pale. `change` says what
    probability_error is.
    """
    drawn = layers[:MOST_LAYERS]
    figure = new_figure(1.3 + 0.25 * len(drawn), width=8.6)
    panels = figure.subplots(1, 3, sharey=True)
    rows = np.arange(len(drawn))[::-1]
    colors = [BLUE if layer["weights"] else SKY for layer in drawn]
    columns = (
        ([layer["probability_error"] for layer in drawn], change),
        ([100 * layer["agreement_drop"] for layer in drawn], "agreement lost,\npoints"),
    )
    for axes, (values, name) in zip(panels, columns, strict=False):
        axes.barh(rows, values, color=colors, height=0.66)
        tidy(axes, x=name, grid="x")
    if min(columns[0][0], default=0.0) > 0:
        panels[0].set_xscale("log")
    panels[1].axvline(0, color=INK, linewidth=0.8)
    known = [(row, layer["sqnr_db"]) for row, layer in zip(rows, drawn, strict=True)]
    known = [(row, value) for row, value in known if value is not None]
    panels[2].plot([v for _, v in known], [r for r, _ in known], "o", color=INK, markersize=4)
    tidy(panels[2], x="SQNR at the layer, dB", grid="x")
    panels[0].set_ylim(-0.8, len(drawn) - 0.2)
    panels[0].set_yticks(rows, [f"{short(each['label'], 28)} {each['rank']}" for each in drawn])
    panels[0].tick_params(axis="y", labelsize=8)
    rest = f", {len(drawn)} of {len(layers)} shown" if len(drawn) < len(layers) else ""
    panels[0].set_title(
        f"Each layer quantized alone, worst first{rest}",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    return figure
