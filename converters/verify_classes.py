"""One label to an image: the checks of classes, accuracy and F1, and the gate's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters.class_tests import ROUNDING
from converters.gate import judge
from converters.significance import significance
from converters.verdict import (
    Check,
    ClassRow,
    Compared,
    VerifyBudget,
    agreement_check,
    difference_check,
    differences,
    drop_check,
    fraction,
    worst_check,
)
from edgecell import metrics
from edgecell.record import Measurement


def alive(
    expected: NDArray[np.float32], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> tuple[Check, dict[str, Measurement]]:
    """Does the reference know more than the commonest class? The check, and its accuracy.

    ``expected`` (N, C), ``labels`` int (N,).
    """
    total = len(labels)
    confusion = metrics.confusion_matrix(labels, expected.argmax(axis=1), len(class_names))
    predicted = int((confusion.sum(axis=0) > 0).sum())
    hits, majority = int(np.trace(confusion)), int(confusion.sum(axis=1).max())
    finite = bool(np.isfinite(expected).all())
    moved = metrics.find_moved(confusion)
    why = "" if moved is None else f"; {metrics.moved_line(moved, class_names, 'these images')}"
    check = Check(
        "reference alive",
        finite and predicted >= 2 and hits > majority,
        f"{predicted} classes predicted, accuracy {hits / total:.4f} (n = {total})"
        + ("" if finite else ", probabilities not finite")
        + why,
        f"at least 2 classes and above the majority class, {majority / total:.4f}",
    )
    return check, {"reference_accuracy": fraction(hits, total)}


def compare(
    labels: NDArray[np.int64],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    class_names: tuple[str, ...],
    budget: VerifyBudget,
    *,
    output_scale: float | None,
    ordinal: bool = False,
) -> Compared:
    """Everything that is compared; ``expected`` and ``found`` (N, C), ``labels`` int (N,).

    ``ordinal``: the classes are grades, and the drop of the quadratic kappa is measured too.
    """
    was, now = expected.argmax(axis=1), found.argmax(axis=1)
    confusion, quantized = (
        metrics.confusion_matrix(labels, each, len(class_names)) for each in (was, now)
    )
    rows = _class_rows(class_names, confusion, quantized, budget)
    measured = _measure(expected, found, confusion, quantized, output_scale)
    checks = _compare(measured, found, rows, budget)
    if ordinal:
        measured["kappa_drop"] = _kappa_drop(labels, was, now, confusion, quantized)
        checks.append(_kappa_check(measured["kappa_drop"]))
    gate = judge(
        labels,
        was,
        now,
        class_names,
        margin=budget.margin,
        class_budget=budget.max_f1_drop,
        alpha=budget.alpha,
        class_margin=budget.class_margin,
    )
    said = significance(
        gate,
        budget,
        allowed=budget.max_accuracy_drop,
        class_budget=budget.max_f1_drop,
        counted=f" ({gate.lost} lost, {gate.gained} gained, n = {gate.n})",
    )
    return Compared(tuple(checks) + said, rows, measured, gate)


def _kappa_drop(
    labels: NDArray[np.int64],
    was: NDArray[np.int64],
    now: NDArray[np.int64],
    confusion: NDArray[np.int64],
    quantized: NDArray[np.int64],
) -> Measurement:
    before, after = metrics.quadratic_kappa(confusion), metrics.quadratic_kappa(quantized)
    if before is None or after is None:
        return Measurement.missing("1", "labels and predictions are one class throughout")
    drawn = metrics.bootstrap_kappa_drop(labels, was, now, len(confusion))
    ends = metrics.with_width(metrics.percentile_interval(drawn))
    return Measurement.within(before - after, "1", len(labels), ends)


def _kappa_check(drop: Measurement) -> Check:
    measured = drop.reason or f"{drop.value:+.4f}"
    if drop.low is not None:
        measured += f" (95 % {drop.low:+.4f} to {drop.high:+.4f})"
    return Check("quadratic kappa drop", None, measured, "not judged")


def _measure(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    confusion: NDArray[np.int64],
    quantized: NDArray[np.int64],
    output_scale: float | None,
) -> dict[str, Measurement]:
    n = len(expected)
    agreed = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    before, after = metrics.accuracy(confusion), metrics.accuracy(quantized)
    return {
        "converted_accuracy": fraction(np.trace(quantized), n),
        "agreement": fraction(agreed, n),
        **differences(expected, found, output_scale),
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
    drop = measured["accuracy_drop"]
    assert drop.value is not None  # a plain count
    worst = max(rows, key=lambda row: (row.passed is not None, row.f1_drop))
    return [
        agreement_check("top-1 agreement", measured["agreement"], budget),
        difference_check(measured, found),
        drop_check("accuracy drop", drop.value, budget.max_accuracy_drop),
        worst_check("F1 drop of each class", rows, worst, worst.f1_drop, budget.max_f1_drop),
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
                None if support == 0 else drop <= budget.max_f1_drop + ROUNDING,
            )
        )
    return tuple(rows)
