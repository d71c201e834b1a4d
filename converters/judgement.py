"""What a statistical gate says: its verdict, the tests it rests on, and how that reads in one line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from converters.class_tests import ROUNDING, ClassTest
from edgecell.record import Measurement

Verdict = Literal["equivalent", "worse", "cannot tell"]
NeededFor = Literal["equivalence", "a significant drop"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict and what every gate has.

    ``upper_bound`` is the one-sided bound of the drop that the verdict compares with ``margin``,
    ``non_inferiority_p`` its p-value; ``worse_p`` the one-sided p-value against "no drop".
    ``macro_f1_drop`` has a paired bootstrap interval. ``class_margin`` is the drop of recall, with
    several labels of AUC, that every class's bound has to keep for equivalence; None where that is not
    asked. ``images_needed`` is for showing ``needed_for``.
    """

    headline: ClassVar[str]
    """What the margin is about, as people write it."""
    class_score: ClassVar[str]
    """What a class's bound is about."""

    verdict: Verdict
    n: int
    margin: float
    alpha: float
    class_budget: float
    macro_f1_drop: Measurement
    upper_bound: float
    non_inferiority_p: float
    worse_p: float
    classes: tuple[ClassTest, ...]
    images_needed: int | None
    needed_for: NeededFor | None
    class_margin: float | None = None

    @property
    def drop(self) -> Measurement:
        """The drop that the margin is about."""
        raise NotImplementedError

    @property
    def drop_worse(self) -> bool:
        """Whether that drop is significant and beyond the margin."""
        raise NotImplementedError

    @property
    def non_inferior(self) -> bool:
        """Whether the test against a drop of ``margin`` passed, whatever became of the classes."""
        return self.non_inferiority_p <= self.alpha

    @property
    def least_known(self) -> tuple[ClassTest, float] | None:
        """The class of the largest bound, and the bound, which is one of the largest drop; or None.

        With the confidence of one bound no class fell by more (:func:`edgecell.metrics.paired.drop_bound`).
        """
        bounded = [(row, row.bound) for row in self.classes if row.bound is not None]
        return max(bounded, key=lambda found: found[1], default=None)

    @property
    def worse_classes(self) -> tuple[ClassTest, ...]:
        """Classes that got worse, the most certain first."""
        return tuple(sorted((row for row in self.classes if row.worse), key=lambda r: r.p_holm))

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, in one line."""
        if self.verdict == "equivalent":
            said = f"equivalent at a margin of {self.margin:g} on {self.n:,} images"
            if self.least_known is None:
                return said
            _, bound = self.least_known
            return f"{said}; no class lost more than {ceiling(bound)} of {self.class_score}"
        if self.verdict == "worse":
            names = [self.headline] * self.drop_worse
            names += [f"'{row.name}' (p = {row.p_holm:.2g})" for row in self.worse_classes]
            return f"worse: {', '.join(names)}"
        said = f"cannot tell at a margin of {self.margin:g} with {self.n:,} images"
        if self.images_needed is not None:
            step = 10 ** max(len(str(self.images_needed)) - 2, 0)
            rounded = -(-self.images_needed // step) * step
            said += f"; about {rounded:,} would show {self.needed_for}"
        return said

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        out = {
            key: value.to_json() if isinstance(value, Measurement) else value
            for key, value in vars(self).items()
            if key != "classes"
        }
        return out | {
            "sentence": self.sentence,
            "classes": [_class_json(row) for row in self.classes],
        }


def verdict_of(
    non_inferior: bool,
    worse: bool,
    classes: tuple[ClassTest, ...],
    class_margin: float | None = None,
) -> Verdict:
    """Worse goes before equivalent: a mean can hide a class."""
    if worse or any(row.worse for row in classes):
        return "worse"
    return "equivalent" if non_inferior and within(classes, class_margin) else "cannot tell"


def within(classes: tuple[ClassTest, ...], class_margin: float | None) -> bool:
    """Whether every class's bound keeps ``class_margin``; where none is asked for they do."""
    return class_margin is None or all(
        row.bound <= class_margin + ROUNDING for row in classes if row.bound is not None
    )


def largest(needed: list[int | None]) -> int | None:
    """Images that are enough for all; None where no number is for one of them."""
    known = [each for each in needed if each is not None]
    return max(known) if len(known) == len(needed) else None


def ceiling(bound: float) -> str:
    """A bound in three digits after the point, never below itself."""
    return f"{math.ceil(bound * 1000 - ROUNDING) / 1000:.3f}"


def _class_json(row: ClassTest) -> dict[str, Any]:
    drops = {key: getattr(row, key).to_json() for key in ("recall_drop", "f1_drop")}
    out = asdict(row) | drops
    if row.auc_drop is None:  # of several labels alone
        return {key: value for key, value in out.items() if not key.startswith("auc")}
    return out | {"auc_drop": row.auc_drop.to_json()}
