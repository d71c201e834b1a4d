"""The statistical gate: is the converted model equivalent, worse, or can these images not tell?

All tests are paired: both models saw the same images. Verdicts, in this order:

- **worse**: the accuracy fell by more than ``margin`` and McNemar's exact one-sided test rejects "no
  drop" at ``alpha``; or the F1 or the recall of a class fell by more than ``class_budget`` and its
  test rejects at ``alpha`` after Holm's correction over all classes and both scores.
- **equivalent**: Tango's score test rejects "the accuracy fell by ``margin`` or more" at ``alpha``,
  that is, the one-sided upper bound of the drop is at most ``margin`` (non-inferiority).
- **cannot tell**: neither, with the number of images that would tell in 4 of 5 repetitions, if the
  observed drop and disagreement are the true ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from converters.class_tests import ClassTest, compare_classes, drop_of
from edgecell.metrics import confusion_matrix, macro_f1, percentile_interval
from edgecell.metrics.paired import (
    discordant,
    images_for_equivalence,
    images_for_worse,
    non_inferiority_p,
    paired_bootstrap,
    tango_interval,
    worse_p,
)
from edgecell.record import Measurement

Verdict = Literal["equivalent", "worse", "cannot tell"]
Ints = NDArray[np.int64]

_ROUNDING = 1e-9  # a drop of exactly the margin is not beyond it


@dataclass(frozen=True)
class GateReport:
    """The verdict and everything it rests on.

    ``accuracy_drop`` carries Tango's 95 % interval, ``upper_bound`` the one-sided bound that the
    verdict compares with ``margin``; ``accuracy_drop_bootstrap``, ``macro_f1_drop`` and the
    classes' F1 drops carry paired percentile-bootstrap intervals. ``mcnemar_p`` is two-sided and
    exact, ``worse_p`` its one-sided form. ``images_needed`` is for showing ``needed_for``.
    """

    verdict: Verdict
    n: int
    margin: float
    alpha: float
    class_budget: float
    lost: int
    gained: int
    accuracy_drop: Measurement
    accuracy_drop_bootstrap: Measurement
    macro_f1_drop: Measurement
    upper_bound: float
    non_inferiority_p: float
    mcnemar_p: float
    worse_p: float
    accuracy_worse: bool
    classes: tuple[ClassTest, ...]
    images_needed: int | None
    needed_for: Literal["equivalence", "a significant drop"] | None

    @property
    def non_inferior(self) -> bool:
        """Whether the accuracy passed Tango's test, whatever became of the classes."""
        return self.non_inferiority_p <= self.alpha

    @property
    def worse_classes(self) -> tuple[ClassTest, ...]:
        """Classes that got worse, the most certain first."""
        return tuple(sorted((row for row in self.classes if row.worse), key=lambda r: r.p_holm))

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, in one line."""
        if self.verdict == "equivalent":
            return f"equivalent at a margin of {self.margin:g} on {self.n:,} images"
        if self.verdict == "worse":
            names = ["accuracy"] * self.accuracy_worse
            names += [f"'{row.name}' (p = {row.p_holm:.2g})" for row in self.worse_classes]
            return f"worse: {', '.join(names)}"
        said = f"cannot tell at a margin of {self.margin:g} with {self.n:,} images"
        if self.images_needed is not None:
            step = 10 ** max(len(str(self.images_needed)) - 2, 0)
            rounded = -(-self.images_needed // step) * step
            said += f"; about {rounded:,} would show {self.needed_for}"
        return said

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        out = {
            key: value.to_json() if isinstance(value, Measurement) else value
            for key, value in vars(self).items()
            if key != "classes"
        }
        rows = []
        for row in self.classes:
            drops = {key: getattr(row, key).to_json() for key in ("recall_drop", "f1_drop")}
            rows.append(asdict(row) | drops)
        return out | {"sentence": self.sentence, "classes": rows}


def judge(
    labels: Ints,
    reference: Ints,
    converted: Ints,
    class_names: tuple[str, ...],
    *,
    margin: float,
    class_budget: float,
    alpha: float = 0.05,
    seed: int = 0,
) -> GateReport:
    """Compare two models' predicted classes on the same images.

    Args:
        labels, reference, converted: int (N,) in 0..C-1, N at least 1.
        margin: largest drop of accuracy that still counts as equivalent, a fraction above 0.
        class_budget: largest drop of a class's F1 or recall that may be significant.
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
    accuracy_worse = p_worse <= alpha and drop > margin + _ROUNDING
    p_inferior = non_inferiority_p(lost, gained, n, margin)
    verdict: Verdict = "equivalent" if p_inferior <= alpha else "cannot tell"
    if accuracy_worse or any(row.worse for row in rows):
        verdict = "worse"
    needed, needed_for = _needed(lost, gained, n, margin, alpha)
    before, after = (confusion_matrix(labels, p, len(class_names)) for p in (reference, converted))
    return GateReport(
        verdict,
        n,
        margin,
        alpha,
        class_budget,
        lost,
        gained,
        drop_of(drop, n, tango_interval(lost, gained, n)),
        drop_of(drop, n, percentile_interval(resampled["accuracy"])),
        drop_of(macro_f1(before) - macro_f1(after), n, percentile_interval(resampled["macro_f1"])),
        tango_interval(lost, gained, n, 1 - 2 * alpha).high,
        p_inferior,
        float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue) if lost + gained else 1.0,
        p_worse,
        accuracy_worse,
        rows,
        needed if verdict == "cannot tell" else None,
        needed_for if verdict == "cannot tell" else None,
    )


def _needed(
    lost: int, gained: int, n: int, margin: float, alpha: float
) -> tuple[int | None, Literal["equivalence", "a significant drop"]]:
    discordance, drop = (lost + gained) / n, (lost - gained) / n
    if drop < margin:
        # A gain is not counted on: it would make the number too small.
        return images_for_equivalence(discordance, max(drop, 0.0), margin, alpha), "equivalence"
    return images_for_worse(discordance, drop, alpha), "a significant drop"
