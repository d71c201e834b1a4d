"""A data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from edgecell.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    VERMILION,
    legend_below,
    new_figure,
    short,
    tidy,
)

_SPLITS = {"train": (BLUE, "-"), "val": (ORANGE, "--"), "test": (INK, ":")}
_CHANNELS = (("red", VERMILION), ("green", GREEN), ("blue", BLUE))
_BINS = 64


def class_distribution(
    class_names: Sequence[str],
    counts: Mapping[str, Sequence[int]],
    images: Mapping[str, int] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Images of each class, a panel per split; the share of the split at the end of each bar.

    `counts`: split → images by class. `images`: split → images, where one can be of several classes.
    """
    many = len(class_names) > 30
    figure = new_figure(1.0 + (0.2 if many else 0.34) * len(class_names), 9.0)
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    places = np.arange(len(class_names))
    size = 6.5 if many else 9
    for axes, (split, numbers) in zip(panels, counts.items(), strict=True):
        total = sum(numbers) if images is None else images[split]
        axes.barh(places, numbers, height=0.66, color=_SPLITS.get(split, (BLUE, "-"))[0])
        for place, number in enumerate(numbers):
            axes.annotate(
                f"{number:,}  {number / max(total, 1):.1%}",
                (number, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=6 if many else 8,
                color=INK,
            )
        tidy(axes, title=f"{split} ({total:,})", grid="x")
        axes.set_xlim(0, max(max(numbers), 1) * 1.75)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=3)
        axes.tick_params(axis="y", length=0, labelsize=size)
    panels[0].set_yticks(places, [short(name) for name in class_names])
    panels[0].set_ylim(len(class_names) - 0.4, -0.6)
    if title:
        _heading(figure, title)
    return figure


def channel_histograms(
    histograms: Mapping[str, ArrayLike], *, title: str = "Pixel values by channel and split"
) -> Figure:
    """Density of pixel values: a panel per channel, a line per split. `histograms`: split → (3, 256)."""
    figure = new_figure(3.0, 9.6)
    panels = figure.subplots(1, 3, sharey=True)
    for channel, (axes, (name, _)) in enumerate(zip(panels, _CHANNELS, strict=True)):
        for split, counts in histograms.items():
            color, line = _SPLITS.get(split, (MUTED, "-"))
            density = _density(np.asarray(counts)[channel])
            axes.plot(_middles(), density, line, color=color, linewidth=1.6, label=split)
        tidy(axes, title=name, x="value", y="share of pixels" if channel == 0 else "", grid="y")
        axes.set_xlim(0, 255)
    panels[0].set_ylim(bottom=0)  # once all are drawn: it fixes the top of the shared axis too
    legend_below(figure, panels[0], len(histograms))
    _heading(figure, title)
    return figure


def channels_by_class(
    class_names: Sequence[str],
    histograms: NDArray[np.int64],
    means: ArrayLike,
    sds: ArrayLike,
    *,
    title: str = "Pixel values by class, train",
) -> Figure:
    """One strip per class and channel: darker where more pixels are; mean ± standard deviation on it.

    `histograms` (C, 3, 256), `means` and `sds` (C, 3).
    """
    means, sds = np.asarray(means), np.asarray(sds)
    count = len(class_names)
    many = count > 30
    figure = new_figure(1.2 + (0.2 if many else 0.36) * count, 9.6)
    panels = figure.subplots(1, 3, sharey=True)
    for channel, (axes, (name, _)) in enumerate(zip(panels, _CHANNELS, strict=True)):
        strips = np.stack([_density(histograms[label, channel]) for label in range(count)])
        strips = strips / np.maximum(strips.max(axis=1, keepdims=True), 1e-12)
        axes.imshow(
            strips,
            aspect="auto",
            cmap="Blues",
            vmin=0,
            vmax=1.25,
            extent=(0, 256, count - 0.5, -0.5),
            interpolation="nearest",
        )
        axes.errorbar(
            means[:, channel],
            np.arange(count),
            xerr=sds[:, channel],
            fmt="o",
            color=VERMILION,
            markersize=4,
            elinewidth=1.2,
            capsize=2,
        )
        for edge in np.arange(count - 1) + 0.5:
            axes.axhline(edge, color="white", linewidth=1.5)
        tidy(axes, title=name, x="value")
        axes.set_xlim(0, 256)
        axes.tick_params(axis="y", length=0, labelsize=6.5 if many else 9)
    panels[0].set_yticks(range(count), [short(name) for name in class_names])
    panels[0].set_ylim(count - 0.5, -0.5)
    _heading(figure, title)
    return figure


