"""Which images to look at: the surest mistakes, the surest and the least sure right answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.predictions import Predictions, number

MISTAKES = 24
"""Most confident mistakes that are shown, over all classes."""

PER_CLASS = 3
"""Images of each kind that are shown of each class."""


def examples(
    predictions: Predictions,
    *,
    mistakes: int = MISTAKES,
    per_class: int = PER_CLASS,
    only: int | None = None,
) -> dict[str, Any]:
    """Rows of ``predictions`` worth a look, as JSON.

    ``wrong``: how many mistakes there are; ``mistakes``: the most confident of them; ``classes``: for
    each label how many are right and wrong, and of these the ``surest`` and the ``least_sure`` right
    ones (no image is both) and the most confident ``mistakes``. Equal confidences go by index.

    Where several labels can hold at once, a row is the decision about one label of an image, which
    ``about`` names; right ones are shown of images that have the label, mistakes also of images that
    lack it. With ``only`` a class, mistakes are those in which it is the label or the prediction.
    """
    every = _decisions(predictions) if predictions.multi_label else _answers(predictions)
    classes = []
    for label, name in enumerate(predictions.class_names):
        if only not in (None, label):
            continue
        mine = every.label == label
        right = every.by_confidence(mine & every.right & every.positive)
        missed = every.by_confidence(mine & ~every.right)
        least = right[per_class:][-per_class:]
        classes.append(
            {
                "name": name,
                "right": int((mine & every.right).sum()),
                "wrong": len(missed),
                "surest": every.rows(right[:per_class]),
                "least_sure": every.rows(least[::-1]),
                "mistakes": every.rows(missed[:per_class]),
            }
        )
    concerned = np.full(len(every.label), True) if only is None else every.concerns(only)
    wrong = every.by_confidence(concerned & ~every.right)
    return {"wrong": len(wrong), "mistakes": every.rows(wrong[:mistakes]), "classes": classes}


@dataclass(frozen=True)
class _Said:
    """Answers (M,): about which class, taken for which, right or not, how sure, is the class there."""

    label: NDArray[np.int64]
    taken: NDArray[np.int64]
    right: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    positive: NDArray[np.bool_]
    row: Callable[[int], dict[str, Any]]

    def by_confidence(self, chosen: NDArray[np.bool_]) -> list[int]:
        """The chosen answers, surest first."""
        members = np.flatnonzero(chosen)
        found: list[int] = members[np.argsort(-self.confidence[members], kind="stable")].tolist()
        return found

    def concerns(self, label: int) -> NDArray[np.bool_]:
        """Answers of which ``label`` is the truth or what was said."""
        found: NDArray[np.bool_] = (self.label == label) | (self.taken == label)
        return found

    def rows(self, places: list[int]) -> list[dict[str, Any]]:
        return [self.row(place) for place in places]


def _answers(predictions: Predictions) -> _Said:
    """One answer per image."""
    return _Said(
        predictions.labels,
        predictions.predicted,
        predictions.right,
        predictions.confidence,
        np.ones(len(predictions), bool),
        predictions.row,
    )


def _decisions(predictions: Predictions) -> _Said:
    """One answer per image and label, image by image."""
    count = len(predictions.class_names)
    said, labels = predictions.predicted, predictions.labels
    sure = np.maximum(predictions.probabilities, 1 - predictions.probabilities)

    def row(place: int) -> dict[str, Any]:
        index, label = divmod(place, count)
        name = predictions.class_names[label]
        return predictions.row(index) | {
            "about": name,
            "label": name if labels[index, label] else f"no {name}",
            "predicted": name if said[index, label] else f"no {name}",
            "confidence": number(sure[index, label]),
            "right": bool(said[index, label] == labels[index, label]),
        }

    about = np.tile(np.arange(count), len(predictions))
    return _Said(
        about,
        about,
        (said == labels).reshape(-1),
        sure.reshape(-1),
        labels.reshape(-1) == 1,
        row,
    )
