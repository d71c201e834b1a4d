"""What each image adds to a model's mean AUC: enough to test two models in pairs long after both ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import ArtifactError
from edgecell.metrics.paired_labels import AreaDrop, areas, spread, unseen
from edgecell.record import Measurement

# Five digits: what they round off is far below the standard error that these numbers add up to.
_DIGITS = 5


def ranking(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """The mean AUC and its parts by image, as JSON; empty where no label can be ranked.

    ``labels`` (N, C) of 0 and 1, ``probabilities`` (N, C). "parts" are N numbers in one text, the
    squares of which add up to the variance of "mean_auc" (DeLong et al. 1988).
    """
    found = areas(labels, probabilities)
    if not found.known.any():
        return {}
    known = found.known
    parts = found.parts[:, known].mean(axis=1)
    return {
        "mean_auc": float(found.area[found.known].mean()),
        "labels": "".join("1" if each else "0" for each in known),
        "unseen": unseen(labels[:, known], np.full(known.sum(), 1 / known.sum())),
        "parts": " ".join(f"{part:.{_DIGITS - 1}e}" for part in parts),
    }


@dataclass(frozen=True)
class RankingDrop:
    """How far the mean AUC falls from one model to another on the same images; ``p`` is two-sided."""

    drop: Measurement
    p: float
    worse_p: float


def ranking_drop(before: Mapping[str, Any], after: Mapping[str, Any]) -> RankingDrop | str:
    """What two of :func:`ranking` say of the models on the same images; or why they cannot be paired.

    Student's interval, with Satterthwaite's degrees of freedom over the images.

    Raises:
        ArtifactError: parts that cannot be read.
    """
    if not before or not after:
        return "no label could be ranked in one of the two"
    first, second = read_ranking(before), read_ranking(after)
    if first.labels != second.labels or len(first.parts) != len(second.parts):
        return "they were not ranked on the same labels and images"
    drop = AreaDrop(first.area - second.area, *spread(first.parts - second.parts), first.unseen)
    ends = drop.interval()
    measured = Measurement(drop.drop, "fraction", len(first.parts), ends.low, ends.high)
    return RankingDrop(measured, drop.two_sided_p(), drop.worse_p())


@dataclass(frozen=True)
class Ranking:
    """What :func:`ranking` wrote."""

    area: float
    labels: str
    unseen: float
    parts: NDArray[np.float64]


def read_ranking(told: Mapping[str, Any]) -> Ranking:
    """The inverse of :func:`ranking`; ArtifactError where it cannot be read."""
    try:
        parts = np.array([float(part) for part in told["parts"].split(" ")])
        return Ranking(float(told["mean_auc"]), told["labels"], float(told["unseen"]), parts)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"a ranking that cannot be read ({error}); bench again") from error
