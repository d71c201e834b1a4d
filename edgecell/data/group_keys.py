"""Which images belong together: by their names, by a table, or by what they show."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgecell.data.copies import find_copies
from edgecell.data.listing import Listing
from edgecell.data.sources import FileSource
from edgecell.data.table import SUFFIXES, one_group
from edgecell.data.table_file import read_table
from edgecell.errors import ConfigError, DataError

COPIES = "copies"
"""The word that asks for :func:`edgecell.data.copies.find_copies` instead of a pattern or a table."""

GroupNames = dict[str, tuple[str, ...]]
"""A group name per image, by split, in the order of the split's labels."""


def group_names(
    listing: Listing, by: str, notes: list[str], progress: Callable[[int], None] | None = None
) -> GroupNames | None:
    """The group of each image; None where nothing groups them.

    ``by`` is a regular expression that is searched for in each path below the source (its brackets,
    else its whole match, are the group), or the path of a CSV with a path and a group column, or
    COPIES, or "" for the groups that the source itself has. Groups that differ in case only are one.

    Raises:
        ConfigError: not a regular expression; OpenCV is missing for COPIES.
        DataError: the pattern misses images or groups nothing, the table misses images.
    """
    if not by:
        return listing.groups
    if by == COPIES:
        return _by_looks(listing, notes, progress)
    if by.lower().endswith(SUFFIXES):
        return _by_table(listing, Path(by).expanduser(), notes)
    return _by_pattern(listing, by, notes)


def _by_pattern(listing: Listing, pattern: str, notes: list[str]) -> GroupNames:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"--group-by {pattern!r} is not a regular expression: {error}; to group by a table, give"
            " a file that ends with .csv"
        ) from error
    paths = [path for split in listing.splits for path in listing.paths(split)]
    found = [_matched(compiled.search(path)) for path in paths]
    missed = [path for path, name in zip(paths, found, strict=True) if not name]
    if missed:
        raise DataError(
            f"--group-by {pattern!r} matches {len(paths) - len(missed)} of {len(paths)} paths, not"
            f" {missed[0]!r}; every image needs a group"
        )
    names = one_group(found, notes)
    count = len(set(names))
    if count == len(paths):
        raise DataError(
            f"--group-by {pattern!r} groups nothing: it finds {count} groups in {len(paths)} images,"
            f" such as {names[0]!r}; match only what the images of a group share, or leave"
            " --group-by away"
        )
    return by_split(listing, names)


def _matched(match: re.Match[str] | None) -> str:
    """The group as a table can hold it; "" where none was found, or one without a name."""
    if match is None:
        return ""
    brackets = [part.strip() for part in match.groups() if part is not None]
    if brackets:
        return "/".join(brackets) if any(brackets) else ""
    return match.group().strip()


def by_split(listing: Listing, names: Sequence[str]) -> GroupNames:
    """Names of all images, in the order of the splits, as a tuple for each split."""
    result, start = {}, 0
    for split in listing.splits:
        end = start + len(listing.splits[split])
        result[split] = tuple(names[start:end])
        start = end
    return result


def _by_table(listing: Listing, path: Path, notes: list[str]) -> GroupNames:
    if not path.is_file():
        raise DataError(f"no table at {path}; --group-by takes a regular expression or a CSV")
    given: dict[str, str] = {}
    for row in read_table(path, "", needed=("path", "group")).rows:
        name, group = row.cells["path"].replace("\\", "/"), row.cells["group"]
        if given.setdefault(name, group).casefold() != group.casefold():
            raise DataError(
                f"{path}, line {row.line}: '{name}' is in the groups '{given[name]}' and '{group}';"
                " keep one"
            )
    paths = [p for split in listing.splits for p in listing.paths(split)]
    known = [_known_as(p, given) for p in paths]
    missed = [p for p, name in zip(paths, known, strict=True) if name is None]
    if missed:
        raise DataError(
            f"{path} has a group for {len(paths) - len(missed)} of {len(paths)} images, not for"
            f" '{missed[0]}'; write paths as they are below {listing.root}, or file names"
        )
    names = one_group([given[name] for name in known if name is not None], notes)
    if len(set(names)) == len(paths):
        notes.append(f"every image has a group of its own in {path.name}: it groups nothing")
    return by_split(listing, names)


def _known_as(path: str, given: dict[str, str]) -> str | None:
    """The longest end of ``path`` that the table has: the path itself, … , the file name."""
    parts = path.split("/")
    return next((end for i in range(len(parts)) if (end := "/".join(parts[i:])) in given), None)


def _by_looks(
    listing: Listing, notes: list[str], progress: Callable[[int], None] | None
) -> GroupNames:
    paths = [p for split in listing.splits for p in listing.paths(split)]
    found = find_copies(FileSource(listing.root, paths), progress)
    sizes = np.bincount(found.groups)
    if sizes.max() == 1:
        notes.append(
            "no turned, mirrored or shifted copies were found: each image is its own group"
        )
    if found.without_features:
        notes.append(
            f"images that show too little to be compared: {found.without_features} of {len(paths)};"
            " each is a group of its own"
        )
    width = len(str(len(sizes)))
    names = [f"photo-{number + 1:0{width}d}" for number in found.groups.tolist()]
    return by_split(listing, names)
