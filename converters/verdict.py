"""What verify found: every check with its numbers, every class, and whether it may pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.class_tests import ROUNDING
from converters.judgement import Judgement
from edgecell import metrics
from edgecell.errors import ParityError
from edgecell.record import Measurement

EQUIVALENCE = {
    "accuracy": "equivalence of accuracy",
    "mean AUC": "equivalence of the mean AUC",
}
"""What a gate's margin is about → the name of its check."""
EACH_CLASS = "equivalence of each class"


@dataclass(frozen=True)
class VerifyBudget:
    """What a conversion may cost, as fractions: 0.01 is one point.

    ``max_f1_drop`` holds for every class; where an image can have several labels, ``max_auc_drop`` holds
    for the mean over labels and ``max_label_auc_drop`` for every label instead. ``margin`` and ``alpha``
    are those of the statistical gate (:mod:`converters.gate`, :mod:`converters.label_gate`); with
    ``require_equivalence`` its "cannot tell" is a failure too. ``class_margin`` is the drop of recall, with
    several labels of AUC, that every class has to be shown to keep; None: not asked. ``min_agreement``
    None: not judged.
    """

    max_accuracy_drop: float = 0.005
    max_f1_drop: float = 0.02
    min_agreement: float | None = None
    margin: float = 0.005
    alpha: float = 0.05
    require_equivalence: bool = False
    max_auc_drop: float = 0.005
    max_label_auc_drop: float = 0.02
    class_margin: float | None = None


@dataclass(frozen=True)
class Check:
    """One step: what was measured, what was allowed, and whether it passed (None: not judged)."""

    name: str
    passed: bool | None
    measured: str
    allowed: str


@dataclass(frozen=True)
class ClassRow:
    """One class, reference against converted; ``f1_drop`` = reference minus converted.

    ``passed`` is None for a class without images. The AUC is of a label among several, else None.
    """

    name: str
    support: int
    reference_f1: float
    converted_f1: float
    f1_drop: float
    reference_recall: float
    converted_recall: float
    passed: bool | None
    reference_auc: float | None = None
    converted_auc: float | None = None
    auc_drop: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types; AUC only where there is one to an image's label."""
        return {
            key: value
            for key, value in asdict(self).items()
            if self.auc_drop is not None or "auc" not in key
        }


