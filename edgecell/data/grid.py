"""A contact sheet: one row per class, so that a person sees what the numbers are about."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgecell.data.types import Dataset
from edgecell.disk import atomic_write_bytes
from edgecell.fonts import font_file

_TILE = 72
_GAP = 4
_FONT_SIZE = 15
_LONGEST_NAME = 34


def sample_grid(dataset: Dataset, per_class: int = 8, seed: int = 0) -> Image.Image:
    """Random train images, RGB: rows are classes with their names and counts, columns are samples.

    An image with several labels can stand in several rows.

    Images keep their aspect ratio; small ones are enlarged without smoothing.

    Raises:
        DataError: an image cannot be decoded.
    """
    rows = []
    for label in range(len(dataset.class_names)):
        members = np.random.default_rng([seed, label]).permutation(
            np.flatnonzero(dataset.train.having(label))
        )
        rows.append(
            (
                f"{_clipped(dataset.class_names[label])} ({len(members)})",
                np.sort(members[:per_class]),
            )
        )
    # Pillow's own font has no letter beyond ASCII.
    font = ImageFont.truetype(font_file([text for text, _ in rows]), _FONT_SIZE)
    margin = _GAP * 3 + max(int(font.getlength(text)) for text, _ in rows)
    step = _TILE + _GAP
    sheet = Image.new("RGB", (margin + per_class * step, _GAP + len(rows) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for r, (text, members) in enumerate(rows):
        top = _GAP + r * step
        pen.text((_GAP * 2, top + _TILE // 2), text, fill="black", font=font, anchor="lm")
        for c, index in enumerate(members.tolist()):
            tile = _tile(Image.fromarray(dataset.train.source.read(index)))
            left = margin + c * step + (_TILE - tile.width) // 2
            sheet.paste(tile, (left, top + (_TILE - tile.height) // 2))
    return sheet


def save_grid(sheet: Image.Image, path: Path) -> None:
    """Write the sheet as PNG, whole or not at all.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    atomic_write_bytes(path, buffer.getvalue())


def _tile(image: Image.Image) -> Image.Image:
    ratio = _TILE / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    kernel = Image.Resampling.NEAREST if ratio > 1 else Image.Resampling.BILINEAR
    return image.resize(size, kernel)


def _clipped(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
