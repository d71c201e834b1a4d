"""Names: of classes in a line of text, of what a gate reports."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 8

GATE_DROPS = (
    ("mean AUC", "auc_drop"),
    ("accuracy", "accuracy_drop"),
    ("macro-F1", "macro_f1_drop"),
)
"""Drops of a gate's report over all classes; the report of one label to an image has no AUC."""


def listed(names: Sequence[str]) -> str:
    """``names`` in a line that stays short whatever their number."""
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
