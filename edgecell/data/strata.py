"""Dividing images that can have several labels, so that every part gets its share of each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


def spread(
    labels: NDArray[np.int64], sizes: Sequence[int], random: np.random.Generator
) -> NDArray[np.int64]:
    """The part (N,) of each image of labels (N, C) 0 or 1; part k gets exactly ``sizes[k]`` of all N.

    Iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label data"): the
    label with the fewest images left is dealt out first, in proportion to what each part still
    wants of it. Before that every part gets one image of each label that has one for every part.
    """
    part = np.full(len(labels), -1, np.int64)
    room = np.array(sizes, np.int64)
    assert room.sum() == len(labels)
    wanted = np.outer(room / max(1, len(labels)), labels.sum(axis=0))

    def give(rows: NDArray[np.int64], to: int) -> None:
        part[rows] = to
        room[to] -= len(rows)
        wanted[to] -= labels[rows].sum(axis=0)

    for label in np.argsort(labels.sum(axis=0), kind="stable"):
        for to in np.argsort(room, kind="stable"):
            free = np.flatnonzero((part < 0) & (labels[:, label] == 1))
            lacking = not labels[part == to, label].any()
            if lacking and room[to] and len(free) and labels[:, label].sum() >= len(room):
                give(random.choice(free, 1), int(to))
    while (left := labels[part < 0].sum(axis=0)).any():
        label = int(np.argmin(np.where(left > 0, left, len(labels) + 1)))
        rows = random.permutation(np.flatnonzero((part < 0) & (labels[:, label] == 1)))
        _deal(rows, np.maximum(wanted[:, label], 0.0), room, give)
    rows = random.permutation(np.flatnonzero(part < 0))
    _deal(rows, room.astype(np.float64), room, give)
    return part


def _deal(
    rows: NDArray[np.int64],
    shares: NDArray[np.float64],
    room: NDArray[np.int64],
    give: Callable[[NDArray[np.int64], int], None],
) -> None:
    """Hand out all ``rows`` in proportion to ``shares``, never more than there is room for."""
    if not len(rows):
        return
    weight = shares if (shares * (room > 0)).sum() > 0 else room.astype(np.float64)
    exact = weight / weight.sum() * len(rows)
    counts = np.minimum(np.floor(exact).astype(np.int64), room)
    while counts.sum() < len(rows):
        counts[int(np.argmax(np.where(counts < room, exact - counts, -np.inf)))] += 1
    for to, mine in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
        give(mine, to)
