"""Quality of what a device answered; a reason in the place of every figure where it gives no outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.options import BenchOptions
from edgecell.evaluate import evaluate
from edgecell.record import Measurement
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL, several_labels

_FRACTIONS = ("accuracy", "macro_f1", "weighted_f1", "auc", "ece", "ece_if_calibrated")
_OF_LABELS = (
    *("auc", "accuracy", "exact_match", "macro_f1", "average_precision"),
    *("ece", "ece_if_calibrated"),
)
_OF_A_LABEL = ("precision", "recall", "specificity", "f1", "auc", "average_precision")


def quality_of(
    predictor: TFLitePredictor,
    raw: NDArray[Any] | str,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    options: BenchOptions,
    *,
    ordinal: bool,
) -> dict[str, Any]:
    """Quality of the outputs ``raw`` (N, C) that a device gave, or the reason why it is not known.

    Raises:
        DataError: ``raw`` does not have the shape and type of this file's output.
    """
    if isinstance(raw, str):
        return unknown(labels, class_names, raw, ordinal=ordinal)
    return evaluate(
        predictor.probabilities(raw),
        labels,
        class_names,
        ordinal=ordinal,
        resamples=options.resamples,
        seed=options.seed,
    )


def unknown(
    labels: NDArray[np.int64], class_names: Sequence[str], reason: str, *, ordinal: bool = False
) -> dict[str, Any]:
    """The measurements of `edgecell.evaluate.evaluate`, each missing for ``reason``.

    ``labels`` are (N,), or (N, C) of 0 and 1 where several can hold. The confusion matrix is empty;
    with several labels there is none.
    """
    missing = Measurement.missing("fraction", reason).to_json()
    several = several_labels(labels)
    found: dict[str, Any] = {"task": MULTI_LABEL} if several else {}
    found |= {"n": len(labels), "class_names": list(class_names)}
    found |= {key: missing for key in (_OF_LABELS if several else _FRACTIONS)}
    if ordinal:
        found["kappa"] = Measurement.missing("1", reason).to_json()
    if several:
        support = labels.sum(axis=0).tolist()
        scores = {key: missing for key in _OF_A_LABEL}
    else:
        support = np.bincount(labels.ravel(), minlength=len(class_names)).tolist()
        scores = {key: missing for key in ("precision", "recall", "f1")}
        found["confusion"] = []
    worst = {"name": "", "support": 0, "f1": missing} | ({"auc": missing} if several else {})
    return found | {
        "loss": Measurement.missing("nat", reason).to_json(),
        "brier": Measurement.missing("1", reason).to_json(),
        "worst_class": worst,
        "classes": [
            {"name": name, "support": count, **scores}
            for name, count in zip(class_names, support, strict=True)
        ],
        "notes": [reason],
    }
