"""Did a class get worse? Paired tests of recall and F1, corrected for their number.

Recall: McNemar's exact test on the images of the class. F1, which also hangs on images of other
classes: a permutation test. Both one-sided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from edgecell.metrics import Interval, with_width
from edgecell.metrics.paired import (
    discordant,
    drop_bound,
    f1_drop_interval,
    tango_interval,
    worse_p,
)
from edgecell.record import Measurement

Ints = NDArray[np.int64]

_PERMUTATIONS = 9999  # smallest p-value 1e-4; up to 13 images that differ are enumerated exactly
ROUNDING = 1e-9
"""Drops are differences of fractions k/n in float64; without this 1.0 - 0.99 exceeds 0.01."""


@dataclass(frozen=True)
class ClassTest:
    """One class, reference minus converted; p-values are one-sided, small where it got worse.

    ``*_p_holm`` are corrected for all classes and all scores. ``worse``: significant after the
    correction and beyond the budget. A class without images is not tested (p None). AUC is tested
    where an image can have several labels, elsewhere it is None. ``bound`` is what the recall, of a
    label among several the AUC, did not fall by more than, at the one-sided level of the gate.
    """

    name: str
    support: int
    lost: int
    gained: int
    recall_drop: Measurement
    f1_drop: Measurement
    recall_p: float | None
    f1_p: float | None
    recall_p_holm: float | None = None
    f1_p_holm: float | None = None
    worse: bool = False
    auc_drop: Measurement | None = None
    auc_p: float | None = None
    auc_p_holm: float | None = None
    bound: float | None = None

    @property
    def p_holm(self) -> float:
        """The smallest of the corrected p-values; 1.0 where nothing was tested."""
        found = (self.recall_p_holm, self.f1_p_holm, self.auc_p_holm)
        return min(1.0 if p is None else p for p in found)


def compare_classes(
    labels: Ints,
    reference: Ints,
    converted: Ints,
    class_names: tuple[str, ...],
    f1_drops: NDArray[np.float64],
    *,
    alpha: float,
    budget: float,
    seed: int = 0,
) -> tuple[ClassTest, ...]:
    """Test each class's recall and F1, and judge after Holm's correction.

    Args:
        labels, reference, converted: int (N,) in 0..C-1.
        f1_drops: (B, C) resampled drops, for the intervals.
        budget: largest drop that may be significant.
    """
    finest, rows = alpha / (2 * len(class_names)), []
    for index, name in enumerate(class_names):
        drops = f1_drops[:, index]
        row = compare_class(
            labels, reference, converted, index, name, drops, finest=finest, seed=seed
        )
        if row.support:
            row = replace(row, bound=drop_bound(row.lost, row.gained, row.support, alpha))
        rows.append(row)
    return holm(rows, alpha, budget)


def compare_class(
    labels: Ints,
    reference: Ints,
    converted: Ints,
    index: int,
    name: str,
    f1_drops: NDArray[np.float64],
    *,
    finest: float = 1.0,
    seed: int = 0,
) -> ClassTest:
    """Test the recall and the F1 of class ``index``; not corrected, not judged.

    ``labels``, ``reference``, ``converted`` int (N,), ``f1_drops`` (B,) resampled drops of this class;
    ``finest`` as in :func:`f1_permutation_p`.
    """
    mine = labels == index
    support = int(mine.sum())
    if support == 0:
        none = Measurement.missing("fraction", "no images of this class")
        return ClassTest(name, 0, 0, 0, none, none, None, None)
    lost, gained = discordant(reference[mine] == index, converted[mine] == index)
    before, after = (f1_of(mine, each == index) for each in (reference, converted))
    return ClassTest(
        name,
        support,
        lost,
        gained,
        drop_of((lost - gained) / support, support, tango_interval(lost, gained, support)),
        drop_of(
            before - after,
            support,
            f1_drop_interval(mine, reference == index, converted == index, f1_drops),
        ),
        worse_p(lost, gained),
        f1_permutation_p(labels, reference, converted, index, seed, finest),
    )


def f1_of(has: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """F1 of images (N,) that have a class and images it is said of; 0 without either."""
    below = int(has.sum()) + int(said.sum())
    return 2 * int((has & said).sum()) / below if below else 0.0


def holm(rows: list[ClassTest], alpha: float, budget: float) -> tuple[ClassTest, ...]:
    """Correct the p-values of all classes and all their scores as one family, and judge."""
    places = [
        (i, key)
        for i, row in enumerate(rows)
        for key in ("recall_p", "f1_p", "auc_p")
        if getattr(row, key) is not None
    ]
    if not places:
        return tuple(rows)
    corrected = multipletests([getattr(rows[i], key) for i, key in places], method="holm")[1]
    for (i, key), p in zip(places, corrected, strict=True):
        drop = getattr(rows[i], key.removesuffix("_p") + "_drop").value
        found: dict[str, Any] = {f"{key}_holm": float(p)}
        beyond = bool(p <= alpha) and drop > budget + ROUNDING
        rows[i] = replace(rows[i], **found, worse=rows[i].worse or beyond)
    return tuple(rows)


def f1_permutation_p(
    labels: Ints, reference: Ints, converted: Ints, index: int, seed: int, finest: float = 1.0
) -> float:
    """One-sided p-value of class ``index``'s F1 drop: the two predictions of an image swapped at will.

    Exact for exchangeable models. Only images matter that one of the two models calls ``index``.
    ``finest``: the p-value that has to be told from larger ones, what Holm's correction over very many
    classes leaves of the level; below 1e-4 it takes more permutations where they are needed.
    """

    def coded(predicted: Ints) -> Ints:
        # 0: not called this class, 1: called it wrongly, 2: rightly
        return (predicted == index) * (1 + (labels == index)).astype(np.int64)

    first, second = coded(reference), coded(converted)
    differs = first != second
    if not differs.any():
        return 1.0
    same = first[~differs]
    hits, called, support = (
        int((same == 2).sum()),
        int((same > 0).sum()),
        int((labels == index).sum()),
    )

    def f1(code: Ints, axis: int) -> Any:
        right = hits + (code == 2).sum(axis=axis)
        below = np.asarray(support + called + (code > 0).sum(axis=axis), np.float64)
        return np.divide(2 * right, below, out=np.zeros_like(below), where=below > 0)

    # SciPy wants two pairs at least; one more that is the same in both changes nothing.
    pairs = [np.append(code[differs], 0) for code in (first, second)]

    def p_value(permutations: int) -> float:
        found = stats.permutation_test(
            pairs,
            lambda a, b, axis: f1(a, axis) - f1(b, axis),
            permutation_type="samples",
            alternative="greater",
            n_resamples=permutations,
            batch=1000,
            vectorized=True,
            rng=np.random.default_rng([seed, index]),
        )
        return float(found.pvalue)

    p = p_value(_PERMUTATIONS)
    more = math.ceil(2 / finest)
    return p_value(more) if p < 2 / _PERMUTATIONS and more > _PERMUTATIONS else p


def drop_of(value: float, n: int, interval: Interval) -> Measurement:
    """A drop of fractions with its interval; resamples that are all the same are none."""
    return Measurement.within(float(value), "fraction", n, with_width(interval))
