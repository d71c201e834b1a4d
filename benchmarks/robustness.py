"""Do converted models fall faster than their reference when images get worse? A table of accuracies.

Every model sees the same corrupted images, so that the differences are paired. Where an image can have
several labels, see :mod:`benchmarks.label_robustness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from edgecell import corruptions
from edgecell.metrics import wilson_interval
from edgecell.metrics.paired import discordant, tango_interval
from edgecell.record import Measurement
from edgecell.runtime import Predictor

Condition = tuple[str, int]
Right = NDArray[np.bool_]
CLEAN: Condition = ("clean", 0)
ALPHA = 0.05
BLIND = "the reference itself sees nothing any more"


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
        drop against the reference (Tango; positive: the converted is worse). "blind": conditions in
        which the reference is no better than naming the commonest class. "falls": per model and
        corruption (and "all") how much more accuracy it loses than the reference, against clean
        images, averaged over the strengths that are not blind, with a 95 % t interval over images;
        "verdict" at 0.05, with Holm's correction over the corruptions ("all" stands alone).
    """
    models = [reference, *converted]
    right: dict[Condition, list[Right]] = {
        key: [each.argmax(axis=1) == labels for each in found]
        for key, found in answers(models, images, names, seed, advance)
    }
    majority = int(np.bincount(labels).max())
    blind = {key for key, found in right.items() if found[0].sum() <= majority and key != CLEAN}
    return {
        "n": len(labels),
        "corruptions": list(names),
        "models": [model.name for model in models],
        "conditions": [
            {"corruption": name, "strength": strength}
            | {"models": _condition([m.name for m in models], found)}
            for (name, strength), found in right.items()
        ],
        "blind": [{"corruption": name, "strength": strength} for name, strength in sorted(blind)],
        "falls": [
            row
            for index, model in enumerate(converted, 1)
            for row in _falls(model.name, index, names, right, blind)
        ],
    }


def conditions(names: Sequence[str]) -> list[Condition]:
    """Clean images first, then each corruption from weak to strong."""
    return [CLEAN, *((name, strength) for name in names for strength in corruptions.STRENGTHS)]


def answers(
    models: Sequence[Predictor],
    images: NDArray[np.uint8],
    names: Sequence[str],
    seed: int,
    advance: Callable[[int], None],
) -> Iterator[tuple[Condition, list[NDArray[np.float32]]]]:
    """Each of :func:`conditions` with the probabilities (N, C) of each model on the same images."""
    for count, (name, strength) in enumerate(conditions(names), 1):
        shown = images if strength == 0 else corruptions.corrupt(images, name, strength, seed)
        yield (name, strength), [model.predict(shown) for model in models]
        advance(count)


def judged(row: dict[str, Any], p: float) -> dict[str, Any]:
    """``row`` of an "extra_fall" with its p-value and the verdict at :data:`ALPHA`."""
    faster = row["extra_fall"].get("value", 0.0) > 0
    verdict = "falls faster" if faster else "falls slower"
    return row | {"p": p, "verdict": verdict if p <= ALPHA else "no difference seen"}


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's correction, in the same order; of none, none."""
    return [float(each) for each in multipletests(p, method="holm")[1]] if p else []


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


def _falls(
    model: str,
    index: int,
    names: Sequence[str],
    right: dict[Condition, list[Right]],
    blind: set[Condition],
) -> list[dict[str, Any]]:
    """How much further one converted model falls than the reference, by corruption and in all."""
    # Per image: wrong answers of the converted beyond the reference's.
    behind = {key: found[0].astype(float) - found[index] for key, found in right.items()}
    rows, p = [], []
    for scope in (*names, "all"):
        inside = [k for k in right if k != CLEAN and scope in ("all", k[0]) and k not in blind]
        row: dict[str, Any] = {"model": model, "corruption": scope, "conditions": len(inside)}
        if not inside:
            none = Measurement.missing("fraction", BLIND)
            rows.append(row | {"extra_fall": none.to_json()})
            p.append(1.0)
            continue
        extra = np.mean([behind[key] for key in inside], axis=0) - behind[CLEAN]
        mean, n = float(extra.mean()), len(extra)
        error = float(stats.sem(extra)) if n > 1 else 1.0
        reach = float(stats.t.ppf(0.975, max(n - 1, 1))) * error
        fall = Measurement(mean, "fraction", n, mean - reach, mean + reach)
        rows.append(row | {"extra_fall": fall.to_json()})
        p.append(float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0))
    corrected = [*holm(p[:-1]), p[-1]]
    return [judged(row, value) for row, value in zip(rows, corrected, strict=True)]
