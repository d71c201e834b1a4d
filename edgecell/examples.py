"""Which images to look at: the surest mistakes, the surest and the least sure right answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.predictions import Predictions

MISTAKES = 24
"""Most confident mistakes that are shown, over all classes."""

PER_CLASS = 3
"""Images of each kind that are shown of each class."""


def examples(
    predictions: Predictions, *, mistakes: int = MISTAKES, per_class: int = PER_CLASS
) -> dict[str, Any]:
    """Rows of ``predictions`` worth a look, as JSON.

    ``wrong``: how many mistakes there are; ``mistakes``: the most confident of them; ``classes``: for
    each label how many are right and wrong, and of these the ``surest`` and the ``least_sure`` right
    ones (no image is both) and the most confident ``mistakes``. Equal confidences go by index.
    """
    wrong = predictions.predicted != predictions.labels
    confidence = predictions.confidence

    def by_confidence(chosen: NDArray[np.bool_]) -> list[int]:
        """The chosen images, surest first."""
        members = np.flatnonzero(chosen)
        found: list[int] = members[np.argsort(-confidence[members], kind="stable")].tolist()
        return found

    def rows(indices: list[int]) -> list[dict[str, Any]]:
        return [predictions.row(index) for index in indices]

    classes = []
    for label, name in enumerate(predictions.class_names):
        mine = predictions.labels == label
        right, missed = by_confidence(mine & ~wrong), by_confidence(mine & wrong)
        least = right[per_class:][-per_class:]
        classes.append(
            {
                "name": name,
                "right": len(right),
                "wrong": len(missed),
                "surest": rows(right[:per_class]),
                "least_sure": rows(least[::-1]),
                "mistakes": rows(missed[:per_class]),
            }
        )
    return {
        "wrong": int(wrong.sum()),
        "mistakes": rows(by_confidence(wrong)[:mistakes]),
        "classes": classes,
    }
