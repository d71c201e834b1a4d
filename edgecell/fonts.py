"""Letters in pictures: DejaVu Sans, and for what it lacks a font that is installed.

DejaVu comes with matplotlib and has the European scripts, Arabic and Hebrew. matplotlib does not look
further by itself; without an installed font such letters are boxes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FIRST = "DejaVu Sans"
FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Lohit Devanagari",
    "Garuda",
)


@cache
def families() -> list[str]:
    """What matplotlib is to look a letter up in, in this order: only fonts that are there."""
    from matplotlib.font_manager import get_font_names

    # It would say of each figure that a fallback has another weight than was asked for.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = set(get_font_names())
    return [FIRST, *(name for name in FALLBACKS if name in installed)]


def font_file(texts: Sequence[str]) -> Path:
    """The font that has most of the letters of ``texts``; DejaVu Sans where others have no more.

    For Pillow, which takes a text from one font alone.
    """
    letters = {ord(letter) for text in texts for letter in text}
    return max(map(_file, families()), key=lambda path: len(letters & _letters(path)))


def _file(family: str) -> Path:
    from matplotlib.font_manager import FontProperties, findfont

    return Path(findfont(FontProperties(family=family)))


@cache
def _letters(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(path)).get_charmap())
