"""Several labels to an image: the checks of rankings and decisions, and the gate's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters.class_tests import ROUNDING, ClassTest, f1_of
from converters.label_gate import LabelGateReport, judge_labels
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
from edgecell.errors import DataError
from edgecell.metrics.paired_labels import FEWEST, above_chance, areas
from edgecell.naming import listed
from edgecell.record import Measurement


def alive(
    expected: NDArray[np.float32], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> tuple[Check, dict[str, Measurement]]:
    """Does the reference rank better than chance? The check, and its mean AUC.

    ``expected`` (N, C), ``labels`` int (N, C) of 0 and 1.

    Raises:
        DataError: no label has three images with it and three without.
    """
    name, wanted = "reference alive", "above 0.5, chance, with 97.5 % confidence"
    if not np.isfinite(expected).all():
        missing = Measurement.missing("fraction", "probabilities not finite")
        return Check(name, False, "probabilities not finite", wanted), {"reference_auc": missing}
    found = areas(labels, expected)
    above = above_chance(labels, found)
    if above is None:
        raise DataError(
            f"none of the {len(class_names)} labels has {FEWEST} images with it and {FEWEST} without, so no"
            " AUC can be compared; name a split that has some (--split val+test)"
        )
    area, low = 0.5 + above.drop, 0.5 + above.lower_bound(0.025)
    high = min(0.5 + above.upper_bound(0.025), 1.0)
    decided = int(metrics.decide(expected).any(axis=0).sum())
    check = Check(
        name,
        low > 0.5,
        f"mean AUC {area:.4f} (95 % {low:.4f} to {high:.4f}, n = {len(labels)}), {decided} of"
        f" {len(class_names)} labels said of any image",
        wanted,
    )
    return check, {"reference_auc": Measurement(area, "fraction", len(labels), low, high)}


def compare(
    labels: NDArray[np.int64],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    class_names: tuple[str, ...],
    budget: VerifyBudget,
    *,
    output_scale: float | None,
) -> Compared:
    """Everything that is compared; all arrays (N, C).

    A file whose probabilities are not finite is compared no further.
    """
    measured = differences(expected, found, output_scale)
    difference = difference_check(measured, found)
    if difference.passed is False:
        return Compared((difference,), (), measured, None)
    gate = judge_labels(
        labels,
        expected,
        found,
        class_names,
        margin=budget.margin,
        label_budget=budget.max_label_auc_drop,
        alpha=budget.alpha,
        class_margin=budget.class_margin,
    )
    rows = _rows(labels, expected, found, gate, budget)
    measured |= _measure(expected, found, rows, gate)
    worst = max(rows, key=lambda row: (row.passed is not None, row.auc_drop or 0.0))
    checks = (
        agreement_check("agreement of all decisions on an image", measured["agreement"], budget),
        difference,
        drop_check("mean AUC drop", gate.auc_drop.value or 0.0, budget.max_auc_drop),
        worst_check(
            "AUC drop of each label",
            rows,
            worst,
            worst.auc_drop or 0.0,
            budget.max_label_auc_drop,
        ),
        *significance(
            gate,
            budget,
            allowed=budget.max_auc_drop,
            class_budget=budget.max_label_auc_drop,
            counted=f" (n = {gate.n}, {_ranked(rows)})",
        ),
    )
    return Compared(checks, rows, measured, gate)


def _measure(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    rows: tuple[ClassRow, ...],
    gate: LabelGateReport,
) -> dict[str, Measurement]:
    was, now = metrics.decide(expected), metrics.decide(found)
    kept = (row.converted_auc for row in rows if row.auc_drop is not None)
    ranked = [area for area in kept if area is not None]
    return {
        "converted_auc": Measurement(float(np.mean(ranked)), "fraction", gate.n),
        "agreement": fraction(int((was == now).all(axis=1).sum()), gate.n),
        "decision_agreement": Measurement(float((was == now).mean()), "fraction", gate.n),
        "auc_drop": Measurement(gate.auc_drop.value, "fraction", gate.n),
        "accuracy_drop": Measurement(gate.accuracy_drop.value, "fraction", gate.n),
        "macro_f1_drop": Measurement(gate.macro_f1_drop.value, "fraction", gate.n),
    }


def _ranked(rows: tuple[ClassRow, ...]) -> str:
    out = [row.name for row in rows if row.auc_drop is None]
    if not out:
        return f"{len(rows)} labels"
    return (
        f"{len(rows) - len(out)} of {len(rows)} labels; fewer than {FEWEST} images with or without"
        f" {listed(out)}"
    )


def _rows(
    labels: NDArray[np.int64],
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    gate: LabelGateReport,
    budget: VerifyBudget,
) -> tuple[ClassRow, ...]:
    before, after = (metrics.label_aucs(labels, each) for each in (expected, found))
    was, now = metrics.decide(expected), metrics.decide(found)
    rows = []
    for i, test in enumerate(gate.classes):
        has = labels[:, i] == 1
        f1, recall = ([score(has, said[:, i]) for said in (was, now)] for score in (f1_of, _recall))
        drop = _drop(test)
        rows.append(
            ClassRow(
                test.name,
                test.support,
                f1[0],
                f1[1],
                f1[0] - f1[1],
                recall[0],
                recall[1],
                None if drop is None else drop <= budget.max_label_auc_drop + ROUNDING,
                before[i],
                after[i],
                drop,
            )
        )
    return tuple(rows)


def _drop(test: ClassTest) -> float | None:
    return None if test.auc_drop is None else test.auc_drop.value


def _recall(has: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    return int((has & said).sum()) / max(int(has.sum()), 1)
