"""Tables as an Excel workbook: numbers stay numbers, and no text is ever a formula."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from openpyxl import Workbook as Book
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from edgecell.disk import atomic_write_bytes

MOST_ROWS = 1_048_576
LONGEST_TEXT = 32_767
LONGEST_TITLE = 31
_WIDEST = 60  # characters of a column
_LOOKED_AT = 200  # rows that decide a column's width

_HEADER = {"font": Font(bold=True), "fill": PatternFill("solid", fgColor="FFDDE3E9")}


class Workbook:
    """Sheets in the order they were added; each has a bold header row that stays in view.

    Texts are stored as texts whatever they begin with: a class called ``=HYPERLINK(…)`` is a name and
    no formula, and stays one when somebody edits its cell (the cell carries Excel's quote prefix).
    """

    def __init__(self) -> None:
        self._sheets: list[tuple[str, list[Any], list[list[Any]]]] = []
        self._titles: set[str] = set()

    def add(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        most_rows: int = MOST_ROWS,
    ) -> None:
        """A sheet with ``columns`` as its header. A cell is a text, a number, a bool or None.

        What is longer than a sheet can be goes on in the next one, with the same header.
        """
        everything = [[_plain(value) for value in row] for row in rows]
        room = most_rows - 1
        for part in range(max(1, -(-len(everything) // room))):
            rows_here = everything[part * room : (part + 1) * room]
            header = [_plain(name) for name in columns]
            self._sheets.append((self._free_title(title), header, rows_here))

    def save(self, path: Path, created: datetime | None = None) -> Path:
        """Write the file atomically and return its path.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        book = Book(write_only=True)
        if created is not None:
            book.properties.created = book.properties.modified = created
        for title, header, rows in self._sheets:
            _write(book.create_sheet(title), header, rows)
        buffer = io.BytesIO()
        book.save(buffer)
        atomic_write_bytes(path, buffer.getvalue())
        return path

    def _free_title(self, wanted: str) -> str:
        """A title that Excel takes and that is not taken: 31 signs, none of ``[]:*?/\\``."""
        plain = re.sub(r"[\[\]:*?/\\\x00-\x1f]", "-", wanted).strip("' ") or "Sheet"
        title, count = plain[:LONGEST_TITLE], 1
        while title.lower() in self._titles:
            count += 1
            tail = f" ({count})"
            title = plain[: LONGEST_TITLE - len(tail)] + tail
        self._titles.add(title.lower())
        return title


def _write(sheet: WriteOnlyWorksheet, header: list[Any], rows: list[list[Any]]) -> None:
    sheet.freeze_panes = "A2"
    for position, width in enumerate(_widths(header, rows), start=1):
        sheet.column_dimensions[get_column_letter(position)].width = width
    sheet.append([_cell(sheet, name, header=True) for name in header])
    for row in rows:
        sheet.append([_cell(sheet, value) for value in row])


def _plain(value: Any) -> Any:
    """What a cell can hold: no signs that XML forbids, no numbers that Excel lacks."""
    if hasattr(value, "item"):
        value = value.item()  # a NumPy scalar
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return ILLEGAL_CHARACTERS_RE.sub("\ufffd", str(value))[:LONGEST_TEXT]


def _cell(sheet: WriteOnlyWorksheet, value: Any, *, header: bool = False) -> WriteOnlyCell:
    cell = WriteOnlyCell(sheet, value=value)
    if isinstance(value, str):
        cell.data_type = "s"  # openpyxl takes a leading '=' for a formula and '#N/A' for an error
        cell.quotePrefix = True
    elif isinstance(value, float):
        cell.number_format = "0.0000" if value == 0 or 1e-4 <= abs(value) < 1e6 else "0.00E+00"
    elif isinstance(value, int) and not isinstance(value, bool):
        cell.number_format = "#,##0"
    if header:
        cell.font, cell.fill = _HEADER["font"], _HEADER["fill"]
        cell.alignment = Alignment(wrap_text=True, vertical="top")
    return cell


def _widths(columns: Sequence[str], rows: list[list[Any]]) -> list[float]:
    widths = [min(len(str(name)), _WIDEST // 2) for name in columns]
    for row in rows[:_LOOKED_AT]:
        for position, value in enumerate(row[: len(widths)]):
            text = f"{value:.4f}" if isinstance(value, float) else str(value)
            widths[position] = max(widths[position], min(len(text), _WIDEST))
    return [width + 2.0 for width in widths]
