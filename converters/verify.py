"""Does the converted model do what its reference does? Checked in an order that cannot be fooled.

A reference that predicts one class for everything agrees with any converted file, also with broken
ones. So the reference must prove itself first; only then does agreement mean something.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters.audit import AuditReport
from converters.gate import GateReport, judge
from converters.verdict import EQUIVALENCE, Check, ClassRow, VerifyBudget, VerifyReport, require
from edgecell import metrics
from edgecell.errors import DataError
from edgecell.record import Measurement
from edgecell.runtime import Predictor

__all__ = ["Check", "ClassRow", "VerifyBudget", "VerifyReport", "require", "verify"]

# Drops are differences of fractions k/n in float64; without this 1.0 - 0.99 exceeds 0.01.
_ROUNDING = 1e-9


def verify(
    reference: Predictor,
    converted: Predictor,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    budget: VerifyBudget,
    structure: AuditReport | None = None,
    *,
    shown: NDArray[np.uint8] | None = None,
) -> VerifyReport:
    """Hold ``converted`` against ``reference`` on validation images.

    Steps: reference alive → structure → agreement and largest probability difference → accuracy and
    per-class F1 within ``budget`` → the statistical gate: no class significantly worse, accuracy
    equivalent. "Cannot tell" fails only with ``budget.require_equivalence``, and so does a proven loss
    that a ``max_accuracy_drop`` above the margin allows.

    Args:
        images: uint8 (N, H, W, 3); labels: int64 (N,) in 0..C-1; class_names: C names.
        structure: the file's audit; None where there is no file (a predictor in memory).
        shown: the same images as ``converted`` takes them, where it resizes by itself.

    Raises:
        DataError: no images, labels that do not fit, or models of different classes or sizes.
    """
    _check_arguments(reference, converted, images, shown, labels, class_names)
    expected = reference.predict(images)
    confusion = metrics.confusion_matrix(labels, expected.argmax(axis=1), len(class_names))
    checks = [_alive(confusion, expected, labels, class_names)]
    rows: tuple[ClassRow, ...] = ()
    gate = None
    measured = {"reference_accuracy": _fraction(np.trace(confusion), len(labels))}
    if checks[0].passed and structure is not None:
        checks.append(_structure(structure))
    if all(check.passed for check in checks):
        found = converted.predict(images if shown is None else shown)
        quantized = metrics.confusion_matrix(labels, found.argmax(axis=1), len(class_names))
        rows = _class_rows(class_names, confusion, quantized, budget)
        measured |= _measure(expected, found, confusion, quantized, converted.output_scale)
        gate = judge(
            labels,
            expected.argmax(axis=1),
            found.argmax(axis=1),
            class_names,
            margin=budget.margin,
            class_budget=budget.max_f1_drop,
            alpha=budget.alpha,
        )
        checks += _compare(measured, found, rows, budget) + _significance(gate, budget)
    return VerifyReport(reference.name, converted.name, tuple(checks), rows, measured, budget, gate)


def _check_arguments(
    reference: Predictor,
    converted: Predictor,
    images: NDArray[np.uint8],
    shown: NDArray[np.uint8] | None,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
) -> None:
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(
            f"verify got {len(images)} images and {len(labels)} labels; allowed: as many, at least 1"
        )
    for model in (reference, converted):
        if model.class_count != len(class_names):
            raise DataError(
                f"{model.name} has {model.class_count} classes, the data set {len(class_names)};"
                " use the data set it was trained on (--data)"
            )
    if shown is None and reference.image_size != converted.image_size:
        raise DataError(
            f"{reference.name} takes {reference.image_size} pixels and {converted.name}"
            f" {converted.image_size}; convert it from this reference"
        )


def _alive(
    confusion: NDArray[np.int64],
    expected: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
) -> Check:
    total = len(labels)
    predicted = int((confusion.sum(axis=0) > 0).sum())
    hits, majority = int(np.trace(confusion)), int(confusion.sum(axis=1).max())
    finite = bool(np.isfinite(expected).all())
    moved = metrics.find_moved(confusion)
    why = "" if moved is None else f"; {metrics.moved_line(moved, class_names, 'these images')}"
    return Check(
        "reference alive",
        finite and predicted >= 2 and hits > majority,
        f"{predicted} classes predicted, accuracy {hits / total:.4f} (n = {total})"
        + ("" if finite else ", probabilities not finite")
        + why,
        f"at least 2 classes and above the majority class, {majority / total:.4f}",
    )


def _structure(report: AuditReport) -> Check:
    return Check(
        "structure",
        report.passed,
        "; ".join(report.violations) or f"{report.precision}, {report.input_type} input",
        f"{report.precision} as its audit defines it",
    )


def _measure(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    confusion: NDArray[np.int64],
    quantized: NDArray[np.int64],
    output_scale: float | None,
) -> dict[str, Measurement]:
    n = len(expected)
    agreed = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    difference = float(np.abs(expected.astype(np.float64) - found).max())
    finite = np.isfinite(difference)
    before, after = metrics.accuracy(confusion), metrics.accuracy(quantized)
    missing = "the converted model's probabilities are not finite"
    return {
        "converted_accuracy": _fraction(np.trace(quantized), n),
        "agreement": _fraction(agreed, n),
        "max_probability_difference": Measurement(difference, "1", n)
        if finite
        else Measurement.missing("1", missing),
        "max_difference_quanta": Measurement(difference / output_scale, "quanta", n)
        if finite and output_scale
        else Measurement.missing(
            "quanta", "the output is float, it has no step" if finite else missing
        ),
        "accuracy_drop": Measurement(before - after, "fraction", n),
        "macro_f1_drop": Measurement(
            metrics.macro_f1(confusion) - metrics.macro_f1(quantized), "fraction", n
        ),
    }


def _compare(
    measured: dict[str, Measurement],
    found: NDArray[np.float32],
    rows: tuple[ClassRow, ...],
    budget: VerifyBudget,
) -> list[Check]:
    agreement, drop = measured["agreement"], measured["accuracy_drop"]
    assert agreement.value is not None and drop.value is not None  # both are plain counts
    quanta, difference = measured["max_difference_quanta"], measured["max_probability_difference"]
    if quanta.value is not None:
        apart = f"{quanta.value:.1f} quanta"
    else:
        apart = difference.reason or f"{difference.value:.2e} (float output)"
    wanted = budget.min_agreement
    worst = max(rows, key=lambda row: (row.passed is not None, row.f1_drop))
    return [
        Check(
            "top-1 agreement",
            None if wanted is None else agreement.value >= wanted - _ROUNDING,
            f"{agreement.value:.4f} (95 % {agreement.low:.4f} to {agreement.high:.4f},"
            f" n = {agreement.n})",
            "not judged" if wanted is None else f"at least {wanted:g}",
        ),
        Check(
            "largest probability difference",
            None if np.isfinite(found).all() else False,
            apart,
            "finite",
        ),
        Check(
            "accuracy drop",
            drop.value <= budget.max_accuracy_drop + _ROUNDING,
            f"{drop.value:+.4f}",
            f"at most {budget.max_accuracy_drop:g}",
        ),
        Check(
            "F1 drop of each class",
            all(row.passed is not False for row in rows),
            f"{worst.f1_drop:+.4f} ({worst.name})",
            f"at most {budget.max_f1_drop:g}",
        ),
    ]


def _significance(gate: GateReport, budget: VerifyBudget) -> list[Check]:
    worse = gate.worse_classes
    first = min(gate.classes, key=lambda row: (row.p_holm, -(row.f1_drop.value or 0.0)))
    drops = f"F1 {first.f1_drop.value or 0.0:+.4f}, recall {first.recall_drop.value or 0.0:+.4f}"
    drop = gate.accuracy_drop.value or 0.0
    failed = gate.accuracy_worse and drop > budget.max_accuracy_drop + _ROUNDING
    undecided = False if failed or budget.require_equivalence else None
    return [
        Check(
            "significance of class drops",
            not worse,
            f"{', '.join(row.name for row in worse) or 'none'}; most certain: {first.name},"
            f" {drops}, p = {first.p_holm:.2g}",
            f"none beyond {budget.max_f1_drop:g} with p ≤ {budget.alpha:g} after Holm",
        ),
        Check(
            EQUIVALENCE,
            True if gate.non_inferior else undecided,
            f"drop at most {gate.upper_bound:.4f} with {100 * (1 - budget.alpha):g} % confidence"
            f" ({gate.lost} lost, {gate.gained} gained, n = {gate.n})",
            f"at most {budget.margin:g}",
        ),
    ]


def _class_rows(
    class_names: tuple[str, ...],
    confusion: NDArray[np.int64],
    quantized: NDArray[np.int64],
    budget: VerifyBudget,
) -> tuple[ClassRow, ...]:
    before, after = metrics.per_class(confusion), metrics.per_class(quantized)
    rows = []
    for i, name in enumerate(class_names):
        drop = float(before.f1[i] - after.f1[i])
        support = int(before.support[i])
        rows.append(
            ClassRow(
                name,
                support,
                float(before.f1[i]),
                float(after.f1[i]),
                drop,
                float(before.recall[i]),
                float(after.recall[i]),
                None if support == 0 else drop <= budget.max_f1_drop + _ROUNDING,
            )
        )
    return tuple(rows)


def _fraction(hits: int, n: int) -> Measurement:
    interval = metrics.wilson_interval(int(hits), n)
    assert interval is not None  # n is at least 1
    return Measurement(int(hits) / n, "fraction", n, interval.low, interval.high)
