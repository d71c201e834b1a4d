"""The statistical gate: is the converted model equivalent, worse, or can these images not tell?

All tests are paired: both models saw the same images. Verdicts, in this order:

- **worse**: the accuracy fell by more than ``margin`` and McNemar's exact one-sided test rejects "no
  drop" at ``alpha``; or the F1 or the recall of a class fell by more than ``class_budget`` and its
  test rejects at ``alpha`` after Holm's correction over all classes and both scores.
- **equivalent**: Tango's score test rejects "the accuracy fell by ``margin`` or more" at ``alpha``,
  that is, the one-sided upper bound of the drop is at most ``margin`` (non-inferiority). With a
  ``class_margin`` the same of every class's recall, an intersection-union test.
- **cannot tell**: neither, with the number of images that would tell in 4 of 5 repetitions, if the
  observed drop and disagreement are the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from converters.class_tests import ROUNDING, ClassTest, compare_classes, drop_of
from converters.judgement import Judgement, NeededFor, largest, verdict_of
from edgecell.metrics import confusion_matrix, macro_f1, percentile_interval
from edgecell.metrics.paired import (
    discordant,
    drop_bound,
    images_for_equivalence,
    images_for_worse,
    non_inferiority_p,
    paired_bootstrap,
    tango_interval,
    worse_p,
)
from edgecell.record import Measurement

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GateReport(Judgement):
    """The verdict on accuracy and everything it rests on.

    ``accuracy_drop`` carries Tango's 95 % interval; ``accuracy_drop_bootstrap`` and the classes' F1
    drops carry paired percentile-bootstrap intervals. ``mcnemar_p`` is two-sided and exact,
    ``worse_p`` its one-sided form.
    """

    headline = "accuracy"
    class_score = "its recall"

    lost: int
    gained: int
    accuracy_drop: Measurement
    accuracy_drop_bootstrap: Measurement
    mcnemar_p: float
    accuracy_worse: bool

    @property
    def drop(self) -> Measurement:
        """Of accuracy."""
        return self.accuracy_drop

    @property
    def drop_worse(self) -> bool:
        """Whether accuracy fell significantly and beyond the margin."""
        return self.accuracy_worse


def judge(
    labels: Ints,
    reference: Ints,
    converted: Ints,
    class_names: tuple[str, ...],
    *,
    margin: float,
    class_budget: float,
    alpha: float = 0.05,
    class_margin: float | None = None,
    seed: int = 0,
) -> GateReport:
    """Compare two models' predicted classes on the same images.

    Args:
        labels, reference, converted: int (N,) in 0..C-1, N at least 1.
        margin: largest drop of accuracy that still counts as equivalent, a fraction above 0.
        class_budget: largest drop of a class's F1 or recall that may be significant.
        class_margin: what every class's bound has to keep for "equivalent"; None: not asked.
        seed: of the bootstrap and of permutation tests too large to enumerate.
    """
    n = len(labels)
    right, still = reference == labels, converted == labels
    lost, gained = discordant(right, still)
    drop = (lost - gained) / n
    resampled = paired_bootstrap(labels, reference, converted, len(class_names), seed)
    rows = compare_classes(
        labels,
        reference,
        converted,
        class_names,
        resampled["f1"],
        alpha=alpha,
        budget=class_budget,
        seed=seed,
    )
    p_worse = worse_p(lost, gained)
    accuracy_worse = p_worse <= alpha and drop > margin + ROUNDING
    p_inferior = non_inferiority_p(lost, gained, n, margin)
    verdict = verdict_of(p_inferior <= alpha, accuracy_worse, rows, class_margin)
    before, after = (confusion_matrix(labels, p, len(class_names)) for p in (reference, converted))
    needed, needed_for = (
        _needed(lost, gained, n, margin, alpha, rows, class_margin)
        if verdict == "cannot tell"
        else (None, None)
    )
    return GateReport(
        verdict=verdict,
        n=n,
        margin=margin,
        alpha=alpha,
        class_budget=class_budget,
        lost=lost,
        gained=gained,
        accuracy_drop=drop_of(drop, n, tango_interval(lost, gained, n)),
        accuracy_drop_bootstrap=drop_of(drop, n, percentile_interval(resampled["accuracy"])),
        macro_f1_drop=drop_of(
            macro_f1(before) - macro_f1(after), n, percentile_interval(resampled["macro_f1"])
        ),
        upper_bound=drop_bound(lost, gained, n, alpha),
        non_inferiority_p=p_inferior,
        mcnemar_p=float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)
        if lost + gained
        else 1.0,
        worse_p=p_worse,
        accuracy_worse=accuracy_worse,
        classes=rows,
        images_needed=needed,
        needed_for=needed_for,
        class_margin=class_margin,
    )


def _needed(
    lost: int,
    gained: int,
    n: int,
    margin: float,
    alpha: float,
    classes: tuple[ClassTest, ...],
    class_margin: float | None,
) -> tuple[int | None, NeededFor]:
    drop = (lost - gained) / n
    if drop >= margin:
        return images_for_worse((lost + gained) / n, drop, alpha), "a significant drop"
    needed = [_for_equivalence(lost, gained, n, margin, alpha)]
    if class_margin is not None:
        needed += [_for_class(row, n, class_margin, alpha) for row in classes if row.support]
    return largest(needed), "equivalence"


def _for_class(row: ClassTest, n: int, margin: float, alpha: float) -> int | None:
    # So many of a class come with as many more of the others.
    own = _for_equivalence(row.lost, row.gained, row.support, margin, alpha)
    return None if own is None else -(-own * n // row.support)


def _for_equivalence(lost: int, gained: int, n: int, margin: float, alpha: float) -> int | None:
    # A gain is not counted on: it would make the number too small.
    return images_for_equivalence((lost + gained) / n, max(lost - gained, 0) / n, margin, alpha)
