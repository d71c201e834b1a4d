"""Does the model know when it is right: confidence histogram and reliability diagram."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from edgecell.plots.style import BLUE, GRID, INK, MUTED, SKY, VERMILION, new_figure, tidy

Of = Literal["image", "decision"]
_CONFIDENCE = {
    "image": "confidence (largest probability)",
    "decision": "confidence of a decision (the larger of p and 1 − p)",
}
_LEAST = {"image": 0.0, "decision": 0.5}


def confidence_histogram(
    edges: ArrayLike, right: ArrayLike, wrong: ArrayLike, *, title: str = "", of: Of = "image"
) -> Figure:
    """Images by confidence, right predictions above and wrong ones below, each with its own scale.

    ``of``: what is counted, images or the decisions about their labels.
    """
    edges, right, wrong = np.asarray(edges), np.asarray(right), np.asarray(wrong)
    figure = new_figure(4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    width = edges[1:] - edges[:-1]
    for axes, counts, color, what in (
        (above, right, BLUE, "right"),
        (below, wrong, VERMILION, "wrong"),
    ):
        axes.bar(edges[:-1], counts, width=width, align="edge", color=color, edgecolor="white")
        tidy(axes, y=f"{what} ({int(counts.sum())})", grid="y")
        axes.yaxis.get_major_locator().set_params(integer=True)
    below.set_ylim(max(float(wrong.max()), 1.0) * 1.08, 0)
    default = f"Confidence of right and wrong {'predictions' if of == 'image' else 'decisions'}"
    tidy(above, title=title or default, y=above.get_ylabel())
    below.set_xlabel(_CONFIDENCE[of], fontsize=9.5, color=INK)
    below.set_xlim(_LEAST[of], 1)
    return figure


def reliability_diagram(
    edges: ArrayLike,
    count: ArrayLike,
    confidence: ArrayLike,
    accuracy: ArrayLike,
    *,
    caption: str = "",
    title: str = "",
    of: Of = "image",
) -> Figure:
    """Accuracy against mean confidence per bin; the diagonal is a calibrated model.

    Bars below show how many images, or decisions about their labels (``of``), a bin holds: (bins,)
    each, `edges` (bins + 1,).
    """
    edges, count = np.asarray(edges), np.asarray(count)
    confidence, accuracy = np.asarray(confidence), np.asarray(accuracy)
    figure = new_figure(5.4)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    filled = count > 0
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="calibrated")
    axes.vlines(confidence[filled], confidence[filled], accuracy[filled], color=SKY, linewidth=3)
    axes.plot(
        confidence[filled],
        accuracy[filled],
        "o-",
        color=BLUE,
        linewidth=1,
        markersize=6,
        markeredgecolor="white",
        label="this model",
    )
    tidy(axes, title=title or "Reliability", y="share that is right", grid="both")
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlim(_LEAST[of], 1.02)
    if caption:
        axes.text(
            0.98, 0.05, caption, transform=axes.transAxes, ha="right", fontsize=9.5, color=INK
        )
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    below.bar(
        edges[:-1], count, width=edges[1:] - edges[:-1], align="edge", color=BLUE, edgecolor="white"
    )
    tidy(below, x=_CONFIDENCE[of], y=f"{of}s")
    below.grid(axis="y", color=GRID)
    below.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    return figure
