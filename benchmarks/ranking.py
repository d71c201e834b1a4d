"""What each image adds to a model's mean AUC: enough to test two models in pairs long after both ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import ArtifactError
from edgecell.metrics.paired_labels import AreaDrop, areas, spread
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
    parts = found.parts[:, found.known].mean(axis=1)
    return {
        "mean_auc": float(found.area[found.known].mean()),
        "labels": "".join("1" if known else "0" for known in found.known),
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
    if not before or not after or before["labels"] != after["labels"]:
        return "they were not ranked on the same labels"
    parts = _parts(before) - _parts(after)
    drop = AreaDrop(before["mean_auc"] - after["mean_auc"], *spread(parts), unseen=0.0)
    ends, worse = drop.interval(), drop.worse_p()
    measured = Measurement(drop.drop, "fraction", len(parts), ends.low, ends.high)
    return RankingDrop(measured, drop.two_sided_p(), worse)


def _parts(told: Mapping[str, Any]) -> NDArray[np.float64]:
    try:
        return np.array([float(part) for part in told["parts"].split(" ")])
    except (KeyError, AttributeError, ValueError) as error:
        raise ArtifactError(f"a ranking that cannot be read ({error}); bench again") from error
