"""Names: of classes in a line of text, of what a gate reports."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

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


def drop_words(drop: Mapping[str, Any]) -> str:
    """A measured drop with its sign and, where it has one, its interval: ``+0.0012 [-0.0006, +0.0030]``."""
    ends = f" [{drop['low']:+.4f}, {drop['high']:+.4f}]" if "low" in drop else ""
    return f"{drop['value']:+.4f}{ends}"


def short_names(precisions: Sequence[str], names: Sequence[str]) -> list[str]:
    """What tells files apart: their precisions; where two share one, ``names`` without what all begin with.

    ``names`` end in the precision, ``cells-int8-search``: what is left begins with it.
    """
    if len(set(precisions)) == len(precisions):
        return list(precisions)
    shared = os.path.commonprefix(names).rfind("-") + 1
    return [name[shared:] for name in names]


def owner_of(picture: str, stems: Sequence[str]) -> str:
    """The file, of ``stems``, that a picture is named after, or "".

    ``a-int8-qat-…`` belongs to ``a-int8-qat``, not to ``a-int8``.
    """
    return max((stem for stem in stems if picture.startswith(stem)), key=len, default="")
