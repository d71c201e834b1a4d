"""Images with what a model said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgecell.plots.tiles import Tile, tile_grid, tile_table

MOST_CLASSES = 24
_KINDS = ("surest", "least_sure", "mistakes")

Images = Mapping[int, NDArray[np.uint8]] | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


def confident_mistakes(images: Images, found: Mapping[str, Any]) -> Figure:
    """The ``mistakes`` of :func:`edgecell.examples.examples`; ``images``: index → uint8 (h, w, 3)."""
    shown = found["mistakes"]
    return tile_grid(
        [
            Tile(
                images[row["index"]],
                (row["label"], f"→\u00a0{row['predicted']}", f"{row['confidence']:.3f}"),
                False,
            )
            for row in shown
        ],
        title=f"The {len(shown)} most confident of {found['wrong']} mistakes"
        if shown
        else "No mistakes",
        note="label → prediction, confidence",
        lines=5,
    )


def examples_by_class(images: Images, found: Mapping[str, Any], *, of: str = "class") -> Figure:
    """Per label: surest right answers, least sure right ones, most confident mistakes.

    ``of``: what a row is called: a class, or one of several labels to an image.
    """

    def tiles(rows: Sequence[Mapping[str, Any]], right: bool) -> list[Tile]:
        return [
            Tile(
                images[row["index"]],
                (f"{row['confidence']:.3f}",)
                if right
                else (f"{row['confidence']:.3f}", f"→\u00a0{row['predicted']}"),
                right,
            )
            for row in rows
        ]

    classes, some = hardest(found["classes"])
    title = some.capitalize() or f"Each {of}: what is easy, what is hard, what goes wrong"
    return tile_table(
        [
            (
                (row["name"], f"{row['right']} right, {row['wrong']} wrong"),
                (
                    tiles(row["surest"], True),
                    tiles(row["least_sure"], True),
                    tiles(row["mistakes"], False),
                ),
            )
            for row in classes
        ],
        ("surest right answers", "least sure right answers", "most confident mistakes"),
        title=title,
        note="rows are labels; below an image its confidence, and what a mistake was taken for",
        places=max((len(row[kind]) for row in classes for kind in _KINDS), default=1) or 1,
        lines=4,
    )


def hardest(classes: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Mapping[str, Any]], str]:
    """As many classes as a sheet has room for, and in words which; "" where it is all of them."""
    if len(classes) <= MOST_CLASSES:
        return classes, ""
    ordered = sorted(classes, key=lambda row: row["right"] / max(row["right"] + row["wrong"], 1))
    return ordered[:MOST_CLASSES], f"the {MOST_CLASSES} classes with the largest share of mistakes"
