"""Sheets of images with words below them. Laid out in inches: no text depends on a renderer's luck."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgecell.plots.style import BLUE, DPI, INK, MUTED, VERMILION, new_figure

WIDE = 10.2  # inches: the whole width of the report's column
_GAP = 0.09
_TITLE = 0.42
_LINE = 1.25  # of a line of text, in font sizes
_TEXT = 7.5  # points


@dataclass(frozen=True)
class Tile:
    """An image uint8 (h, w, 3) and the lines below it; the frame tells right from wrong."""

    image: NDArray[np.uint8]
    lines: tuple[str, ...] = ()
    right: bool | None = None


def tile_grid(
    tiles: Sequence[Tile], *, title: str, note: str = "", columns: int = 8, lines: int = 3
) -> Figure:
    """Tiles row by row. ``lines``: how many text lines each tile has room for at most."""
    side = (WIDE - _GAP) / columns - _GAP
    lefts = [_GAP + column * (side + _GAP) for column in range(columns)]
    rows = [
        [(left, tile) for left, tile in zip(lefts, tiles[start : start + columns], strict=False)]
        for start in range(0, len(tiles), columns)
    ]
    heights = [_row_height((tile for _, tile in row), side, lines) for row in rows]
    sheet = _Sheet(_top(note) + (sum(heights) if rows else 0.5), title, note)
    top = _top(note)
    for row, height in zip(rows, heights, strict=True):
        tall = _tallest((tile for _, tile in row), side)
        for left, tile in row:
            sheet.draw(tile, left, top, side, tall, lines)
        top += height
    if not tiles:
        sheet.write("none", _GAP, top + 0.25, 10, MUTED)
    return sheet.finished()


def tile_table(
    rows: Sequence[tuple[tuple[str, str], Sequence[Sequence[Tile]]]],
    headings: Sequence[str],
    *,
    title: str,
    note: str = "",
    places: int,
    lines: int = 2,
) -> Figure:
    """One row per class: (its name, a remark), then a block of up to ``places`` tiles per heading."""
    label, gap = 1.3, 0.2
    side = (WIDE - label - len(headings) * gap) / (len(headings) * places) - _GAP
    span = places * (side + _GAP)
    lefts = [label + block * (span + gap) for block in range(len(headings))]
    labels = [_label_lines(name, remark, label - 0.2) for (name, remark), _ in rows]
    heights = [
        max(
            _row_height((t for group in groups for t in group), side, lines),
            0.2 + sum(size * _LINE / 72 for _, size, _ in words),
        )
        for (_, groups), words in zip(rows, labels, strict=True)
    ]
    top = _top(note) + 0.24
    sheet = _Sheet(top + sum(heights), title, note)
    for heading, left in zip(headings, lefts, strict=True):
        sheet.write(wrapped(heading, span, 9.5, 1)[0], left, top - 0.07, 9, INK, weight="bold")
    for (_, groups), words, height in zip(rows, labels, heights, strict=True):
        place = top + 0.14
        for line, size, color in words:
            sheet.write(line, _GAP, place, size, color)
            place += size * _LINE / 72
        tall = _tallest((tile for group in groups for tile in group), side)
        for group, left in zip(groups, lefts, strict=True):
            for position, tile in enumerate(group[:places]):
                sheet.draw(tile, left + position * (side + _GAP), top, side, tall, lines)
            if not group:
                sheet.write("none", left + 0.04, top + 0.2, 8.5, MUTED)
        top += height
    return sheet.finished()


def _label_lines(name: str, remark: str, width: float) -> list[tuple[str, float, str]]:
    """(line, size, colour) of the words at the left of a row."""
    return [
        *((line, 9.0, INK) for line in wrapped(name, width, 9, 4)),
        *((line, 8.0, MUTED) for line in wrapped(remark, width, 8, 2)),
    ]


def _row_height(tiles: Iterable[Tile], side: float, lines: int) -> float:
    row = list(tiles)
    most = max((len(_all_lines(tile.lines, side, lines)) for tile in row), default=0)
    return _tallest(row, side) + _GAP + most * _TEXT * _LINE / 72 + 0.08


def _tallest(tiles: Iterable[Tile], side: float) -> float:
    """Height of the tallest image of a row whose images fit into squares of ``side`` inches.

    A row without any has room for the words that say so.
    """
    shapes = [tile.image.shape for tile in tiles]
    return max((side * shape[0] / max(shape[:2]) for shape in shapes), default=min(side, 0.3))


def wrapped(text: str, width: float, size: float, lines: int) -> list[str]:
    """``text`` in at most ``lines`` lines of ``width`` inches at ``size`` points.

    Broken at spaces, ``_``, ``-`` and ``/``; a word that is too long for a line is cut where it must
    be, and what finds no room ends in an ellipsis.
    """
    found: list[str] = []
    rest = text.strip()
    while rest and len(found) < lines:
        last = len(found) == lines - 1
        fits = _fitting(rest, width, size)
        if fits == len(rest):
            return [*found, rest]
        if last:
            return [*found, rest[: max(1, _fitting(rest, width, size, "…"))].rstrip() + "…"]
        breaks = [rest.rfind(" ", 0, fits + 1)] + [rest.rfind(c, 0, fits) + 1 for c in "_-/"]
        cut = max(breaks) if max(breaks) > 0 else max(1, fits)
        found.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return found or [""]


def text_width(text: str, size: float) -> float:
    """Inches that ``text`` takes at ``size`` points in the figures' font."""
    return sum(map(_advance, text)) * size / 72