def light_and_contrast(
    values: Mapping[str, Mapping[str, ArrayLike]],
    *,
    title: str = "Brightness and contrast of the images",
) -> Figure:
    """`values`: "brightness" and "contrast" → split → one value per image, 0…255."""
    figure = new_figure(3.0, 9.6)
    panels = figure.subplots(1, len(values), squeeze=False)[0]
    words = {"brightness": "mean grey level", "contrast": "standard deviation of grey levels"}
    for axes, (key, splits) in zip(panels, values.items(), strict=True):
        everything = np.concatenate([np.asarray(v) for v in splits.values()])
        edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1), 41)
        for split, given in splits.items():
            color, line = _SPLITS.get(split, (MUTED, "-"))
            counts, _ = np.histogram(np.asarray(given), edges)
            share = counts / max(counts.sum(), 1)
            axes.stairs(share, edges, color=color, linestyle=line, linewidth=1.6, label=split)
        tidy(axes, title=key, x=words.get(key, key), y="share of images", grid="y")
        axes.set_ylim(bottom=0)
    legend_below(figure, panels[0], len(next(iter(values.values()))))
    _heading(figure, title)
    return figure


def image_sizes(
    sizes: Mapping[str, Sequence[tuple[int, int, int]]], *, title: str = "Sizes of the images"
) -> Figure:
    """`sizes`: split → (width, height, images); left width against height, right the aspect ratios."""
    figure = new_figure(4.0, 9.6)
    left, right = figure.subplots(1, 2)
    most = max(count for rows in sizes.values() for _, _, count in rows)
    ratios = [w / h for rows in sizes.values() for w, h, _ in rows]
    edges = np.geomspace(min(ratios) / 1.05, max(ratios) * 1.05, 31)
    for split, rows in sizes.items():
        color, line = _SPLITS.get(split, (MUTED, "-"))
        table = np.array(rows, np.float64).reshape(-1, 3)
        area = 14 + 160 * np.sqrt(table[:, 2] / most)
        left.scatter(table[:, 0], table[:, 1], s=area, color=color, alpha=0.55, linewidth=0)
        left.plot([], [], "o", color=color, label=split)  # all of one size in the legend
        counts, _ = np.histogram(table[:, 0] / table[:, 1], edges, weights=table[:, 2])
        right.stairs(counts / counts.sum(), edges, color=color, linestyle=line, linewidth=1.6)
    reach = max(left.get_xlim()[1], left.get_ylim()[1])
    left.plot([0, reach], [0, reach], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    left.set_xlim(0, reach)
    left.set_ylim(0, reach)
    tidy(left, title="width and height", x="width, pixels", y="height, pixels", grid="both")
    tidy(right, title="aspect ratio", x="width / height", y="share of images", grid="y")
    right.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    legend_below(figure, left, len(sizes))
    _heading(figure, title)
    return figure


def _density(counts: ArrayLike) -> NDArray[np.float64]:
    """Shares (64,) of pixels by value (256,), four values to a bin."""
    binned = np.asarray(counts, np.float64).reshape(_BINS, -1).sum(axis=1)
    return np.asarray(binned / max(float(binned.sum()), 1.0))


def _middles() -> NDArray[np.float64]:
    return (np.arange(_BINS) + 0.5) * 256 / _BINS


def _heading(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold", color=INK)
