"""The gate's two checks: no class significantly worse, the whole equivalent."""

from __future__ import annotations

from converters.class_tests import ROUNDING
from converters.judgement import Judgement
from converters.verdict import EQUIVALENCE, Check, VerifyBudget, signed


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
            f"drop at most {gate.upper_bound:.4f} with {100 * (1 - budget.alpha):g} % confidence"
            + counted,
            f"at most {budget.margin:g}",
        ),
    )
