"""Groups: all images of a patient or a photograph, kept on one side of a split, and what they do to intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edgecell.errors import DataError
from edgecell.tasks import several_labels


def share_out(
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    groups: Sequence[Hashable],
    copies: Sequence[Hashable],
    fractions: dict[str, float],
    seed: int,
) -> NDArray[np.str_]:
    """The split of each image, str (N,): "train" or a name of ``fractions``; no group is cut.

    ``groups`` and ``copies`` are a key per image; images that share either go together, and so do
    chains of them. Groups are handed out from the largest to the smallest, each to the split whose
    classes it brings nearest to their targets: the rule of scikit-learn's StratifiedGroupKFold, for
    parts of unequal size, and of each label for labels (N, C) of 0 and 1. Groups of equal size come in
    an order drawn from ``seed``.

    Raises:
        DataError: a class is in fewer groups than there are splits, or cannot be in all of them.
    """
    whole = together(groups, copies)
    several = several_labels(labels)
    if several:
        class_names = (
            *class_names,
            "any image",
        )  # so that those without a label are shared out too
    held = np.zeros((whole.max() + 1, len(class_names)))
    if several:
        np.add.at(held, whole, np.c_[labels, np.ones(len(labels), np.int64)])
    else:
        np.add.at(held, (whole, labels), 1)
    names = ("train", *fractions)
    _require_groups(held, class_names, names)
    shares = np.array([1 - sum(fractions.values()), *fractions.values()])
    target = shares[:, None] * held.sum(axis=0)[None, :]
    target[target == 0] = 1  # a class without images pulls nothing anywhere

    shuffled = np.random.default_rng([seed, 4]).permutation(len(held))
    order = shuffled[np.argsort(-held[shuffled].sum(axis=1), kind="stable")]
    owner = np.zeros(len(held), np.int64)
    got = np.zeros_like(target)
    for group in order:
        # What χ² of the counts against the targets gains when the group comes to a split.
        gain = (held[group] * (2 * (got - target) + held[group]) / target).sum(axis=1)
        owner[group] = gain.argmin()
        got[owner[group]] += held[group]
    _fill_gaps(owner, held, got, target, class_names, names)
    return np.array(names)[owner][whole]


def dependence_line(where: str, images: int, groups: int | None) -> str:
    """One line about images of fewer groups, or "" where each is alone or none are known (None).

    Wilson's interval, the bootstrap over images and every test in pairs take images as independent.
    """
    if groups is None or groups == images:
        return ""
    return (
        f"{where}: {images:,} images of {groups:,} groups: intervals take images as independent, so they"
        " are too narrow"
    )


def together(groups: Sequence[Hashable], copies: Sequence[Hashable]) -> NDArray[np.int64]:
    """A number per image, int64 (N,): equal for images linked by an equal key of either kind."""
    one, other = _numbers(groups), _numbers(copies)
    first = one.max() + 1
    links = coo_matrix((np.ones(len(one)), (one, first + other)), [first + other.max() + 1] * 2)
    _, component = connected_components(links, directed=False)
    return np.unique(component[one], return_inverse=True)[1].astype(np.int64)


def _numbers(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], np.int64)


def _require_groups(
    held: NDArray[np.float64], class_names: tuple[str, ...], names: tuple[str, ...]
) -> None:
    counts = (held > 0).sum(axis=0)
    present = held.sum(axis=0) > 0
    short = [
        f"'{class_names[c]}' {counts[c]}" for c in np.flatnonzero(present & (counts < len(names)))
    ]
    if short:
        raise DataError(
            f"too few groups to make {len(names)} splits of: {', '.join(short[:8])};"
            f" each class needs images in at least {len(names)} groups: add images, leave a split"
            " away, or group by something finer"
        )


def _fill_gaps(
    owner: NDArray[np.int64],
    held: NDArray[np.float64],
    got: NDArray[np.float64],
    target: NDArray[np.float64],
    class_names: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    """Move a group into each split that went without a class, the one that costs least."""
    for label in np.flatnonzero(held.sum(axis=0) > 0):
        for split in range(len(names)):
            if got[split, label]:
                continue
            best, cost = -1, np.inf
            for group in np.flatnonzero(held[:, label]):
                left = got[owner[group]] - held[group]
                if ((left == 0) & (held[group] > 0)).any():
                    continue  # its own split would lose a class
                after = ((left - target[owner[group]]) ** 2 / target[owner[group]]).sum()
                after += ((got[split] + held[group] - target[split]) ** 2 / target[split]).sum()
                before = (
                    (got[owner[group]] - target[owner[group]]) ** 2 / target[owner[group]]
                ).sum()
                if after - before < cost:
                    best, cost = int(group), after - before
            if best < 0:
                raise DataError(
                    f"no way was found to have '{class_names[label]}' in {names[split]} without cutting"
                    " a group; try another --seed or other fractions, or group by something finer"
                )
            got[owner[best]] -= held[best]
            got[split] += held[best]
            owner[best] = split
