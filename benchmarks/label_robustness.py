"""Do converted models lose their ranking faster than their reference when images get worse?

For images that can have several labels: the mean AUC in the place of accuracy. Every model sees the same
corrupted images and DeLong's placements are kept by image, so that all differences are paired, those
between two corruptions too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.robustness import BLIND, CLEAN, answers, holm, judged
from edgecell.errors import DataError
from edgecell.metrics.paired_labels import (
    FEWEST,
    AreaDrop,
    Areas,
    above_chance,
    areas,
    label_drops,
    mean_drop,
)
from edgecell.record import Measurement
from edgecell.runtime import Predictor
from edgecell.tasks import MULTI_LABEL

Labels = NDArray[np.int64]


def label_robustness(
    reference: Predictor,
    converted: Sequence[Predictor],
    images: NDArray[np.uint8],
    labels: Labels,
    names: Sequence[str],
    *,
    label_names: Sequence[str],
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Mean AUC of all models on clean images and at each corruption and strength.

    Args:
        images: uint8 (N, H, W, 3) as the models take them; labels: int64 (N, C), 0 or 1.
        names: corruptions; label_names: C names.
        advance: gets the number of finished conditions, of 1 + 5 per corruption.

    Returns:
        JSON types, keys as :func:`benchmarks.robustness.robustness`, with "auc" for "accuracy" and its
        drop in Student's interval of DeLong's variance. "blind": conditions in which the reference is not
        above chance with 97.5 % confidence. "labels": as "falls", per model and label over all
        conditions, with Holm's correction over the labels. "unranked": labels without a spread, in
        none of the figures.

    Raises:
        DataError: no label of which three images have it and three do not; probabilities not finite.
    """
    models = [reference, *converted]
    moved: dict[str, _Moved] = {name: _Moved(len(models)) for name in names}
    rows, blind, clean = [], [], []
    for (name, strength), found in answers(models, images, names, seed, advance):
        ranked = [areas(labels, each) for each in found]
        above = [above_chance(labels, each) for each in ranked]
        if (name, strength) == CLEAN:
            _check_ranked(ranked[0], len(labels))
            clean = ranked
        elif _sees(above[0]):
            moved[name].add(clean, ranked)
        else:
            blind.append({"corruption": name, "strength": strength})
        shown = _condition([model.name for model in models], labels, ranked, above)
        rows.append({"corruption": name, "strength": strength, "models": shown})
    known = clean[0].known
    return {
        "task": MULTI_LABEL,
        "n": len(labels),
        "corruptions": list(names),
        "models": [model.name for model in models],
        "conditions": rows,
        "blind": sorted(blind, key=lambda row: (row["corruption"], row["strength"])),
        "falls": [
            row
            for index, model in enumerate(converted, 1)
            for row in _falls(model.name, index, labels, moved)
        ],
        "labels": [
            row
            for index, model in enumerate(converted, 1)
            for row in _by_label(model.name, index, labels, label_names, moved)
        ],
        "unranked": [name for name, told in zip(label_names, known, strict=True) if not told],
    }


class _Moved:
    """How far each model's AUCs moved from clean images: the sum over conditions, and their number."""

    def __init__(self, models: int) -> None:
        self.count = 0
        self.sums: list[Areas | None] = [None] * models

    def add(self, clean: Sequence[Areas], found: Sequence[Areas]) -> None:
        """One condition more."""
        self.count += 1
        self._join([after - before for before, after in zip(clean, found, strict=True)])

    def _join(self, more: Sequence[Areas | None]) -> None:
        pairs = zip(self.sums, more, strict=True)
        self.sums = [a if b is None else b if a is None else a + b for a, b in pairs]

    def mean(self, index: int) -> Areas:
        """Of the model at ``index``; there is at least one condition."""
        total = self.sums[index]
        assert total is not None
        return total / self.count

    @classmethod
    def together(cls, parts: Mapping[str, _Moved]) -> _Moved:
        """Of all corruptions; each condition counts alike."""
        found = cls(len(next(iter(parts.values())).sums))
        for part in parts.values():
            found.count += part.count
            found._join(part.sums)
        return found


def _check_ranked(found: Areas, n: int) -> None:
    if not found.known.any():
        raise DataError(
            f"none of the {len(found.area)} labels has {FEWEST} images with it and {FEWEST} without among"
            f" {n} images, so no AUC can be compared; show more of them with --images (0: all)"
        )


def _sees(above: AreaDrop | None) -> bool:
    return above is not None and above.lower_bound(0.025) > 0


def _condition(
    names: list[str], labels: Labels, found: list[Areas], above: list[AreaDrop | None]
) -> list[dict[str, Any]]:
    rows = []
    for name, mine, over in zip(names, found, above, strict=True):
        assert over is not None  # a label is known
        low, high = over.interval()
        area = Measurement(
            0.5 + over.drop, "fraction", len(labels), max(0.5 + low, 0.0), min(0.5 + high, 1.0)
        )
        row: dict[str, Any] = {"model": name, "auc": area.to_json()}
        if mine is not found[0]:
            row["drop"] = _measured(mean_drop(labels, found[0], mine), len(labels))
        rows.append(row)
    return rows


def _falls(
    model: str, index: int, labels: Labels, moved: Mapping[str, _Moved]
) -> list[dict[str, Any]]:
    """How much further one converted model falls than the reference, by corruption and in all."""
    rows, p = [], []
    for scope, part in (*moved.items(), ("all", _Moved.together(moved))):
        fall = mean_drop(labels, part.mean(0), part.mean(index)) if part.count else None
        row = {"model": model, "corruption": scope, "conditions": part.count}
        rows.append(row | {"extra_fall": _measured(fall, len(labels))})
        p.append(1.0 if fall is None else fall.two_sided_p())
    corrected = [*holm(p[:-1]), p[-1]]
    return [judged(row, value) for row, value in zip(rows, corrected, strict=True)]


def _by_label(
    model: str,
    index: int,
    labels: Labels,
    label_names: Sequence[str],
    moved: Mapping[str, _Moved],
) -> Iterator[dict[str, Any]]:
    """The same of each label that is ranked, over all conditions; none where the reference sees nothing."""
    whole = _Moved.together(moved)
    if not whole.count:
        return
    falls = label_drops(labels, whole.mean(0), whole.mean(index))
    told = [(i, fall) for i, fall in enumerate(falls) if fall is not None]
    corrected = holm([fall.two_sided_p() for _, fall in told])
    for (i, fall), value in zip(told, corrected, strict=True):
        row = {"model": model, "label": label_names[i], "support": int(labels[:, i].sum())}
        yield judged(row | {"extra_fall": _measured(fall, len(labels))}, value)


def _measured(fall: AreaDrop | None, n: int) -> dict[str, Any]:
    if fall is None:
        return Measurement.missing("fraction", BLIND).to_json()
    ends = fall.interval()
    return Measurement(fall.drop, "fraction", n, ends.low, ends.high).to_json()
