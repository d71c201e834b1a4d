"""Quality where a device gives no outputs: a reason in the place of every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.record import Measurement

_FRACTIONS = ("accuracy", "macro_f1", "weighted_f1", "auc", "ece")


def unknown(labels: NDArray[np.int64], class_names: Sequence[str], reason: str) -> dict[str, Any]:
    """The measurements of `edgecell.evaluate.evaluate`, each missing for ``reason``; no confusion matrix."""
    missing = Measurement.missing("fraction", reason).to_json()
    support = np.bincount(labels.ravel(), minlength=len(class_names)).tolist()
    scores = {key: missing for key in ("precision", "recall", "f1")}
    return {
        "n": len(labels),
        "class_names": list(class_names),
        **{key: missing for key in _FRACTIONS},
        "loss": Measurement.missing("nat", reason).to_json(),
        "brier": Measurement.missing("1", reason).to_json(),
        "worst_class": {"name": "", "support": 0, "f1": missing},
        "classes": [
            {"name": name, "support": count, **scores}
            for name, count in zip(class_names, support, strict=True)
        ],
        "confusion": [],
        "notes": [reason],
    }
