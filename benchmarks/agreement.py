"""Does a device answer as this host does? The same file, the same images, both sides' outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.metrics import decide, wilson_interval
from edgecell.record import Measurement
from edgecell.runtime import TFLitePredictor

_TOP1, _DECISIONS = "top1", "decisions"
_EQUAL, _LARGEST = "equal_outputs", "largest_difference"


def agreement(
    predictor: TFLitePredictor,
    images: NDArray[np.uint8],
    raw: NDArray[Any] | str,
    kind: str,
    *,
    several: bool = False,
) -> dict[str, Any]:
    """How a device's outputs ``raw`` (N, C) compare with those of ``predictor`` on this host.

    "top1": share of images with the same first class (Wilson interval), or "decisions" where ``several``
    labels can hold at once: that of images with all decisions the same; "equal_outputs": share of the
    N × C numbers that are the same; "largest_difference": in quanta of the output where it is
    quantized, else of a probability. Reasons in their place where there are no outputs, or where the
    device is the host.

    Raises:
        DataError: ``raw`` does not have the shape and type of this file's output.
    """
    said = _DECISIONS if several else _TOP1
    unit = "1" if predictor.output_scale is None else "quanta"
    if kind == "host" or isinstance(raw, str):
        reason = "this is the host" if kind == "host" else str(raw)
        return {
            said: Measurement.missing("fraction", reason).to_json(),
            _EQUAL: Measurement.missing("fraction", reason).to_json(),
            _LARGEST: Measurement.missing(unit, reason).to_json(),
        }
    theirs, ours = predictor.probabilities(raw), predictor.predict(images)
    if several:
        same = int((decide(theirs) == decide(ours)).all(axis=1).sum())
    else:
        same = int((theirs.argmax(axis=1) == ours.argmax(axis=1)).sum())
    apart = np.abs(theirs - ours)
    largest = float(apart.max()) / (predictor.output_scale or 1.0)
    low, high = wilson_interval(same, len(ours)) or (None, None)
    return {
        said: Measurement(same / len(ours), "fraction", len(ours), low, high).to_json(),
        _EQUAL: Measurement(float((apart == 0).mean()), "fraction", apart.size).to_json(),
        _LARGEST: Measurement(
            round(largest, 3) if unit == "quanta" else largest, unit, apart.size
        ).to_json(),
    }


def same_answers(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of what :func:`agreement` found, the share of images that are answered alike, whatever that means."""
    measured: dict[str, Any] = found[_DECISIONS if _DECISIONS in found else _TOP1]
    return measured
