"""From a model's probabilities to what people are shown: an answer, "not sure", a set of classes.

Nothing is fitted here; the numbers come from the record of ``edgecell calibrate`` or a bundle's
``model.json``. Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.confidence import tempered
from edgecell.label_confidence import SLACK, present, scaled
from edgecell.metrics.labels import THRESHOLD
from edgecell.predictions import number
from edgecell.tasks import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """What to make of a model's probabilities.

    ``abstain_below``: no answer where the largest probability is smaller. ``set_from``: a class is in
    the conformal set from this probability on; ``coverage`` is what the set promises. Both are for the
    model's own probabilities, None where there is no such number; ``missing`` then says why, by the
    names "abstention", "set" and "temperature". ``temperature`` None: not known, 1.0: found to be of no
    use. With several labels at once a label holds above ``label_threshold``, and nothing else applies, but
    what calibrate found: from its own of ``label_thresholds`` on (C,; None: none of its own), chosen for
    ``sensitivity``; to be shown with its slope and offset of ``scaling``.
    """

    labels: tuple[str, ...]
    task: Task
    floor: float
    label_threshold: float = THRESHOLD
    abstain_below: float | None = None
    set_from: float | None = None
    coverage: float | None = None
    temperature: float | None = None
    label_thresholds: tuple[float | None, ...] | None = None
    sensitivity: float | None = None
    scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """How to read an answer: single-label, ordinal or multi-label."""
        return self.task.kind

    @property
    def shows_other(self) -> bool:
        """Whether the probabilities to show are not the model's own."""
        if self.task.multi_label:
            return self.scaling is not None
        return self.temperature not in (None, 1.0)

    def to_json(self) -> dict[str, Any]:
        """The rules as a program may want to know them."""
        several = {
            "label_thresholds": None
            if self.label_thresholds is None
            else list(self.label_thresholds),
            "sensitivity": self.sensitivity,
            "scaled": self.scaling is not None,
        }
        return {
            "labels": list(self.labels),
            "task": self.kind,
            "label_threshold": self.label_threshold if self.task.multi_label else None,
            "abstain_below": self.abstain_below,
            "set_from": self.set_from,
            "coverage": self.coverage,
            "temperature": self.temperature,
            "missing": dict(self.missing),
            **(several if self.task.multi_label else {}),
        }


@dataclass(frozen=True)
class Answer:
    """What a model says of one image.

    ``probabilities`` (C,) are its own, ``calibrated`` (C,) those to show, None where no temperature was
    ever looked for. ``said``: the classes answered, in the order of :attr:`order`; none where it
    abstained, and where no label holds. ``members``: the conformal set in the order of the classes, None without one.
    """

    rules: Rules
    probabilities: Floats
    calibrated: Floats | None
    said: tuple[int, ...]
    abstained: bool
    members: tuple[int, ...] | None

    @property
    def order(self) -> list[int]:
        """All classes, most probable first; of equals the first one.

        Of several labels by what is shown: each has a scaling of its own, so that the model's own
        probabilities can stand in another order. One temperature leaves the order as it is.
        """
        return _order(self.probabilities, self.shown if self.rules.task.multi_label else None)

    @property
    def shown(self) -> Floats:
        """The probabilities to show people (C,)."""
        return self.probabilities if self.calibrated is None else self.calibrated

    @property
    def mean_grade(self) -> float | None:
        """Of ordinal classes the expected class number; it falls between grades where it hesitates."""
        if not self.rules.task.ordinal:
            return None
        grades = np.arange(len(self.probabilities))
        return float(grades @ self.probabilities / self.probabilities.sum())

    def names(self, classes: Sequence[int]) -> list[str]:
        """The labels of some classes."""
        return [self.rules.labels[i] for i in classes]

    def to_json(self, top: int) -> dict[str, Any]:
        """The answer in JSON types, with the ``top`` most probable classes."""
        own, shown = self.probabilities, self.calibrated
        found: dict[str, Any] = {
            "answer": self.names(self.said),
            "abstained": self.abstained,
            "top": [
                {
                    "label": self.rules.labels[i],
                    "index": i,
                    "probability": number(own[i]),
                    "calibrated": None if shown is None else number(shown[i]),
                }
                for i in self.order[:top]
            ],
            "set": None if self.members is None else self.names(self.members),
        }
        grade = self.mean_grade
        return found if grade is None else found | {"mean_grade": number(grade)}


def answer_all(rules: Rules, probabilities: NDArray[Any]) -> list[Answer]:
    """Apply ``rules`` to ``probabilities`` (N, C)."""
    rows = np.asarray(probabilities, np.float64)
    if rules.task.multi_label:
        shown: list[Floats | None] = [None] * len(rows)
        if rules.scaling is not None:
            shown = list(scaled(rows.clip(rules.floor, 1 - rules.floor), *rules.scaling))
        called = present(
            rows, rules.label_thresholds or [None] * rows.shape[1], rules.label_threshold
        )
        return [
            Answer(rules, row, show, tuple(c for c in _order(row, show) if said[c]), False, None)
            for row, show, said in zip(rows, shown, called, strict=True)
        ]
    calibrated: Floats | None = None
    if rules.temperature is not None:
        plain = rules.temperature == 1.0
        calibrated = rows if plain else tempered(np.maximum(rows, rules.floor), rules.temperature)
    return [
        _single(rules, row, None if calibrated is None else calibrated[i])
        for i, row in enumerate(rows)
    ]


def _order(own: Floats, shown: Floats | None) -> list[int]:
    """The classes by ``shown``, those that are equal there by ``own``, then as they are numbered."""
    return [int(i) for i in np.lexsort((-own, -(own if shown is None else shown)))]


def _single(rules: Rules, row: Floats, calibrated: Floats | None) -> Answer:
    best = int(row.argmax())
    abstained = rules.abstain_below is not None and bool(row[best] < rules.abstain_below - SLACK)
    members = None
    if rules.set_from is not None:
        members = tuple(int(i) for i in np.flatnonzero(row >= rules.set_from - SLACK))
    return Answer(rules, row, calibrated, () if abstained else (best,), abstained, members)


def logits_to_probabilities(values: NDArray[Any]) -> Floats:
    """softmax of rows (N, C), for models that end without one."""
    rows = np.asarray(values, np.float64)
    odds = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
