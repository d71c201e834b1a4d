"""A CSV of image paths and labels, one row per image.

    path,label,split,patient
    images/0001.png,monocyte,train,P07

Also with semicolons or tabs, and in the form that ``medmnist``'s own ``save`` writes, without a
header: ``TRAIN,train0_3.png,3``. Paths are relative to the CSV's folder.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecell.config import DataConfig
from edgecell.data.class_names import named
from edgecell.data.joined import joined_labels
from edgecell.data.listing import EXTENSIONS, SPLIT_WORDS, Listing, natural, to_dataset
from edgecell.data.sources import FileSource
from edgecell.data.splits import require_two
from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.documents import DocumentError, read_regular
from edgecell.errors import ConfigError, DataError

SUFFIXES = (".csv", ".tsv")
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


def load_table(path: Path, config: DataConfig) -> Dataset:
    """A CSV as a data set; see :func:`list_table` and :func:`to_dataset`."""
    return to_dataset(list_table(path, config), config)


def list_table(path: Path, config: DataConfig) -> Listing:
    """The images that a CSV lists, with the splits and groups it gives.

    Columns are known by their names (ROLES) or by ``config.columns``, ``path=FILE,label=CLASS``; an
    empty name (``group=``) leaves a column away. Labels that differ in case only are one class, in
    its most frequent spelling. A row that repeats another one is left out and noted; labels that join
    several are classes of their own, which a note says.

    Raises:
        DataError: no table; no such column, or several for one role; a cell that is empty or not a
            split; missing files; rows that contradict each other; one class.
        ConfigError: ``config.columns`` is not of its form.
    """
    table = read_table(path, config.columns, needed=("path", "label"))
    notes: list[str] = []
    if table.unused:
        notes.append(f"columns not used: {', '.join(table.unused[:8])}")
    rows = _without_repeats(table, notes)
    files = _find_files(path, [row.cells["path"] for row in rows], [row.line for row in rows])
    labels = _one_spelling([row.cells["label"] for row in rows], notes)
    notes += filter(None, [joined_labels(labels)])
    splits = [_split_of(path, row) for row in rows] if "split" in table.columns else None
    if splits is not None and "train" not in splits:
        raise DataError(
            f"{path} has no row of train in '{table.columns['split']}'; add some, or leave the column"
            " away with --columns split="
        )
    class_names = tuple(sorted(set(labels), key=natural))
    number = {name: i for i, name in enumerate(class_names)}
    class_names = named(class_names, config.class_names, str(path))
    require_two(str(path), class_names)
    groups = [row.cells["group"] for row in rows] if "group" in table.columns else None
    found, in_groups = {}, {}
    for name in SPLITS:
        chosen = [i for i in range(len(rows)) if (splits[i] if splits else "train") == name]
        if chosen:
            source = FileSource(path.parent, [files[i] for i in chosen])
            found[name] = Split(name, source, np.array([number[labels[i]] for i in chosen]))
            in_groups[name] = tuple(groups[i] for i in chosen) if groups else ()
    return Listing(
        kind="csv",
        name=path.stem,
        root=path.parent,
        class_names=class_names,
        splits=found,
        groups=in_groups if groups else None,
        notes=notes,
    )


def read_table(path: Path, columns: str, needed: Sequence[str]) -> Table:
    """Read a CSV's rows by role; ``needed`` roles must be there, those of ROLES may.

    Raises:
        DataError, ConfigError: as :func:`list_table`.
    """
    lines = _lines(path)
    asked = _asked(columns)
    first, cells = lines[0]
    if cells[0].casefold() in SPLIT_WORDS and len(cells) >= 3 and _is_image(cells[1]) and not asked:
        header, body = list(_MEDMNIST), lines
        if len(cells) > 3:
            raise DataError(
                f"{path} has {len(cells) - 2} labels per image; edgecell reads one from a table"
            )
    elif any(_is_image(cell) for cell in cells):
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


def _without_repeats(table: Table, notes: list[str]) -> list[Row]:
    """The rows without those that say the same again; contradictions are refused."""
    first: dict[str, Row] = {}
    repeats = []
    for row in table.rows:
        earlier = first.setdefault(row.cells["path"], row)
        if earlier is row:
            continue
        for role, said in row.cells.items():
            if said.casefold() != earlier.cells[role].casefold():
                raise DataError(
                    f"{table.path}, lines {earlier.line} and {row.line}: '{row.cells['path']}' has the"
                    f" {role} '{earlier.cells[role]}' and '{said}'; keep one"
                )
        repeats.append(row)
    if repeats:
        notes.append(
            f"rows left out, they repeat another: {len(repeats)} (for example line {repeats[0].line})"
        )
    return list(first.values())


def _one_spelling(labels: list[str], notes: list[str]) -> list[str]:
    spellings: dict[str, Counter[str]] = {}
    for label in labels:
        spellings.setdefault(label.casefold(), Counter())[label] += 1
    chosen = {key: counted.most_common(1)[0][0] for key, counted in spellings.items()}
    for key, counted in spellings.items():
        others = [f"'{name}' ({count})" for name, count in counted.items() if name != chosen[key]]
        if others:
            notes.append(f"labels read as '{chosen[key]}': {', '.join(others)}")
    return [chosen[label.casefold()] for label in labels]


def _split_of(path: Path, row: Row) -> str:
    split = SPLIT_WORDS.get(row.cells["split"].casefold())
    if split is None:
        raise DataError(
            f"{path}, line {row.line}: no split '{row.cells['split']}'; allowed: train, val, test"
            " (in any case, also training, valid, validation, testing)"
        )
    return split


def _find_files(path: Path, listed: list[str], lines: list[int]) -> list[str]:
    """The paths below the CSV's folder; refuses a table some of whose files are not there.

    Backslashes are taken for slashes, an extension that is left away is looked for, and so is a
    folder beside the CSV that is called like it, where ``medmnist`` puts the images.
    """
    root = path.parent
    ways = [listed]
    if any("\\" in name for name in listed):
        ways.append([name.replace("\\", "/") for name in listed])
    if not _is_image(listed[0]):
        ways += [[name + suffix for name in ways[-1]] for suffix in sorted(EXTENSIONS)]
    ways += [[f"{path.stem}/{name}" for name in way] for way in ways]
    found = next((way for way in ways if _is_file(root / way[0])), listed)
    missing = [i for i, name in enumerate(found) if not _is_file(root / name)]
    if missing:
        raise DataError(
            f"{path} lists {len(missing)} of {len(listed)} files that are not there, the first in line"
            f" {lines[missing[0]]}: '{listed[missing[0]]}' (looked for below {root})"
        )
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in EXTENSIONS
