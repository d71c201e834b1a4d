"""Whatever is broken is refused, and what is not broken passes the very same call."""

from __future__ import annotations

import numpy as np
import pytest
import sabotage
import toys

from converters import verify
from converters.audit import audit
from converters.verify import VerifyBudget
from edgecell.errors import ParityError
from edgecell.runtime import KerasPredictor, TFLitePredictor

BUDGET = VerifyBudget(max_accuracy_drop=0.02, max_f1_drop=0.05)


@pytest.fixture(scope="module")
def reference() -> KerasPredictor:
    return KerasPredictor(toys.trained(), "toy.keras")


@pytest.fixture(scope="module")
def converted() -> TFLitePredictor:
    return TFLitePredictor(toys.converted("int8"), name="toy-int8.tflite")


def run(reference, converted, structure=None, budget=BUDGET):
    x, y = toys.images(200, seed=2)
    return verify.verify(reference, converted, x, y, toys.CLASSES, budget, structure)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int16x8"])
def test_the_sound_pipeline_passes(reference, precision):
    data = toys.converted(precision)
    report = run(reference, TFLitePredictor(data), audit(data, precision))
    verify.require(report)
    assert report.passed
    assert report.verdict.startswith("cannot tell at a margin of 0.005 with 200 images")
    assert [check.name for check in report.checks] == [
        "reference alive",
        "structure",
        "top-1 agreement",
        "largest probability difference",
        "accuracy drop",
        "F1 drop of each class",
        "significance of class drops",
        "equivalence of accuracy",
        "equivalence of each class",
    ]


@pytest.mark.parametrize("breaks", sabotage.PIPELINES, ids=lambda f: f.__name__)
def test_a_broken_pipeline_is_refused(reference, converted, breaks):
    report = run(reference, breaks(converted), audit(toys.converted("int8"), "int8"))
    assert not report.passed
    assert report.measurements["accuracy_drop"].value > 0.2
    with pytest.raises(ParityError, match=r"worst class '(dark|bright) (red|blue)'"):
        verify.require(report)


@pytest.mark.parametrize("index", range(4))
def test_a_broken_class_is_named(reference, index):
    data = sabotage.with_class_broken(toys.converted("int8"), index)
    structure = audit(data, "int8")
    assert structure.passed, "the sabotage must leave the structure alone"
    report = run(reference, TFLitePredictor(data, name="broken"), structure)
    assert not report.passed
    assert report.worst_class().name == toys.CLASSES[index]
    with pytest.raises(ParityError, match=f"worst class '{toys.CLASSES[index]}'"):
        verify.require(report)


def test_a_dead_reference_is_refused_although_it_agrees_with_itself(reference, converted):
    dead = sabotage.constant_class(reference)
    report = run(dead, sabotage.constant_class(converted))
    assert [check.name for check in report.checks] == ["reference alive"]
    assert "1 classes predicted" in report.checks[0].measured
    with pytest.raises(ParityError, match="refused by 'reference alive'.*edgecell train"):
        verify.require(report)


def test_a_reference_that_only_matches_the_majority_is_refused(reference, converted):
    # Rotated labels: several classes predicted, hardly any right.
    report = run(sabotage.rotated_labels(reference), converted)
    assert not report.passed
    assert "4 classes predicted" in report.checks[0].measured
    with pytest.raises(ParityError, match="above the majority class, 0.2500"):
        verify.require(report)


def test_a_wrong_structure_stops_before_any_comparison(reference):
    data = toys.converted("float32")
    report = run(reference, TFLitePredictor(data), audit(data, "int8"))
    assert [check.name for check in report.checks] == ["reference alive", "structure"]
    with pytest.raises(ParityError, match="refused by 'structure'"):
        verify.require(report)


def test_agreement_is_judged_only_where_a_budget_is_given(reference, converted):
    strict = VerifyBudget(1.0, 1.0, min_agreement=0.99)
    lenient = VerifyBudget(1.0, 1.0)
    broken = sabotage.rotated_labels(converted)
    assert run(reference, broken, budget=lenient).passed
    report = run(reference, broken, budget=strict)
    assert report.verdict == "refused: top-1 agreement"


def test_probabilities_that_are_no_numbers_are_refused(reference, converted):
    broken = sabotage.Broken(converted, "nan", garble=lambda p: np.where(p > 2, p, np.nan) * 0 + p)
    report = run(reference, broken, budget=VerifyBudget(1.0, 1.0))
    assert report.verdict == "refused: largest probability difference"
    assert report.measurements["max_difference_quanta"].reason is not None
