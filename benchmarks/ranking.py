"""What each image adds to a model's mean AUC: enough to test two models in pairs long after both ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgecell.errors import ArtifactError
from edgecell.metrics.paired_labels import areas
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
    drop = float(before["mean_auc"] - after["mean_auc"])
    squares = parts**2
    total = float(squares.sum())
    if total == 0:  # all images are ranked alike
        return RankingDrop(Measurement(drop, "fraction", len(parts), drop, drop), 1.0, 1.0)
    error, freedom = float(np.sqrt(total)), total**2 / float((squares**2).sum())
    reach = float(stats.t.isf(0.025, freedom)) * error
    drawn = Measurement(drop, "fraction", len(parts), drop - reach, drop + reach)
    worse = float(stats.t.sf(drop / error, freedom))
    return RankingDrop(drawn, min(1.0, 2 * min(worse, 1 - worse)), worse)


def _parts(told: Mapping[str, Any]) -> NDArray[np.float64]:
    try:
        return np.array([float(part) for part in told["parts"].split(" ")])
    except (KeyError, AttributeError, ValueError) as error:
        raise ArtifactError(f"a ranking that cannot be read ({error}); bench again") from error
