"""Does the converted model do what its reference does? Checked in an order that cannot be fooled.

A reference that predicts one class for everything agrees with any converted file, also with broken
ones. So the reference must prove itself first; only then does agreement mean something.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from converters import verify_classes, verify_labels
from converters.audit import AuditReport
from converters.verdict import (
    Check,
    ClassRow,
    Compared,
    VerifyBudget,
    VerifyReport,
    refusal,
    require,
)
from edgecell.errors import DataError
from edgecell.runtime import Predictor
from edgecell.tasks import several_labels

__all__ = ["Check", "ClassRow", "VerifyBudget", "VerifyReport", "refusal", "require", "verify"]


def verify(
    reference: Predictor,
    converted: Predictor,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    budget: VerifyBudget,
    structure: AuditReport | None = None,
    *,
    shown: NDArray[np.uint8] | None = None,
    ordinal: bool = False,
) -> VerifyReport:
    """Hold ``converted`` against ``reference`` on validation images.

    Steps: reference alive → structure → agreement and largest probability difference → accuracy and
    per-class F1 within ``budget`` → the statistical gate: no class significantly worse, accuracy
    equivalent. Where an image can have several labels, mean AUC and each label's AUC take the places of
    accuracy and F1. "Cannot tell" fails only with ``budget.require_equivalence``, and so does a proven loss
    that a ``max_accuracy_drop`` above the margin allows.

    Args:
        images: uint8 (N, H, W, 3); labels: int64 (N,) in 0..C-1, or (N, C) of 0 and 1 where an image
            can have several; class_names: C names.
        structure: the file's audit; None where there is no file (a predictor in memory).
        ordinal: the classes are grades of one scale.
        shown: the same images as ``converted`` takes them, where it resizes by itself.

    Raises:
        DataError: no images, labels that do not fit, or models of different classes or sizes.
    """
    _check_arguments(reference, converted, images, shown, labels, class_names)
    expected = reference.predict(images)
    several = several_labels(labels)
    alive = verify_labels.alive if several else verify_classes.alive
    check, measured = alive(expected, labels, class_names)
    checks = [check]
    if check.passed and structure is not None:
        checks.append(_structure(structure))
    compared = Compared()
    if all(each.passed for each in checks):
        found = converted.predict(images if shown is None else shown)
        scale = converted.output_scale
        if several:
            compared = verify_labels.compare(
                labels, expected, found, class_names, budget, output_scale=scale
            )
        else:
            compared = verify_classes.compare(
                labels, expected, found, class_names, budget, output_scale=scale, ordinal=ordinal
            )
    return VerifyReport(
        reference.name,
        converted.name,
        (*checks, *compared.checks),
        compared.classes,
        measured | compared.measurements,
        budget,
        compared.gate,
    )


def _check_arguments(
    reference: Predictor,
    converted: Predictor,
    images: NDArray[np.uint8],
    shown: NDArray[np.uint8] | None,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
) -> None:
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(
            f"verify got {len(images)} images and {len(labels)} labels; allowed: as many, at least 1"
        )
    for model in (reference, converted):
        if model.class_count != len(class_names):
            raise DataError(
                f"{model.name} has {model.class_count} classes, the data set {len(class_names)};"
                " use the data set it was trained on (--data)"
            )
    if shown is None and reference.image_size != converted.image_size:
        raise DataError(
            f"{reference.name} takes {reference.image_size} pixels and {converted.name}"
            f" {converted.image_size}; convert it from this reference"
        )


def _structure(report: AuditReport) -> Check:
    return Check(
        "structure",
        report.passed,
        "; ".join(report.violations) or f"{report.precision}, {report.input_type} input",
        f"{report.precision} as its audit defines it",
    )
