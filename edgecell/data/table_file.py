"""The rows of a CSV by what their columns are for: path, label, split, group."""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecell.data.listing import EXTENSIONS, SPLIT_WORDS
from edgecell.documents import DocumentError, read_regular
from edgecell.errors import ConfigError, DataError

ROLES = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
        *("image_file", "image_name", "image_id", "img", "img_path", "img_name"),
    ),
    "label": (
        "label",
        "class",
        "class_name",
        "label_name",
        "target",
        "category",
        "diagnosis",
        "dx",
    ),
    "split": ("split", "set", "subset", "partition"),
    "group": (
        *("group", "group_id", "patient", "patient_id", "subject", "subject_id", "case", "case_id"),
        *("slide", "slide_id", "lesion_id", "photo", "photo_id", "photograph"),
    ),
}
"""What a column may be called, by what it is; ``--columns`` names others."""

MOST_BYTES = 512_000_000
MOST_HEADER = 100_000
LONGEST_CELL = 4_000
"""Characters of a path, label or group; the longest path that Linux opens has 4,095 bytes."""

_MEDMNIST = ("split", "path", "label")
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Row:
    """One line of a table: its number in the file, and its cells by role, without outer spaces."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """The rows of a CSV, the columns that were found by role, and those that nothing was made of."""

    path: Path
    rows: list[Row]
    columns: dict[str, str]
    unused: tuple[str, ...]


def read_table(path: Path, columns: str, needed: Sequence[str]) -> Table:
    """Read a CSV's rows by role; ``needed`` roles must be there, those of ROLES may.

    Raises:
        DataError: no table, no such column or several for one role, an empty cell of a needed one.
        ConfigError: ``columns`` is not of the form ``path=FILE,label=CLASS``.
    """
    lines = _lines(path)
    asked = _asked(columns)
    first, cells = lines[0]
    if cells[0].casefold() in SPLIT_WORDS and len(cells) >= 3 and is_image(cells[1]) and not asked:
        header, body = list(_MEDMNIST), lines
        if len(cells) > 3:
            raise DataError(
                f"{path} has {len(cells) - 2} labels per image; edgecell reads one from a table"
            )
    elif any(is_image(cell) for cell in cells):
        raise DataError(
            f"{path} starts with an image, not with the names of its columns; add a first line such"
            " as path,label"
        )
    else:
        header, body = cells, lines[1:]
    place = _columns(path, header, asked, needed)
    rows = []
    for line, cells in body:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line} has {len(cells)} cells, the first line {len(header)};"
                " put cells that hold the separator in quotes"
            )
        row = Row(line, {role: cells[i] for role, i in place.items()})
        long = [header[place[role]] for role in place if len(row.cells[role]) > LONGEST_CELL]
        if long:
            raise DataError(
                f"{path}, line {line}: '{long[0][:40]}' has more than {LONGEST_CELL:,}"
                " characters; no path, class or group is so long"
            )
        empty = [header[place[role]] for role in place if not row.cells[role]]
        if empty:
            raise DataError(
                f"{path}, line {line}: '{empty[0]}' is empty; fill it or remove the row"
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{path} has no rows below its first line (line {first})")
    unused = tuple(name for i, name in enumerate(header) if i not in place.values() and name)
    return Table(path, rows, {role: header[i] for role, i in place.items()}, unused)


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and stripped cells of each line that is not blank."""
    try:
        data = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except DocumentError as error:
        raise DataError(f"{path} is no table that can be read: {error}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4096]:
        raise DataError(
            f"{path} is no UTF-8 text (UTF-16, or no text at all); save it as CSV UTF-8"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no UTF-8 text (byte {error.start}); save it as CSV UTF-8"
        ) from error
    start = next((line for line in text.splitlines() if line.strip()), "")
    if len(start) > MOST_HEADER:
        raise DataError(
            f"{path} begins with a line of {len(start):,} characters; allowed: {MOST_HEADER:,}"
        )
    delimiter = max(_DELIMITERS, key=lambda d: len(next(csv.reader([start], delimiter=d), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [
            (reader.line_num, [c.strip() for c in row])
            for row in reader
            if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; save the table again") from error
    if not lines:
        raise DataError(f"{path} is empty; wanted the columns path and label")
    return lines


def _asked(columns: str) -> dict[str, str]:
    asked = {}
    for part in filter(None, (part.strip() for part in columns.split(","))):
        role, equals, name = part.partition("=")
        if not equals or role.strip() not in ROLES or role.strip() in asked:
            raise ConfigError(
                f"--columns {columns!r} is not of the form path=NAME,label=NAME; allowed before '=':"
                f" {', '.join(ROLES)}, each once"
            )
        asked[role.strip()] = name.strip()
    return asked


def _columns(
    path: Path, header: list[str], asked: dict[str, str], needed: Sequence[str]
) -> dict[str, int]:
    """Where each role's column is."""
    known = [name.casefold() for name in header]
    twice = [name for name, count in Counter(filter(None, known)).items() if count > 1]
    if twice:
        raise DataError(f"{path} has two columns called '{twice[0]}'; rename one")
    place = {}
    for role, words in ROLES.items():
        if role in asked:
            if not asked[role]:
                continue
            if asked[role].casefold() not in known:
                near = difflib.get_close_matches(asked[role], header, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(header[:12])}"
                raise DataError(f"{path} has no column '{asked[role]}'; {hint}")
            place[role] = known.index(asked[role].casefold())
            continue
        plain = [name.replace(" ", "_").replace("-", "_") for name in known]
        fitting = [i for i, name in enumerate(plain) if name in words and i not in place.values()]
        if len(fitting) > 1:
            names = " and ".join(f"'{header[i]}'" for i in fitting)
            raise DataError(
                f"{path} has {names}, each of which may be the {role}; say which with --columns"
                f" {role}={header[fitting[0]]}"
            )
        if fitting:
            place[role] = fitting[0]
    missing = [role for role in needed if role not in place]
    if missing:
        raise DataError(
            f"{path} has no column for the {missing[0]} (it has {', '.join(header[:12])}); name it"
            f" {missing[0]}, or say --columns {missing[0]}=NAME"
        )
    return place


def is_image(name: str) -> bool:
    """Whether a cell names a file that can be an image."""
    return Path(name).suffix.lower() in EXTENSIONS
