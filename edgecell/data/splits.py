"""Making a missing split and keeping a part of one: stratified by class or by label, seeded.

Exact copies of an image never end up on both sides of a split that is made here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell.config import DataConfig
from edgecell.data.groups import share_out
from edgecell.data.sources import digests, subset
from edgecell.data.strata import spread
from edgecell.data.types import SPLITS, ImageSource, Split
from edgecell.errors import ConfigError, DataError
from edgecell.tasks import several_labels

_STREAM = {"val": 1, "test": 2, "limit": 3}


def make_splits(
    source: ImageSource,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    fractions: dict[str, float],
    seed: int,
    groups: Sequence[str] | None = None,
) -> dict[str, Split]:
    """Cut ``fractions`` (of all images, by split name) off ``source``; the rest is "train".

    Each class gives ``round(fraction × its distinct images)``, at least one, to each split; where
    images have several labels, each label about that share of its images. With ``groups`` (a name per
    image) no group is cut either, see :func:`edgecell.data.groups.share_out`, and the fractions are
    met as nearly as whole groups can.

    Raises:
        DataError: a class has fewer distinct images, or groups, than there are splits to fill.
        ConfigError: the fractions leave nothing for train.
    """
    total = sum(fractions.values())
    if total > 0.95:
        parts = " + ".join(f"{name} {value}" for name, value in fractions.items())
        raise ConfigError(
            f"split fractions {parts} = {total:g} leave too little for train; allowed: sum ≤ 0.95"
        )
    if groups is None:
        image_owner = _by_class(source, labels, class_names, fractions, seed)
    else:
        image_owner = share_out(labels, class_names, groups, digests(source), fractions, seed)
    made = {}
    for name in ("train", *fractions):
        rows = np.flatnonzero(image_owner == name)
        made[name] = Split(name, subset(source, rows), labels[rows], groups_at(groups, rows))
    return made


def groups_at(groups: Sequence[str] | None, rows: NDArray[np.int64]) -> tuple[str, ...] | None:
    """The groups of the images at ``rows``; None where none are known."""
    return None if groups is None else tuple(groups[row] for row in rows)


def _by_class(
    source: ImageSource,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    fractions: dict[str, float],
    seed: int,
) -> NDArray[np.str_]:
    group_label, group_of = _distinct(source, labels)
    _require_enough(group_label, class_names, needed=len(fractions) + 1)
    owner = np.full(len(group_label), "train", dtype="<U5")
    if several_labels(labels):
        sizes = [round(fraction * len(owner)) for fraction in fractions.values()]
        random = np.random.default_rng([seed, *(_STREAM[name] for name in fractions)])
        part = spread(group_label, [len(owner) - sum(sizes), *sizes], random)
        return np.array(["train", *fractions])[part][group_of]
    for name, fraction in fractions.items():
        rng = np.random.default_rng([seed, _STREAM[name]])
        later = len(fractions) - list(fractions).index(name) - 1
        for label in range(len(class_names)):
            free = np.flatnonzero((group_label == label) & (owner == "train"))
            wanted = round(fraction * int((group_label == label).sum()))
            count = min(max(1, wanted), len(free) - 1 - later)
            owner[rng.permutation(free)[:count]] = name
    return owner[group_of]


def limit_indices(
    labels: NDArray[np.int64], limit: int, seed: int, split: str
) -> NDArray[np.int64]:
    """Rows of a stratified sample of ``limit`` images, in order; all rows when there are no more.

    Every class that is there keeps at least one image; the rest is shared in proportion (largest
    remainders first).

    Raises:
        ConfigError: ``limit`` is smaller than the number of classes.
    """
    if limit >= len(labels):
        return np.arange(len(labels))
    classes, counts = _kinds(labels)
    if limit < len(classes):
        raise ConfigError(
            f"data.limit is {limit} and split '{split}' has {len(classes)} classes; allowed: 0 (no limit)"
            f" or at least {len(classes)}"
        )
    if several_labels(labels):
        random = np.random.default_rng([seed, _STREAM["limit"], *split.encode()])
        return np.flatnonzero(spread(labels, [limit, len(labels) - limit], random) == 0)
    share = 1 + (limit - len(classes)) * (counts - 1) / max(1, (counts - 1).sum())
    take = np.floor(share).astype(int)
    spare = limit - int(take.sum())
    take[np.argsort(take - share, kind="stable")[:spare]] += 1
    rng = np.random.default_rng([seed, _STREAM["limit"], *split.encode()])
    rows = [
        rng.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, take, strict=True)
    ]
    return np.sort(np.concatenate(rows))


def limit_note(limit: int, sizes: dict[str, tuple[int, int]]) -> str:
    """The line that says what a limit left; ``sizes`` are (kept, of) by split."""
    listed = ", ".join(f"{name} {kept} of {whole}" for name, (kept, whole) in sizes.items())
    return f"limited to {limit} images per split ({listed}): figures are not those of the whole set"


def complete_splits(
    splits: dict[str, Split],
    class_names: tuple[str, ...],
    config: DataConfig,
    notes: list[str],
    groups: Sequence[str] | None = None,
) -> dict[str, Split]:
    """Make a missing val or test out of train; ``notes`` gets a line for each.

    ``groups`` are train's, a name per image.

    Raises:
        DataError, ConfigError: as :func:`make_splits`.
    """
    fractions = {
        name: fraction
        for name, fraction in (("val", config.val_fraction), ("test", config.test_fraction))
        if name not in splits
    }
    if not fractions:
        return splits
    train = splits["train"]
    made = make_splits(train.source, train.labels, class_names, fractions, config.seed, groups)
    how = "stratified" if groups is None else "stratified, no group cut"
    for name in fractions:
        notes.append(
            f"no {name} split was given: {len(made[name])} of {len(train)} train images make it"
            f" ({how}, seed {config.seed})"
        )
    return splits | made


def require_two(where: str, class_names: tuple[str, ...]) -> None:
    """DataError unless there are at least two classes."""
    if len(class_names) < 2:
        raise DataError(
            f"{where} has one class only ('{class_names[0]}'); a classifier needs at least 2"
        )


def require_classes(
    where: str, splits: dict[str, Split], class_names: tuple[str, ...], notes: list[str]
) -> None:
    """Check that train has images of every class; note the classes that val or test lacks.

    Raises:
        DataError: a class without train images, or one class only.
    """
    for name in SPLITS:
        counts = splits[name].counts(len(class_names))
        missing = [class_names[i] for i in np.flatnonzero(counts == 0)]
        listed = ", ".join(f"'{m}'" for m in missing[:8])
        if missing and name == "train":
            if len(missing) == len(class_names) - 1 and not splits[name].multi_label:
                require_two(f"{where}: train", (class_names[int(np.argmax(counts))],))
            raise DataError(
                f"{where}: no train images of {listed}; {_from_one(splits, class_names)}add some, or leave"
                " the class out of all splits"
            )
        if missing:
            notes.append(f"{name} has no images of {listed}: its figures say nothing about them")
        if splits[name].multi_label:
            _require_contrast(where, splits[name], class_names)


def _from_one(splits: dict[str, Split], class_names: tuple[str, ...]) -> str:
    """Advice where the numbers of some splits seem to begin at 1 and should at 0; "" elsewhere."""
    if splits["train"].multi_label:
        return ""
    runs = {name: (int(s.labels.min()), int(s.labels.max())) for name, s in splits.items()}
    if not any(low == 1 for low, _ in runs.values()):
        return ""
    listed = ", ".join(f"{low} to {high} in {name}" for name, (low, high) in runs.items())
    return (
        f"labels run from {listed} for classes 0 to {len(class_names) - 1}: where they begin at 1, save"
        " labels - 1; else "
    )


def _distinct(
    source: ImageSource, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(label of each distinct image, group number of each image), groups in order of appearance."""
    number: dict[bytes, int] = {}
    group_of = np.empty(len(labels), np.int64)
    first: list[int] = []
    for row, digest in enumerate(digests(source)):
        if digest not in number:
            number[digest] = len(number)
            first.append(row)
        group_of[row] = number[digest]
    return labels[np.array(first, np.int64)], group_of