@dataclass(frozen=True)
class Compared:
    """What comparing gave: checks, a row for each class, measurements, the gate's judgement."""

    checks: tuple[Check, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    measurements: dict[str, Measurement] = field(default_factory=dict)
    gate: Judgement | None = None


@dataclass(frozen=True)
class VerifyReport:
    """Every check in the order it was made; a dead reference or a wrong file ends the list early.

    ``gate`` is None where the list ended early.
    """

    reference: str
    converted: str
    checks: tuple[Check, ...]
    classes: tuple[ClassRow, ...]
    measurements: Mapping[str, Measurement]
    budget: VerifyBudget
    gate: Judgement | None = None

    @property
    def passed(self) -> bool:
        """No check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def verdict(self) -> str:
        """What the gate says, or the name of the first check that failed."""
        failed = [check.name for check in self.checks if check.passed is False]
        if failed or self.gate is None:
            return f"refused: {failed[0]}"
        return self.gate.sentence

    def worst_class(self) -> ClassRow | None:
        """The class whose F1 fell most, or the label whose AUC did, among those with images."""
        judged = [row for row in self.classes if row.passed is not None]
        return max(
            judged,
            key=lambda row: row.f1_drop if row.auc_drop is None else row.auc_drop,
            default=None,
        )

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        return {
            "reference": self.reference,
            "converted": self.converted,
            "passed": self.passed,
            "verdict": self.verdict,
            "checks": [asdict(check) for check in self.checks],
            "classes": [row.to_json() for row in self.classes],
            "measurements": {key: m.to_json() for key, m in self.measurements.items()},
            "budget": asdict(self.budget),
        } | ({} if self.gate is None else {"gate": self.gate.to_json()})


def require(report: VerifyReport) -> None:
    """Raise ParityError unless the report passed; its line names the worst class and the numbers."""
    if report.passed:
        return
    raise ParityError(
        f"{report.converted} is {refusal(report)}; {_next_step(_failed(report).name)}"
    )


def refusal(report: VerifyReport) -> str:
    """What refused the file of a report that did not pass: check, measured, allowed, worst class."""
    failed = _failed(report)
    return (
        f"refused by '{failed.name}': {failed.measured}, allowed {failed.allowed}{_where(report)}"
    )


def _failed(report: VerifyReport) -> Check:
    return next(check for check in report.checks if check.passed is False)


def _where(report: VerifyReport) -> str:
    worst = report.worst_class()
    if worst is None:
        return ""
    score, before, after = "F1", worst.reference_f1, worst.converted_f1
    if worst.reference_auc is not None and worst.converted_auc is not None:
        score, before, after = "AUC", worst.reference_auc, worst.converted_auc
    said = (
        f"; worst class '{worst.name}': {score} {before:.4f} → {after:.4f}"
        f" on {worst.support} images"
    )
    significant = report.gate.worse_classes if report.gate is not None else ()
    if significant:
        named = ", ".join(f"'{row.name}' (p = {row.p_holm:.2g})" for row in significant[:3])
        more = f" and {len(significant) - 3} more" if len(significant) > 3 else ""
        said += f"; significantly worse: {named}{more}"
    return said


def _next_step(check: str) -> str:
    more = "verify more images: add some to val, or give --split test as the last step"
    ranks = (
        "try 'edgecell quantize --int8 --search', --float16, or a larger --max-auc-drop and"
        " --max-label-auc-drop; class weights in training keep a rare label's probabilities apart"
    )
    return {
        "reference alive": "train it longer with 'edgecell train'",
        "structure": "convert it again with 'edgecell quantize'",
        "mean AUC drop": ranks,
        "AUC drop of each label": ranks,
        **dict.fromkeys(EQUIVALENCE.values(), more),
        EACH_CLASS: more.replace("--margin", "--class-margin"),
    }.get(check, "try 'edgecell quantize --int8 --search', --float16, or a larger budget")


def agreement_check(name: str, agreement: Measurement, budget: VerifyBudget) -> Check:
    """The share of images that both models answer alike, against ``budget.min_agreement``."""
    assert agreement.value is not None  # a plain count
    wanted = budget.min_agreement
    return Check(
        name,
        None if wanted is None else agreement.value >= wanted - ROUNDING,
        f"{agreement.value:.4f} (95 % {agreement.low:.4f} to {agreement.high:.4f},"
        f" n = {agreement.n})",
        "not judged" if wanted is None else f"at least {wanted:g}",
    )


def signed(drop: float) -> str:
    """With its sign; what rounds to zero has none of its own."""
    return f"{round(drop, 4) + 0.0:+.4f}"


def fraction(hits: int, n: int) -> Measurement:
    """A share of ``n`` images, at least 1, with Wilson's interval."""
    interval = metrics.wilson_interval(int(hits), n)
    assert interval is not None
    return Measurement(int(hits) / n, "fraction", n, interval.low, interval.high)


def differences(
    expected: NDArray[np.float32], found: NDArray[np.float32], output_scale: float | None
) -> dict[str, Measurement]:
    """The largest difference of probabilities (N, C), as it is and in steps of the output."""
    n = len(expected)
    difference = float(np.abs(expected.astype(np.float64) - found).max())
    finite = np.isfinite(difference)
    missing = "the converted model's probabilities are not finite"
    return {
        "max_probability_difference": Measurement(difference, "1", n)
        if finite
        else Measurement.missing("1", missing),
        "max_difference_quanta": Measurement(difference / output_scale, "quanta", n)
        if finite and output_scale
        else Measurement.missing(
            "quanta", "the output is float, it has no step" if finite else missing
        ),
    }


def difference_check(measured: Mapping[str, Measurement], found: NDArray[np.float32]) -> Check:
    """:func:`differences` in words; fails where ``found`` (N, C) is not finite, and judges nothing else."""
    quanta, difference = measured["max_difference_quanta"], measured["max_probability_difference"]
    if quanta.value is not None:
        said = f"{quanta.value:.1f} quanta"
    else:
        said = difference.reason or f"{difference.value:.2e} (float output)"
    passed = None if np.isfinite(found).all() else False
    return Check("largest probability difference", passed, said, "finite")


def drop_check(name: str, drop: float, allowed: float) -> Check:
    """The drop of the figure that the whole is judged by, against its budget."""
    return Check(name, drop <= allowed + ROUNDING, signed(drop), f"at most {allowed:g}")


def worst_check(
    name: str, rows: tuple[ClassRow, ...], worst: ClassRow, drop: float, allowed: float
) -> Check:
    """Whether every class kept its budget, with the ``drop`` of the ``worst``."""
    passed = all(row.passed is not False for row in rows)
    return Check(name, passed, f"{signed(drop)} ({worst.name})", f"at most {allowed:g}")
