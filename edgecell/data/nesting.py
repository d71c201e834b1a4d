"""Whether the classes of an image folder lie on another level than the first, where they are looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from edgecell.data.listing import SPLIT_WORDS, natural
from edgecell.naming import listed


def repeated_below(classes: Mapping[str, Sequence[str]], depth: int) -> str:
    """A note where all class folders have the same two sub-folders or more, as patients do; else "".

    Args:
        classes: image paths by class folder; depth: folders above a class folder in these paths.
    """
    below = [_subfolders(paths, depth + 1) for paths in classes.values()]
    if len(below) < 2 or len(below[0]) < 2 or any(each.keys() != below[0].keys() for each in below):
        return ""
    inner = sorted(below[0].values(), key=natural)
    what, columns = "classes", "path, label and, where they are patients, group"
    if all(name.casefold() in SPLIT_WORDS for name in inner):
        what, columns = "splits", "path, label and split"
    return (
        f"taken for classes: {listed(sorted(classes, key=natural))}; each of these {len(classes)} folders has"
        f" the sub-folders {listed(inner)}: if those are the {what}, list the images in a CSV with the columns"
        f" {columns}, and give it to --data"
    )


def wrapping(paths: Sequence[str]) -> tuple[str, list[str]] | None:
    """The folder, by its path, that all images lie below, and its sub-folders; None if it has no two.

    That is where the classes are if all images seem to be of one.
    """
    parents = [PurePosixPath(path).parent.parts for path in paths]
    depth = 0
    while len({parts[: depth + 1] for parts in parents}) == 1 and len(parents[0]) > depth:
        depth += 1
    inner = _subfolders(paths, depth)
    if len(inner) < 2:
        return None
    return "/".join(parents[0][:depth]), sorted(inner.values(), key=natural)


def _subfolders(paths: Sequence[str], depth: int) -> dict[str, str]:
    """The folders at ``depth`` that images lie in or below, by their names in lower case."""
    parents = [PurePosixPath(path).parent.parts for path in paths]
    return {parts[depth].casefold(): parts[depth] for parts in parents if len(parts) > depth}
