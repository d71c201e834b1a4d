"""What a statistical gate says: its verdict, the tests it rests on, and how that reads in one line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from converters.class_tests import ClassTest
from edgecell.record import Measurement

Verdict = Literal["equivalent", "worse", "cannot tell"]
NeededFor = Literal["equivalence", "a significant drop"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict and what every gate has.

    ``upper_bound`` is the one-sided bound of the drop that the verdict compares with ``margin``,
    ``non_inferiority_p`` its p-value; ``worse_p`` the one-sided p-value against "no drop".
    ``macro_f1_drop`` has a paired bootstrap interval. ``images_needed`` is for showing ``needed_for``.
    """

    headline: ClassVar[str]
    """What the margin is about, as people write it."""

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
    def worse_classes(self) -> tuple[ClassTest, ...]:
        """Classes that got worse, the most certain first."""
        return tuple(sorted((row for row in self.classes if row.worse), key=lambda r: r.p_holm))

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, in one line."""
        if self.verdict == "equivalent":
            return f"equivalent at a margin of {self.margin:g} on {self.n:,} images"
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


def verdict_of(non_inferior: bool, worse: bool, classes: tuple[ClassTest, ...]) -> Verdict:
    """Worse goes before equivalent: a mean can hide a class."""
    if worse or any(row.worse for row in classes):
        return "worse"
    return "equivalent" if non_inferior else "cannot tell"


def _class_json(row: ClassTest) -> dict[str, Any]:
    drops = {key: getattr(row, key).to_json() for key in ("recall_drop", "f1_drop")}
    out = asdict(row) | drops
    if row.auc_drop is None:  # of several labels alone
        return {key: value for key, value in out.items() if not key.startswith("auc")}
    return out | {"auc_drop": row.auc_drop.to_json()}
