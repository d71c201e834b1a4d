"""Exact duplicates within and across splits, and copies that carry different labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from edgecell.data.sources import digests
from edgecell.data.types import SPLITS, Dataset
from edgecell.errors import DataError

EXAMPLES = 5
MOST_SHARED = 0.5
"""Share of a split's images that are also in train from which on its figures are refused."""


@dataclass(frozen=True)
class Duplicates:
    """Counts of images with equal content.

    Equal means the same pixels for arrays and the same file bytes for image files.

    ``within``: per split, how many images repeat an earlier image of that split.
    ``across``: per pair "train/val", "train/test", "val/test", how many images of the second split
    are also in the first. ``conflicts``: how many distinct images are labelled in more than one way.
    The examples are names, at most EXAMPLES of each.
    """

    within: dict[str, int]
    across: dict[str, int]
    conflicts: int
    within_examples: tuple[tuple[str, str], ...]
    across_examples: tuple[tuple[str, str], ...]
    conflict_examples: tuple[tuple[str, str], ...]

    @property
    def leaks(self) -> int:
        """Images that a later split shares with an earlier one, summed over the pairs."""
        return sum(self.across.values())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "within": self.within,
            "across": self.across,
            "conflicts": self.conflicts,
            "within_examples": [list(pair) for pair in self.within_examples],
            "across_examples": [list(pair) for pair in self.across_examples],
            "conflict_examples": [list(pair) for pair in self.conflict_examples],
        }

    def across_line(self) -> str:
        """One line about images shared by splits, or "" when there are none."""
        if not self.leaks:
            return ""
        pairs = ", ".join(
            f"{count} of {pair.split('/')[1]} also in {pair.split('/')[0]}"
            for pair, count in self.across.items()
            if count
        )
        one, other = self.across_examples[0]
        return f"exact duplicates across splits: {pairs} (for example {one} = {other})"

    def conflict_line(self) -> str:
        """One line about equal images with different labels, or "" when there are none."""
        if not self.conflicts:
            return ""
        one, other = self.conflict_examples[0]
        return (
            f"equal images with different labels: {self.conflicts} (for example {one} and {other})"
        )


def overlap_line(dataset: Dataset, split: str) -> str:
    """One line about images of ``split`` that an earlier split has too, or "" where there are none."""
    found = {
        pair.split("/")[0]: count
        for pair, count in dataset.shared.items()
        if count and pair.endswith(f"/{split}")
    }
    if not found:
        return ""
    listed = ", ".join(f"{count} of {split} also in {earlier}" for earlier, count in found.items())
    return f"exact duplicates across splits: {listed}; figures on {split} are too good"


def refuse_overlap(dataset: Dataset, split: str) -> None:
    """DataError where half of the images of ``split`` or more are images of train."""
    size, shared = len(dataset.split(split)), dataset.shared.get(f"train/{split}", 0)
    if shared >= MOST_SHARED * size:
        raise DataError(
            f"{shared} of the {size} images of {split} are also in train: figures on images that a"
            f" model has learnt say nothing; allowed: less than {MOST_SHARED:.0%}; give {split} images"
            " of its own, or leave it out to have it made from train"
        )


def find_duplicates(dataset: Dataset) -> Duplicates:
    """Hash every image once and compare; linear in the number of images."""
    first_in: dict[str, dict[bytes, int]] = {name: {} for name in SPLITS}
    first_seen: dict[bytes, tuple[str, int]] = {}
    label_of: dict[bytes, bytes] = {}
    conflicting: dict[bytes, tuple[str, str]] = {}
    within = dict.fromkeys(SPLITS, 0)
    within_examples: list[tuple[str, str]] = []

    def called(split: str, row: int) -> str:
        return dataset.split(split).source.name(row)

    per_split = {name: digests(dataset.split(name).source) for name in SPLITS}
    for name in SPLITS:
        labels = dataset.split(name).labels
        for row, digest in enumerate(per_split[name]):
            if digest in first_in[name]:
                within[name] += 1
                if len(within_examples) < EXAMPLES:
                    within_examples.append(
                        (called(name, first_in[name][digest]), called(name, row))
                    )
            else:
                first_in[name][digest] = row
            if digest not in first_seen:
                first_seen[digest] = (name, row)
                label_of[digest] = labels[row].tobytes()
            elif label_of[digest] != labels[row].tobytes() and digest not in conflicting:
                conflicting[digest] = (called(*first_seen[digest]), called(name, row))

    across: dict[str, int] = {}
    across_examples: list[tuple[str, str]] = []
    for one, other in combinations(SPLITS, 2):
        shared = [row for row, digest in enumerate(per_split[other]) if digest in first_in[one]]
        across[f"{one}/{other}"] = len(shared)
        for row in shared[: EXAMPLES - len(across_examples)]:
            across_examples.append(
                (called(one, first_in[one][per_split[other][row]]), called(other, row))
            )
    return Duplicates(
        within=within,
        across=across,
        conflicts=len(conflicting),
        within_examples=tuple(within_examples),
        across_examples=tuple(across_examples),
        conflict_examples=tuple(list(conflicting.values())[:EXAMPLES]),
    )
