"""The gate's two checks: no class significantly worse, the whole equivalent."""

from __future__ import annotations

from converters.class_tests import ROUNDING
from converters.judgement import Judgement, ceiling, within
from converters.verdict import EACH_CLASS, EQUIVALENCE, Check, VerifyBudget, signed


def significance(
    gate: Judgement, budget: VerifyBudget, *, allowed: float, class_budget: float, counted: str
) -> tuple[Check, ...]:
    """``allowed`` is the drop that the budget grants the gate's headline, ``counted`` what it rests on."""
    worse = gate.worse_classes
    first = min(gate.classes, key=lambda row: (row.p_holm, -(row.f1_drop.value or 0.0)))
    drops = (
        f"F1 {signed(first.f1_drop.value or 0.0)}, recall {signed(first.recall_drop.value or 0.0)}"
    )
    if first.auc_drop is not None:
        drops = f"AUC {signed(first.auc_drop.value or 0.0)}, {drops}"
    failed = gate.drop_worse and (gate.drop.value or 0.0) > allowed + ROUNDING
    undecided = False if failed or budget.require_equivalence else None
    sure = f"with {100 * (1 - budget.alpha):g} % confidence"
    return (
        Check(
            "significance of class drops",
            not worse,
            f"{', '.join(row.name for row in worse) or 'none'}; most certain: {first.name},"
            f" {drops}, p = {first.p_holm:.2g}",
            f"none beyond {class_budget:g} with p ≤ {budget.alpha:g} after Holm",
        ),
        Check(
            EQUIVALENCE[gate.headline],
            True if gate.non_inferior else undecided,
            f"drop at most {gate.upper_bound:.4f} {sure}" + counted,
            f"at most {budget.margin:g}",
        ),
        *_each_class(gate, budget, sure),
    )


def _each_class(gate: Judgement, budget: VerifyBudget, sure: str) -> tuple[Check, ...]:
    """What no class fell by more than, judged where ``budget`` has a margin for it."""
    if gate.least_known is None:
        return ()
    least, bound = gate.least_known
    margin, undecided = budget.class_margin, False if budget.require_equivalence else None
    kept = None if margin is None else within(gate.classes, margin) or undecided
    return (
        Check(
            EACH_CLASS,
            kept,
            f"no class lost more than {ceiling(bound)} of {gate.class_score} {sure};"
            f" least known: {least.name} (n = {least.support})",
            "not judged" if margin is None else f"at most {margin:g}",
        ),
    )
