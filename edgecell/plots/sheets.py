"""Sheets of a data set's own images: samples, means, outliers, near-duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgecell.plots.tiles import Tile, tile_grid, tile_table

Picture = NDArray[np.uint8]


def samples(
    class_names: Sequence[str],
    counts: Mapping[str, Sequence[int]],
    pictures: Mapping[str, Sequence[Sequence[Picture]]],
) -> Figure:
    """Rows are classes, blocks are splits. `pictures`: split → by class → images (h, w, 3)."""
    return tile_table(
        [
            (
                (name, " / ".join(f"{counts[split][label]:,}" for split in pictures)),
                [[Tile(image) for image in pictures[split][label]] for split in pictures],
            )
            for label, name in enumerate(class_names)
        ],
        list(pictures),
        title="Samples of each class and split",
        note=f"below a name: its images in {' / '.join(pictures)}",
        places=max((len(some) for split in pictures.values() for some in split), default=1) or 1,
    )


def mean_images(
    class_names: Sequence[str], means: Sequence[Picture], spreads: Sequence[NDArray[np.float64]]
) -> Figure:
    """Each class's mean image and how much its pixels differ; both uint8 or float (h, w, 3)."""
    most = max((float(spread.max()) for spread in spreads), default=1.0) or 1.0
    tiles = []
    for name, mean, spread in zip(class_names, means, spreads, strict=True):
        grey = (spread.mean(axis=2) / most * 255).round().astype(np.uint8)
        tiles += [Tile(mean, (name,)), Tile(np.repeat(grey[:, :, None], 3, axis=2), ("spread",))]
    return tile_grid(
        tiles,
        title="Mean image of each class, train",
        note=f"beside it the standard deviation of each pixel, white = {most:.0f} grey levels",
        lines=3,
    )


def outliers(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], pictures: Mapping[Any, Picture]
) -> Figure:
    """`rows`: kind → images as the exploration lists them; `pictures`: (split, row) → image."""
    return tile_table(
        [
            (
                (kind.replace("_", " "), ""),
                [
                    [
                        Tile(
                            pictures[row["split"], row["row"]],
                            (
                                row["image"],
                                f"{row['label']}, {row['split']}",
                                f"{row['brightness']:.0f} ± {row['contrast']:.0f}",
                            ),
                        )
                        for row in found
                    ]
                ],
            )
            for kind, found in rows.items()
        ],
        [""],
        title="Darkest, brightest and flattest images",
        note="name; label, split; mean ± standard deviation of the grey levels, 0 to 255",
        places=max((len(found) for found in rows.values()), default=1) or 1,
        lines=5,
    )


def near_duplicates(
    rows: Sequence[Mapping[str, Any]], pictures: Mapping[Any, Picture], total: int
) -> Figure:
    """Pairs side by side: a frame where they stand in two splits or are labelled differently."""
    tiles = []
    for row in rows:
        bad = row["a"]["split"] != row["b"]["split"] or row["a"]["label"] != row["b"]["label"]
        for key, last in (("a", f"{row['bits']} bits"), ("b", row["second"])):
            one = row[key]
            words = (one["image"], f"{one['label']}, {one['split']}", last)
            tiles.append(Tile(pictures[one["split"], one["row"]], words, False if bad else None))
    shown = f"{len(rows)} of {total}" if len(rows) < total else f"{total}"
    return tile_grid(
        tiles,
        title=f"Near-duplicates: {shown} pairs" if total else "Near-duplicates: none found",
        note="two by two; framed where a pair stands in two splits or has two labels"
        if total
        else "",
        columns=8,
        lines=6,
    )
