"""Heat maps over the images they explain, each beside its original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from edgecell.plots.answers import Images, hardest
from edgecell.plots.tiles import Tile, tile_grid, tile_table

Heat = Mapping[tuple[int, str], NDArray[np.float32]]
"""(index of an image, name of a class) → map (rows, columns) of what speaks for that class."""

_SIDE = 160  # pixels that a small image is enlarged to, so that its map is seen smooth
_SEAM = 3  # white columns between pictures that belong together
_PER_ROW = 3
_OPACITY = 0.75


def heat_by_class(images: Images, heat: Heat, found: Mapping[str, Any]) -> Figure:
    """Per class the surest and the least sure right answers with their maps.

    ``found``: of :func:`edgecell.examples.examples`; ``images``: index → uint8 (h, w, 3).
    """
    classes, some = hardest(found["classes"])
    title = "What speaks for each class, where the answer was right" + (some and f": {some}")
    rows = []
    for each in classes:
        groups = [
            [
                Tile(
                    beside(images[row["index"]], heat[row["index"], each["name"]]),
                    (f"{row['confidence']:.3f}",),
                    True,
                )
                for row in each[kind]
            ]
            for kind in ("surest", "least_sure")
        ]
        for start in range(0, max(1, *map(len, groups)), _PER_ROW):
            label = (each["name"], f"{each['right']} right, {each['wrong']} wrong")
            chosen = [group[start : start + _PER_ROW] for group in groups]
            rows.append((label if start == 0 else ("", ""), chosen))
    return tile_table(
        rows,
        ("surest right answers", "least sure right answers"),
        title=title,
        note="left the image, right what speaks for the class (bright: most within this image);"
        " below, the confidence",
        places=_PER_ROW,
    )


def heat_of_mistakes(images: Images, heat: Heat, found: Mapping[str, Any]) -> Figure:
    """The most confident mistakes: the image, what spoke for the prediction, what for the label.

    Of a decision about one of several labels: the image, and what spoke for that label.
    """
    shown = found["mistakes"]
    several = any("about" in row for row in shown)
    tiles = []
    for row in shown:
        classes = [row["about"]] if several else [row["predicted"], row["label"]]
        maps = [heat[row["index"], name] for name in classes]
        words = (f"{row['label']} →\u00a0{row['predicted']}", f"{row['confidence']:.3f}")
        tiles.append(Tile(beside(images[row["index"]], *maps), words, False))
    all_shown = len(shown) == found["wrong"]
    which = (
        f"All {len(shown)}" if all_shown else f"The {len(shown)} most confident of {found['wrong']}"
    )
    return tile_grid(
        tiles,
        title=f"{which} mistakes, and what spoke for them" if shown else "No mistakes",
        note="the image, then what speaks for the label that was decided wrongly"
        if several
        else "the image, then what speaks for the prediction, then what speaks for the label",
        columns=4,
        lines=4,
    )


def beside(image: NDArray[np.uint8], *maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image uint8 (h, w, 3) and its maps over it, side by side, uint8.

    Each map is shown relative to its own largest value; one of zeros leaves a grey image.
    """
    large = enlarged(image)
    parts = [large]
    seam = np.full((len(large), _SEAM, 3), 255, np.uint8)
    for each in maps:
        parts += [seam, overlaid(large, each)]
    return np.concatenate(parts, axis=1)


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small image with every pixel repeated, so that it has at least ``_SIDE`` pixels a side."""
    times = max(1, -(-_SIDE // max(image.shape[:2])))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def overlaid(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``image`` in grey under its map, of which the largest value is opaque, uint8 (h, w, 3)."""
    grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    strength = spread(heat, image.shape[:2])
    colour = colormaps["inferno"](strength)[..., :3] * 255
    cover = _OPACITY * strength[..., None]
    return np.rint(grey * (1 - cover) + colour * cover).astype(np.uint8)


def spread(heat: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """A map of 0 or more, bilinearly enlarged to ``size`` (h, w) and divided by its largest value."""
    peak = float(heat.max())
    if peak <= 0:
        return np.zeros(tuple(size), np.float32)
    cells = Image.fromarray(np.asarray(heat / peak, np.float32))
    full = cells.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(full, np.float32).clip(0, 1)
