"""The statistical gate where an image can have several labels: is each label ranked as well as before?

Decisions at a threshold say little of a rare label, which may never reach it; so the margin is about the
mean AUC. All tests are paired: both models saw the same images. Verdicts, in this order:

- **worse**: the mean AUC fell by more than ``margin`` and DeLong's one-sided test rejects "no drop" at
  ``alpha``; or the AUC, the recall or the F1 of a label fell by more than ``label_budget`` and its test
  rejects at ``alpha`` after Holm's correction over all labels and the three scores.
- **equivalent**: the one-sided upper bound of the mean AUC's drop is at most ``margin``.
- **cannot tell**: neither, with the number of images that would tell in 4 of 5 repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from converters.class_tests import ROUNDING, ClassTest, compare_class, drop_of, holm
from converters.judgement import Judgement, NeededFor, largest, verdict_of
from edgecell.metrics import decide, percentile_interval
from edgecell.metrics.paired import discordant
from edgecell.metrics.paired_labels import (
    FEWEST,
    AreaDrop,
    areas,
    label_drops,
    mean_drop,
    paired_label_bootstrap,
)
from edgecell.record import Measurement


@dataclass(frozen=True, kw_only=True)
class LabelGateReport(Judgement):
    """The verdict on the mean AUC and everything it rests on.

    ``auc_drop`` carries Student's 95 % interval of DeLong's variance; ``accuracy_drop``, of the mean
    share of right decisions, and the F1 drops carry paired bootstrap intervals. ``lost`` and ``gained``
    count decisions, of which there are N times the labels.
    """

    headline = "mean AUC"
    class_score = "its AUC"

    lost: int
    gained: int
    auc_drop: Measurement
    accuracy_drop: Measurement
    auc_worse: bool

    @property
    def drop(self) -> Measurement:
        """Of the mean AUC."""
        return self.auc_drop

    @property
    def drop_worse(self) -> bool:
        """Whether the mean AUC fell significantly and beyond the margin."""
        return self.auc_worse


def judge_labels(
    labels: NDArray[np.int64],
    reference: NDArray[np.float32],
    converted: NDArray[np.float32],
    label_names: tuple[str, ...],
    *,
    margin: float,
    label_budget: float,
    alpha: float = 0.05,
    class_margin: float | None = None,
    seed: int = 0,
) -> LabelGateReport:
    """Compare two models' probabilities on the same images.

    Args:
        labels: int (N, C), 0 or 1; reference, converted: finite (N, C), 0..1.
        margin: largest drop of the mean AUC that still counts as equivalent, a fraction above 0.
        label_budget: largest drop of a label's AUC, recall or F1 that may be significant.
        class_margin: what every class's bound has to keep for "equivalent"; None: not asked.
        seed: of the bootstrap and of permutation tests too large to enumerate.

    Raises:
        ValueError: no label whose AUC has a spread: three images that have it, three that do not.
    """
    n = len(labels)
    before, after = areas(labels, reference), areas(labels, converted)
    whole = mean_drop(labels, before, after)
    if whole is None:
        raise ValueError(f"no label has {FEWEST} images with it and {FEWEST} without")
    said, says = decide(reference), decide(converted)
    resampled = paired_label_bootstrap(labels, said, says, seed)
    drops = label_drops(labels, before, after)
    rows = []
    for i, name in enumerate(label_names):
        row = compare_class(
            labels[:, i],
            said[:, i].astype(np.int64),
            says[:, i].astype(np.int64),
            1,
            name,
            resampled["f1"][:, i],
            finest=alpha / (3 * len(label_names)),
            seed=seed + i,
        )
        rows.append(_with_area(row, drops[i], alpha))
    classes = holm(rows, alpha, label_budget)
    lost, gained = discordant(said == labels, says == labels)
    p_worse, p_inferior = whole.worse_p(), whole.non_inferiority_p(margin)
    auc_worse = p_worse <= alpha and whole.drop > margin + ROUNDING
    verdict = verdict_of(p_inferior <= alpha, auc_worse, classes, class_margin)
    needed, needed_for = (
        _needed(whole, drops, n, margin, alpha, class_margin)
        if verdict == "cannot tell"
        else (None, None)
    )
    return LabelGateReport(
        verdict=verdict,
        n=n,
        margin=margin,
        alpha=alpha,
        class_budget=label_budget,
        lost=lost,
        gained=gained,
        auc_drop=drop_of(whole.drop, n, whole.interval()),
        accuracy_drop=drop_of(
            (lost - gained) / labels.size, n, percentile_interval(resampled["accuracy"])
        ),
        macro_f1_drop=drop_of(
            _mean_f1_drop(classes), n, percentile_interval(resampled["macro_f1"])
        ),
        upper_bound=whole.upper_bound(alpha),
        non_inferiority_p=p_inferior,
        worse_p=p_worse,
        auc_worse=auc_worse,
        classes=classes,
        images_needed=needed,
        needed_for=needed_for,
        class_margin=class_margin,
    )


def _with_area(row: ClassTest, drop: AreaDrop | None, alpha: float) -> ClassTest:
    if drop is None:
        reason = f"fewer than {FEWEST} images with the label, or without it"
        return replace(row, auc_drop=Measurement.missing("fraction", reason))
    measured = drop_of(drop.drop, row.support, drop.interval())
    bound = drop.upper_bound(alpha)
    return replace(row, auc_drop=measured, auc_p=drop.worse_p(), bound=bound)


def _mean_f1_drop(classes: tuple[ClassTest, ...]) -> float:
    """Over the labels that an image has, as in the resamples."""
    return float(np.mean([row.f1_drop.value or 0.0 for row in classes if row.support]))


def _needed(
    whole: AreaDrop,
    drops: Sequence[AreaDrop | None],
    n: int,
    margin: float,
    alpha: float,
    class_margin: float | None,
) -> tuple[int | None, NeededFor]:
    if whole.drop >= margin:
        return whole.images_for_worse(n, alpha), "a significant drop"
    needed = [whole.images_for_equivalence(n, margin, alpha)]
    if class_margin is not None:
        ranked = [drop for drop in drops if drop is not None]
        needed += [drop.images_for_equivalence(n, class_margin, alpha) for drop in ranked]
    return largest(needed), "equivalence"
