"""What the folder and the table of paths have in common: image files with a class and, maybe, a split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecell.config import DataConfig
from edgecell.data.sources import FileSource
from edgecell.data.splits import complete_splits, require_classes
from edgecell.data.types import Dataset, Split
from edgecell.errors import DataError
from edgecell.tasks import one_label

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""How people call the splits, in lower case."""


@dataclass(frozen=True)
class Listing:
    """Image files below ``root``, as they were found: before any split is made.

    ``splits`` holds the splits that were given, train at least; all sources are FileSources.
    ``groups`` has a group name per image and split, where the source tells groups apart. The labels
    and splits of a ``kind`` "csv" stand in the table and not in the paths.
    """

    kind: str
    name: str
    root: Path
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    groups: dict[str, tuple[str, ...]] | None = None
    notes: list[str] = field(default_factory=list)

    def paths(self, split: str) -> list[str]:
        """The paths of a split below ``root``, in the order of its labels."""
        source = self.splits[split].source
        assert isinstance(source, FileSource)
        return source.paths


def to_dataset(listing: Listing, config: DataConfig) -> Dataset:
    """Make the splits that are missing, check the classes, and take the fingerprint.

    Raises:
        DataError: too few images of a class; groups that stand in two splits, under ``strict_splits``.
        ConfigError: fractions that leave nothing for train.
    """
    where = str(listing.root)
    digest = fingerprint(listing)
    notes = list(listing.notes)
    straddling = groups_across(listing.splits, listing.groups) if listing.groups else ""
    if straddling and config.strict_splits:
        raise DataError(f"{straddling}; make splits anew with 'edgecell data split --pool'")
    notes += [straddling] if straddling else []
    known = listing.groups or {}
    given = {name: replace(split, groups=known.get(name)) for name, split in listing.splits.items()}
    splits = complete_splits(given, listing.class_names, config, notes, known.get("train"))
    require_classes(where, splits, listing.class_names, notes)
    return Dataset(
        name=listing.name,
        task=one_label(listing.class_names),
        class_names=listing.class_names,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        origin={"kind": listing.kind, "fingerprint": digest},
        notes=tuple(notes),
    )


def groups_across(splits: Iterable[str], groups: dict[str, tuple[str, ...]]) -> str:
    """One line about groups with images in more than one of the given ``splits``, or ""."""
    seen: dict[str, set[str]] = {}
    for split in splits:
        for name in groups[split]:
            seen.setdefault(name, set()).add(split)
    across = [name for name, holding in seen.items() if len(holding) > 1]
    if not across:
        return ""
    holders = " and ".join(split for split in splits if split in seen[across[0]])
    return f"groups in more than one split: {len(across)} (for example '{across[0]}' in {holders})"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: numbers by value, letters regardless of case, ties by the spelling itself."""
    parts = [
        (0, int(part), "") if part.isdecimal() and len(part) < 100 else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", name)
        if part
    ]
    return [*parts, (2, 0, name)]


def fingerprint(listing: Listing) -> str:
    """sha256 over the sorted relative paths with each file's size and digest, and what a table says."""
    lines = []
    for name, split in listing.splits.items():
        source = split.source
        assert isinstance(source, FileSource)
        for i, digest in enumerate(source.digests()):
            size = (listing.root / source.paths[i]).stat().st_size
            said = f"\0{name}\0{int(split.labels[i])}" if listing.kind == "csv" else ""
            lines.append(f"{source.paths[i]}\0{size}\0{digest.hex()}{said}\n")
    if listing.kind == "csv":
        lines.append("\0".join(listing.class_names))
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
