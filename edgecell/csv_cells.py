"""Texts as cells of a CSV that somebody may open with a spreadsheet: none is ever a formula."""

from __future__ import annotations

import re


def text_cell(text: str) -> str:
    """``text``, with an apostrophe in front where a spreadsheet would take it for a formula.

    A label may come from anybody's folder or file. Numbers stay as they are.
    """
    formula = re.match(r"[=@\t\r]|[+-].", text) and not re.fullmatch(r"[+-]?[\d.,]+", text)
    return f"'{text}" if formula else text


def path_cell(path: str) -> str:
    """The same file under a name that is no formula: ``./`` in front of one that could be."""
    return f"./{path}" if path[:1] in "=+-@\t\r" else path
