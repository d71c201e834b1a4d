"""Labels that are not wrong here and there but moved: shifted by one, or classes taken for one another.

Read from a confusion matrix alone. What a weak or a dead model does is not taken for it: that predicts
few classes, while moved labels leave the predictions apart, only under other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.metrics.intervals import wilson_interval
from edgecell.metrics.scores import IntArray


@dataclass(frozen=True)
class Moved:
    """``hits`` of the ``images`` of some classes are predicted as the class that ``to`` says.

    ``to``: (class, predicted as) of each of them. ``offset``: by how much all are shifted (modulo the
    number of classes), None where single classes are taken for one another in a ring.
    """

    to: tuple[tuple[int, int], ...]
    hits: int
    images: int
    offset: int | None = None


def find_moved(confusion: NDArray[np.int64]) -> Moved | None:
    """What moved labels would explain in ``confusion`` (C, C), rows = label; None for nothing.

    Shifted: most images, by the lower end of their share's 95 % Wilson interval, are predicted as
    ``label + offset`` modulo C with one offset that is not 0, in three classes and half of all that
    have images. Swapped: of each class of a ring most images are predicted as the next one of it.
    """
    return _shifted(confusion) or _ring(confusion)


def moved_line(moved: Moved, class_names: Sequence[str], where: str) -> str:
    """One line for people; ``where`` names the images ("val")."""
    share = f"{moved.hits / moved.images:.0%} of {moved.images:,} images"
    if moved.offset is not None:
        count = len(class_names)
        step = moved.offset if moved.offset <= count / 2 else moved.offset - count
        what = f"labels of {where} look shifted: class k is predicted as k{step:+d} in {share}"
    else:
        pairs = [f"'{class_names[a]}' is predicted as '{class_names[b]}'" for a, b in moved.to[:4]]
        more = f" and {len(moved.to) - 4} more" if len(moved.to) > 4 else ""
        what = f"labels of {where} look swapped: {', '.join(pairs)}{more} in {share}"
    return f"{what}; compare the order of the classes there and in training: 'edgecell data show'"


def _shifted(confusion: IntArray) -> Moved | None:
    count, total = len(confusion), int(confusion.sum())
    rows, columns = np.nonzero(confusion)
    offsets = (columns - rows) % count
    hits = np.bincount(offsets, confusion[rows, columns], count).astype(np.int64)
    hits[0] = 0
    best = int(hits.argmax())
    interval = wilson_interval(int(hits[best]), total)
    if interval is None or interval.low <= 0.5:
        return None
    moved = offsets == best
    present = int((confusion.sum(axis=1) > 0).sum())
    if moved.sum() < max(3, present / 2):
        return None
    pairs = zip(rows[moved].tolist(), columns[moved].tolist(), strict=True)
    return Moved(tuple(pairs), int(hits[best]), total, best)


def _ring(confusion: IntArray) -> Moved | None:
    support, to = confusion.sum(axis=1), confusion.argmax(axis=1)
    for start in np.flatnonzero(to != np.arange(len(to))).tolist():
        ring = [start]
        while to[ring[-1]] not in ring:
            ring.append(int(to[ring[-1]]))
        if to[ring[-1]] != start:
            continue
        hits = confusion[ring, to[ring]]
        bounds = [wilson_interval(int(h), int(n)) for h, n in zip(hits, support[ring], strict=True)]
        if all(bound is not None and bound.low > 0.5 for bound in bounds):
            pairs = tuple((each, int(to[each])) for each in ring)
            return Moved(pairs, int(hits.sum()), int(support[ring].sum()))
    return None
