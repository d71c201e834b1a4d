"""What verify found: every check with its numbers, every class, and whether it may pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from converters.gate import GateReport
from edgecell.errors import ParityError
from edgecell.record import Measurement

EQUIVALENCE = "equivalence of accuracy"


@dataclass(frozen=True)
class VerifyBudget:
    """What a conversion may cost, as fractions: 0.01 is one point.

    ``max_f1_drop`` holds for every class. ``margin`` and ``alpha`` are those of the statistical gate
    (:mod:`converters.gate`); with ``require_equivalence`` its "cannot tell" is a failure too.
    ``min_agreement`` None: measured, not judged.
    """

    max_accuracy_drop: float = 0.005
    max_f1_drop: float = 0.02
    min_agreement: float | None = None
    margin: float = 0.005
    alpha: float = 0.05
    require_equivalence: bool = False


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
    """Every check in the order it was made; a dead reference or a wrong file ends the list early.

    ``gate`` is None where the list ended early.
    """

    reference: str
    converted: str
    checks: tuple[Check, ...]
    classes: tuple[ClassRow, ...]
    measurements: dict[str, Measurement]
    budget: VerifyBudget
    gate: GateReport | None = None

    @property
    def passed(self) -> bool:
        """No check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def verdict(self) -> str:
        """What the gate says, or the name of the first check that failed."""
        failed = [check.name for check in self.checks if check.passed is False]
        if failed or self.gate is None:
            return f"refused: {failed[0]}"
        return self.gate.sentence

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
        } | ({} if self.gate is None else {"gate": self.gate.to_json()})


def require(report: VerifyReport) -> None:
    """Raise ParityError unless the report passed; its line names the worst class and the numbers."""
    if report.passed:
        return
    failed = next(check for check in report.checks if check.passed is False)
    raise ParityError(
        f"{report.converted} is refused by '{failed.name}': {failed.measured},"
        f" allowed {failed.allowed}{_where(report)}; {_next_step(failed.name)}"
    )


def _where(report: VerifyReport) -> str:
    worst = report.worst_class()
    if worst is None:
        return ""
    said = (
        f"; worst class '{worst.name}': F1 {worst.reference_f1:.4f} → {worst.converted_f1:.4f}"
        f" on {worst.support} images"
    )
    significant = report.gate.worse_classes if report.gate is not None else ()
    if significant:
        named = ", ".join(f"'{row.name}' (p = {row.p_holm:.2g})" for row in significant[:3])
        more = f" and {len(significant) - 3} more" if len(significant) > 3 else ""
        said += f"; significantly worse: {named}{more}"
    return said


def _next_step(check: str) -> str:
    return {
        "reference alive": "train it longer with 'edgecell train'",
        "structure": "convert it again with 'edgecell quantize'",
        EQUIVALENCE: "verify more images (--split val+test), or a larger --margin",
    }.get(check, "try 'edgecell quantize --int8 --search', --float16, or a larger budget")
