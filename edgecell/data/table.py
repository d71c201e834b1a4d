"""A CSV of image paths and labels, one row per image.

    path,label,split,patient
    images/0001.png,monocyte,train,P07

Also with semicolons or tabs, and in the form that ``medmnist``'s own ``save`` writes, without a
header: ``TRAIN,train0_3.png,3``. Paths are relative to the CSV's folder.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from edgecell.config import DataConfig
from edgecell.data.class_names import named
from edgecell.data.joined import joined_labels
from edgecell.data.listing import EXTENSIONS, SPLIT_WORDS, Listing, natural, to_dataset
from edgecell.data.sources import FileSource
from edgecell.data.splits import require_two
from edgecell.data.table_file import Row, Table, is_image, read_table
from edgecell.data.types import SPLITS, Dataset, Split
from edgecell.errors import DataError

SUFFIXES = (".csv", ".tsv")


def load_table(path: Path, config: DataConfig) -> Dataset:
    """A CSV as a data set; see :func:`list_table` and :func:`to_dataset`."""
    return to_dataset(list_table(path, config), config)


def list_table(path: Path, config: DataConfig) -> Listing:
    """The images that a CSV lists, with the splits and groups it gives.

    Columns are known by their names (ROLES) or by ``config.columns``, ``path=FILE,label=CLASS``; an
    empty name (``group=``) leaves a column away. Labels that differ in case only are one class, in
    its most frequent spelling, and so are groups. A row that repeats another one is left out and
    noted; labels that join several are classes of their own, which a note says.

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
    groups = None
    if "group" in table.columns:
        groups = one_group([row.cells["group"] for row in rows], notes)
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


def one_group(groups: list[str], notes: list[str]) -> list[str]:
    """Groups, those that differ in case only in their most frequent spelling; a note says so."""
    chosen = _spellings(groups)
    several = [(name, others) for name, others in chosen.values() if others]
    if several:
        name, others = several[0]
        notes.append(
            f"groups that differ in case only, read as one: {len(several)} (for example"
            f" '{name}', also {', '.join(others)})"
        )
    return [chosen[group.casefold()][0] for group in groups]


def _one_spelling(labels: list[str], notes: list[str]) -> list[str]:
    chosen = _spellings(labels)
    for name, others in chosen.values():
        if others:
            notes.append(f"labels read as '{name}': {', '.join(others)}")
    return [chosen[label.casefold()][0] for label in labels]


def _spellings(words: list[str]) -> dict[str, tuple[str, list[str]]]:
    """Folded word → its most frequent spelling, and the others with how often they occur."""
    counted: dict[str, Counter[str]] = {}
    for word in words:
        counted.setdefault(word.casefold(), Counter())[word] += 1
    found = {}
    for key, spellings in counted.items():
        usual = spellings.most_common(1)[0][0]
        others = [f"'{name}' ({count})" for name, count in spellings.items() if name != usual]
        found[key] = (usual, others)
    return found


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
    if not is_image(listed[0]):
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
