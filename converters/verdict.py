"""What verify found: every check with its numbers, every class, and whether it may pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgecell.errors import ParityError
from edgecell.record import Measurement


@dataclass(frozen=True)
class VerifyBudget:
    """What a conversion may cost, as fractions: 0.01 is one point.

    ``max_f1_drop`` holds for every class. None: measured, not judged.
    """

    max_accuracy_drop: float = 0.005
    max_f1_drop: float = 0.02
    min_agreement: float | None = None


@dataclass(frozen=True)
class Check:
    """One step: what was measured, what was allowed, and whether it passed (None: not judged)."""

    name: str
    passed: bool | None
    measured: str
    allowed: str


@dataclass(frozen=True)
class ClassRow:
    """One class, reference against converted; ``f1_drop`` = reference minus converted.

    ``passed`` is None for a class without images.
    """

    name: str
    support: int
    reference_f1: float
    converted_f1: float
    f1_drop: float
    reference_recall: float
    converted_recall: float
    passed: bool | None


@dataclass(frozen=True)
class VerifyReport:
    """Every check in the order it was made; a dead reference or a wrong file ends the list early."""

    reference: str
    converted: str
    checks: tuple[Check, ...]
    classes: tuple[ClassRow, ...]
    measurements: dict[str, Measurement]
    budget: VerifyBudget

    @property
    def passed(self) -> bool:
        """No check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def verdict(self) -> str:
        """ "equivalent within budget", or the name of the first check that failed."""
        failed = [check.name for check in self.checks if check.passed is False]
        return f"refused: {failed[0]}" if failed else "equivalent within budget"

    def worst_class(self) -> ClassRow | None:
        """The class whose F1 fell most, among those with images."""
        judged = [row for row in self.classes if row.passed is not None]
        return max(judged, key=lambda row: row.f1_drop, default=None)

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        return {
            "reference": self.reference,
            "converted": self.converted,
            "passed": self.passed,
            "verdict": self.verdict,
            "checks": [asdict(check) for check in self.checks],
            "classes": [asdict(row) for row in self.classes],
            "measurements": {key: m.to_json() for key, m in self.measurements.items()},
            "budget": asdict(self.budget),
        }


def require(report: VerifyReport) -> None:
    """Raise ParityError unless the report passed; its line names the worst class and the numbers."""
    if report.passed:
        return
    failed = next(check for check in report.checks if check.passed is False)
    worst = report.worst_class()
    where = (
        f"; worst class '{worst.name}': F1 {worst.reference_f1:.4f} → {worst.converted_f1:.4f}"
        f" on {worst.support} images"
        if worst is not None
        else ""
    )
    raise ParityError(
        f"{report.converted} is refused by '{failed.name}': {failed.measured},"
        f" allowed {failed.allowed}{where}; {_next_step(failed.name)}"
    )


def _next_step(check: str) -> str:
    return {
        "reference alive": "train it longer with 'edgecell train'",
        "structure": "convert it again with 'edgecell quantize'",
    }.get(check, "try 'edgecell quantize --float16' or a larger budget")
