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

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from edgecell.metrics import (
    Interval,
    confusion_matrix,
    macro_f1,
    per_class,
    percentile_interval,
)
from edgecell.metrics.paired import (
    discordant,
    images_for_equivalence,
    images_for_worse,
    non_inferiority_p,
    tango_interval,
    worse_p,
)
from edgecell.metrics.scores import count_scores
from edgecell.record import Measurement

Verdict = Literal["equivalent", "worse", "cannot tell"]
Ints = NDArray[np.int64]

_RESAMPLES = 2000
_PERMUTATIONS = 9999  # smallest p-value 1e-4; up to 13 images that differ are enumerated exactly
_ROUNDING = 1e-9  # a drop of exactly the margin is not beyond it


@dataclass(frozen=True)
class ClassTest:
    """One class, reference minus converted; p-values are one-sided, small where it got worse.

    ``*_p_holm`` are corrected for all classes and both scores. ``worse``: significant after the
    correction and beyond the budget. A class without images is not tested (p None).
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

    @property
    def p_holm(self) -> float:
        """The smaller of the two corrected p-values; 1.0 where nothing was tested."""
        return min(1.0 if p is None else p for p in (self.recall_p_holm, self.f1_p_holm))


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
    rows = _holm(
        _class_tests(labels, reference, converted, class_names, resampled["f1"], seed),
        alpha,
        class_budget,
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
        _drop(drop, n, tango_interval(lost, gained, n)),
        _drop(drop, n, percentile_interval(resampled["accuracy"])),
        _drop(macro_f1(before) - macro_f1(after), n, percentile_interval(resampled["macro_f1"])),
        tango_interval(lost, gained, n, 1 - 2 * alpha).high,
        p_inferior,
        float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue) if lost + gained else 1.0,
        p_worse,
        accuracy_worse,
        rows,
        needed if verdict == "cannot tell" else None,
        needed_for if verdict == "cannot tell" else None,
    )


def paired_bootstrap(
    labels: Ints, reference: Ints, converted: Ints, class_count: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Resampled drops, 2000 of each: accuracy and macro_f1 (B,), recall and f1 (B, C).

    An image is drawn with both its predictions. Counting (label, reference, converted) triples is
    one multinomial draw over the triples that occur, so no image is touched.
    """
    triples, counts = np.unique(
        np.stack([labels, reference, converted], axis=1), axis=0, return_counts=True
    )
    random = np.random.default_rng(seed)
    draws = random.multinomial(len(labels), counts / len(labels), size=_RESAMPLES)
    one_hot = np.eye(class_count, dtype=np.int64)
    support = draws @ one_hot[triples[:, 0]]

    def scores(predicted: Ints) -> dict[str, NDArray[np.float64]]:
        hits = one_hot[predicted] * (predicted == triples[:, 0])[:, None]
        return count_scores(draws @ hits, support, draws @ one_hot[predicted])

    before, after = scores(triples[:, 1]), scores(triples[:, 2])
    return {key: before[key] - after[key] for key in ("accuracy", "macro_f1", "recall", "f1")}


def f1_permutation_p(
    labels: Ints, reference: Ints, converted: Ints, index: int, seed: int
) -> float:
    """One-sided p-value of class ``index``'s F1 drop: the two predictions of an image swapped at will.

    Exact for exchangeable models. Only images matter that one of the two models calls ``index``.
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
    found = stats.permutation_test(
        pairs,
        lambda a, b, axis: f1(a, axis) - f1(b, axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=_PERMUTATIONS,
        batch=1000,
        vectorized=True,
        rng=np.random.default_rng([seed, index]),
    )
    return float(found.pvalue)


def _class_tests(
    labels: Ints,
    reference: Ints,
    converted: Ints,
    class_names: tuple[str, ...],
    f1_drops: NDArray[np.float64],
    seed: int,
) -> list[ClassTest]:
    before = per_class(confusion_matrix(labels, reference, len(class_names)))
    after = per_class(confusion_matrix(labels, converted, len(class_names)))
    rows = []
    for index, name in enumerate(class_names):
        mine = labels == index
        support = int(mine.sum())
        if support == 0:
            none = Measurement.missing("fraction", "no images of this class")
            rows.append(ClassTest(name, 0, 0, 0, none, none, None, None))
            continue
        lost, gained = discordant(reference[mine] == index, converted[mine] == index)
        f1 = float(before.f1[index] - after.f1[index])
        rows.append(
            ClassTest(
                name,
                support,
                lost,
                gained,
                _drop((lost - gained) / support, support, tango_interval(lost, gained, support)),
                _drop(f1, support, percentile_interval(f1_drops[:, index])),
                worse_p(lost, gained),
                f1_permutation_p(labels, reference, converted, index, seed),
            )
        )
    return rows


def _holm(rows: list[ClassTest], alpha: float, budget: float) -> tuple[ClassTest, ...]:
    """Correct the p-values of all classes and both scores as one family, and judge."""
    places = [
        (i, key)
        for i, row in enumerate(rows)
        for key in ("recall_p", "f1_p")
        if getattr(row, key) is not None
    ]
    if not places:
        return tuple(rows)
    corrected = multipletests([getattr(rows[i], key) for i, key in places], method="holm")[1]
    for (i, key), p in zip(places, corrected, strict=True):
        drop = getattr(rows[i], key.removesuffix("_p") + "_drop").value
        found: dict[str, Any] = {f"{key}_holm": float(p)}
        beyond = bool(p <= alpha) and drop > budget + _ROUNDING
        rows[i] = replace(rows[i], **found, worse=rows[i].worse or beyond)
    return tuple(rows)


def _needed(
    lost: int, gained: int, n: int, margin: float, alpha: float
) -> tuple[int | None, Literal["equivalence", "a significant drop"]]:
    discordance, drop = (lost + gained) / n, (lost - gained) / n
    if drop < margin:
        # A gain is not counted on: it would make the number too small.
        return images_for_equivalence(discordance, max(drop, 0.0), margin, alpha), "equivalence"
    return images_for_worse(discordance, drop, alpha), "a significant drop"


def _drop(value: float, n: int, interval: Interval) -> Measurement:
    return Measurement(float(value), "fraction", n, interval.low, interval.high)