@cache
def _advance(character: str) -> float:
    """Points that a character takes at a size of one point; measured between two others."""
    pair, triple = (
        float(TextPath((0, 0), text, size=100.0, prop=FontProperties()).get_extents().x1)
        for text in ("nn", f"n{character}n")
    )
    return (triple - pair) / 100


def _fitting(text: str, width: float, size: float, tail: str = "") -> int:
    """How many leading characters of ``text`` fit, with ``tail`` after them."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle] + tail, size) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _top(note: str) -> float:
    return _TITLE + (0.22 if note else 0.0)


class _Sheet:
    """A page whose coordinates are inches from its upper left corner.

    Images are pasted into one array of the figure's own pixels, which draws far faster than an artist
    for each; matplotlib adds the text.
    """

    def __init__(self, height: float, title: str, note: str) -> None:
        pixels = (round(height * DPI), round(WIDE * DPI))
        self.paper = Image.new("RGB", pixels[::-1], "white")
        self.figure = new_figure(pixels[0] / DPI, pixels[1] / DPI)
        self.figure.set_layout_engine("none")
        self.height = pixels[0] / DPI
        self.write(wrapped(title, WIDE - 0.2, 12.5, 1)[0], _GAP, 0.28, 12, INK, weight="bold")
        if note:
            self.write(wrapped(note, WIDE - 0.2, 9, 1)[0], _GAP, 0.52, 9, MUTED)

    def write(
        self, text: str, x: float, y: float, size: float, color: str, weight: str = "normal"
    ) -> None:
        self.figure.text(
            x / WIDE,
            1 - y / self.height,
            text,
            fontsize=size,
            color=color,
            fontweight=weight,
            parse_math=False,
        )

    def draw(
        self, tile: Tile, left: float, top: float, side: float, tall: float, lines: int
    ) -> None:
        box = round(side * DPI)
        height, width = tile.image.shape[:2]
        scale = box / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        kernel = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BILINEAR
        picture = Image.fromarray(tile.image).resize(size, kernel)
        if tile.right is not None:
            ImageDraw.Draw(picture).rectangle(
                (0, 0, size[0] - 1, size[1] - 1), outline=BLUE if tile.right else VERMILION, width=3
            )
        corner = (round(left * DPI), round(top * DPI))
        down = max(0, round(tall * DPI) - size[1]) // 2
        self.paper.paste(picture, (corner[0] + (box - size[0]) // 2, corner[1] + down))
        place = top + tall + _TEXT / 72 + 0.02
        for line in _all_lines(tile.lines, side, lines):
            self.write(line, left, place, _TEXT, INK)
            place += _TEXT * _LINE / 72

    def finished(self) -> Figure:
        self.figure.figimage(np.asarray(self.paper)[::-1], origin="lower")
        return self.figure


def _all_lines(given: Sequence[str], width: float, room: int) -> list[str]:
    """The given lines within ``room``: what is left over lets the longest ones break once more."""
    spare = room - len(given)
    out: list[str] = []
    for line in given:
        parts = wrapped(line, width, _TEXT, 1 + max(spare, 0))
        spare -= len(parts) - 1
        out += parts
    return out[:room]
