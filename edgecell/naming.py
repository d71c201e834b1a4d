"""Names of classes in a line of text."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 8


def listed(names: Sequence[str]) -> str:
    """``names`` in a line that stays short whatever their number."""
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
