"""Do converted models fall faster than their reference when images get worse? A table of accuracies.

Every model sees the same corrupted images, so that the differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgecell import corruptions
from edgecell.metrics import wilson_interval
from edgecell.metrics.paired import discordant, tango_interval
from edgecell.record import Measurement
from edgecell.runtime import Predictor

Right = NDArray[np.bool_]
CLEAN = ("clean", 0)


def robustness(
    reference: Predictor,
    converted: Sequence[Predictor],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    names: Sequence[str],
    *,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Accuracy of all models on clean images and at each corruption and strength.

    Args:
        images: uint8 (N, H, W, 3) as the models take them; labels: int64 (N,); names: corruptions.
        advance: gets the number of finished conditions, of 1 + 5 per corruption.

    Returns:
        JSON types. "conditions": corruption, strength, and per model its accuracy (Wilson) and the
        drop against the reference (Tango; positive: the converted is worse). "falls": per model
        and corruption (and "all") how much more accuracy it loses than the reference, against clean
        images, averaged over strengths, with a 95 % t interval over images.
    """
    models = [reference, *converted]
    right: dict[tuple[str, int], list[Right]] = {}
    for count, (name, strength) in enumerate(conditions(names), 1):
        shown = images if strength == 0 else corruptions.corrupt(images, name, strength, seed)
        right[name, strength] = [m.predict(shown).argmax(axis=1) == labels for m in models]
        advance(count)
    return {
        "n": len(labels),
        "corruptions": list(names),
        "models": [model.name for model in models],
        "conditions": [
            {"corruption": name, "strength": strength}
            | {"models": _condition([m.name for m in models], found)}
            for (name, strength), found in right.items()
        ],
        "falls": [
            _fall(model.name, index, scope, right)
            for index, model in enumerate(converted, 1)
            for scope in (*names, "all")
        ],
    }


def conditions(names: Sequence[str]) -> list[tuple[str, int]]:
    """Clean images first, then each corruption from weak to strong."""
    return [CLEAN, *((name, strength) for name in names for strength in corruptions.STRENGTHS)]


def _condition(names: list[str], right: list[Right]) -> list[dict[str, Any]]:
    rows = []
    for name, mine in zip(names, right, strict=True):
        n, hits = len(mine), int(mine.sum())
        interval = wilson_interval(hits, n)
        assert interval is not None  # n is at least 1
        accuracy = Measurement(hits / n, "fraction", n, interval.low, interval.high)
        row: dict[str, Any] = {"model": name, "accuracy": accuracy.to_json()}
        if mine is not right[0]:
            lost, gained = discordant(right[0], mine)
            ends = tango_interval(lost, gained, n)
            drop = Measurement((lost - gained) / n, "fraction", n, ends.low, ends.high)
            row["drop"] = drop.to_json()
        rows.append(row)
    return rows


def _fall(
    model: str, index: int, scope: str, right: dict[tuple[str, int], list[Right]]
) -> dict[str, Any]:
    """How much further the converted model falls than the reference; positive: further."""
    inside = [k for k in right if k != CLEAN and scope in ("all", k[0])]
    # Per image: wrong answers of the converted beyond the reference's, corrupted against clean.
    behind = {k: right[k][0].astype(float) - right[k][index] for k in (CLEAN, *inside)}
    extra = np.mean([behind[k] for k in inside], axis=0) - behind[CLEAN]
    mean, n = float(extra.mean()), len(extra)
    reach = float(stats.t.ppf(0.975, n - 1) * stats.sem(extra)) if n > 1 else 1.0
    verdict = "no difference seen"
    if mean - reach > 0:
        verdict = "falls faster"
    elif mean + reach < 0:
        verdict = "falls slower"
    extra_fall = Measurement(mean, "fraction", n, mean - reach, mean + reach)
    return {
        "model": model,
        "corruption": scope,
        "extra_fall": extra_fall.to_json(),
        "verdict": verdict,
    }