def _kinds(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The classes, or the labels, that occur, and how many images have each."""
    if not several_labels(labels):
        return np.unique(labels, return_counts=True)
    counts = labels.sum(axis=0)
    return np.flatnonzero(counts), counts[counts > 0]


def _require_contrast(where: str, split: Split, class_names: tuple[str, ...]) -> None:
    """Refuse a train label that every image has, and a split in which no label tells images apart."""
    counts = split.counts(len(class_names))
    if split.name == "train" and (counts == len(split)).any():
        always = class_names[int(np.argmax(counts))]
        raise DataError(
            f"{where}: all {len(split)} train images have the label '{always}', so there is nothing to"
            " learn about it; leave it out, or add images without it"
        )
    if not ((counts > 0) & (counts < len(split))).any():
        raise DataError(
            f"{where}: in {split.name} no label has both images with it and images without it;"
            " add some, or leave the split out to have it made from train"
        )


def _require_enough(
    group_label: NDArray[np.int64], class_names: tuple[str, ...], needed: int
) -> None:
    several = several_labels(group_label)
    counts = (
        group_label.sum(axis=0) if several else np.bincount(group_label, minlength=len(class_names))
    )
    short = [f"'{class_names[c]}' {counts[c]}" for c in np.flatnonzero(counts < needed)]
    if short:
        more = f" and {len(short) - 8} more" if len(short) > 8 else ""
        raise DataError(
            f"too few distinct images to make {needed} splits: {', '.join(short[:8])}{more};"
            f" each class needs at least {needed}: add images, or give the splits as folders or keys of their own"
        )
