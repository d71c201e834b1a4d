"""Labels of a table that hold several in one cell, ``Effusion|Mass``, as ChestX-ray14 writes them."""

from __future__ import annotations

from collections.abc import Sequence

SEPARATOR = "|"


def joined_labels(labels: Sequence[str]) -> str:
    """A note on rows whose label joins others, one of which is the label of another row; "" without any."""
    known = {label.casefold() for label in labels}
    rows = [label for label in labels if SEPARATOR in label and _parts(label) & known]
    if not rows:
        return ""
    return (
        f"rows whose label joins several with '{SEPARATOR}': {len(rows)} of {len(labels)} (for example"
        f" '{rows[0]}'): a table holds one label to an image, so each combination is read as a class of its"
        " own; several labels to an image go into an .npz, as a table (N, C) of 0 and 1"
    )


def _parts(label: str) -> set[str]:
    return {part.strip().casefold() for part in label.split(SEPARATOR)}
