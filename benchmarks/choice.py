"""The model to ship under limits, or the one that misses them by the least."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.joint_draws import JointDraws
from edgecell.config import VerifyConfig
from edgecell.errors import ConfigError
from edgecell.record import Measurement

Cell = dict[str, Any]
"""``name``, ``passed`` (verify), and measurements as JSON: ``size``, ``p50``, ``macro_f1``, ``accuracy``,
of several labels to an image ``auc`` (their mean) and ``accuracy`` (of decisions)."""

_OF_VAL = (
    " are of val: val chooses, test is looked at for the chosen cell only. Being the best of many on the same"
    " images, a chosen cell's val figure is optimistic."
)
_OF_ALL = (
    "p50 of one image at one thread, all cells in turn in one bench on one device; a host is not a phone.",
    "Front: no other cell is at least as good in quality, bytes and p50, and better in one. The share says "
    "how often that holds when images and times are drawn anew within what was measured.",
    "Cells that verify refused are shown, and neither compared nor chosen.",
)
NOTES = (
    f"Accuracy and macro-F1{_OF_VAL}",
    "Brackets are 95 % intervals. Accuracy: Wilson. F1: bootstrap over images, joined with the classes'"
    " own. Times: order statistics.",
    *_OF_ALL,
)
LABEL_NOTES = (
    f"Mean AUC (over the labels) and label accuracy (of the decisions at 0.5){_OF_VAL}",
    "Brackets are 95 % intervals. Mean AUC and label accuracy: bootstrap over images. Times: order statistics.",
    *_OF_ALL,
)
"""The same of several labels to an image."""

Score = Literal["macro_f1", "accuracy", "auc"]
Prefer = Literal["f1", "accuracy", "auc", "bytes", "latency"]
SCORES: dict[Prefer, Score] = {"f1": "macro_f1", "accuracy": "accuracy", "auc": "auc"}
"""The word on the command line → the score."""

_LEAST: dict[str, Score] = {f"min_{word}": score for word, score in SCORES.items()}
# limit → the figure it bounds, and whether more of it is better
_BOUNDS: dict[str, tuple[str, bool]] = {
    "max_bytes": ("size", False),
    "max_latency_ms": ("p50", False),
    **{name: (score, True) for name, score in _LEAST.items()},
}


@dataclass(frozen=True)
class Limits:
    """What a model must keep; None bounds nothing. Scores are fractions below 1.

    ``sure`` holds the worse end of each 95 % interval against the limit, not the value.

    Raises:
        ConfigError: a limit that nothing or everything would meet.
    """

    max_bytes: int | None = None
    max_latency_ms: float | None = None
    min_f1: float | None = None
    min_accuracy: float | None = None
    min_auc: float | None = None
    sure: bool = False

    def __post_init__(self) -> None:
        for name in _BOUNDS:
            limit, low, high = getattr(self, name), 0.0, 1.0 if name.startswith("min") else None
            if limit is None:
                continue
            if not math.isfinite(limit) or limit <= low or (high is not None and limit >= high):
                allowed = "more than 0" + ("" if high is None else " and less than 1")
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} is {limit}; allowed: {allowed}")

    def __bool__(self) -> bool:
        return any(limit is not None for limit in self.given().values())

    def given(self) -> dict[str, float]:
        """Those that bound something."""
        found = {name: getattr(self, name) for name in _BOUNDS}
        return {name: limit for name, limit in found.items() if limit is not None}

    def scores(self) -> dict[str, Score]:
        """Those that bound a score, and which."""
        return {name: _LEAST[name] for name in self.given() if name in _LEAST}

    def to_json(self) -> dict[str, Any]:
        """All fields; ``min_auc`` only where it is given, so that records of one label stay as they were."""
        return {k: v for k, v in asdict(self).items() if k != "min_auc" or v is not None}


def choose(
    cells: Sequence[Cell],
    limits: Limits,
    prefer: Prefer = "f1",
    score: Score = "macro_f1",
    draws: JointDraws | None = None,
    margin: float = VerifyConfig.margin,
) -> dict[str, Any]:
    """The cell to ship: of those that passed verify and keep all limits, the one to ``prefer``.

    Where none keeps them, the nearest miss: the smallest *distance*, which is the largest excess over
    a limit. The excess is the share by which the limit would have to be loosened: ``value / limit − 1``
    for bytes and ms, and for a score the same of what is missing to 1, ``(1 − score) / (1 − limit) − 1``.
    So a distance of 0.2 means that all limits, loosened by a fifth, would be kept. Ties go to the
    smaller sum of excesses, then to what is preferred, then to the first. ``score`` is the one that
    decides between cells of equal bytes or time.

    Returns JSON: ``met``, ``cell`` (a name, or None with a ``reason``), ``distance``, one entry of
    ``limits`` for each limit, ``eligible`` and ``meeting`` (counts), and ``smaller_alike``, the smallest
    cell that keeps the limits and loses at most ``margin`` of ``score`` with 95 % confidence: the upper end of
    the chosen one's lead, ``smaller_drop``, is no more, on the same ``draws`` of images. Where none is named
    ``smaller_drop`` has the reason.
    """
    found: dict[str, Any] = {
        "prefer": prefer,
        "sure": limits.sure,
        "eligible": 0,
        "meeting": 0,
        "met": False,
        "cell": None,
        "margin": margin,
    }
    keys = _keys(prefer, score)
    order = _order(keys)
    needed = [_BOUNDS[name][0] for name in limits.given()] + list(keys)
    known = [c for c in cells if c["passed"] and all("value" in c[key] for key in needed)]
    if not known:
        reason = _nothing(cells)
        return found | {"reason": reason, "limits": [], **_no_smaller(reason)}
    meeting = sorted((cell for cell in known if _keeps_all(cell, limits)), key=order)
    nearest = sorted(known, key=lambda cell: (*_distance(cell, limits), *order(cell)))
    chosen = (meeting or nearest)[0]
    return found | {
        "eligible": len(known),
        "meeting": len(meeting),
        "met": bool(meeting),
        "cell": chosen["name"],
        "distance": _distance(chosen, limits)[0],
        **_smaller_alike(chosen, meeting, score, draws, margin),
        "limits": [_kept(chosen, name, limits) for name in limits.given()],
    }


def excess(value: float, limit: float, *, score: bool) -> float:
    """The share by which ``limit`` would have to be loosened for ``value``; 0 where it is kept."""
    if score:
        return max(0.0, (1 - value) / (1 - limit) - 1) if value < limit else 0.0
    return max(0.0, value / limit - 1)


def _keeps_all(cell: Cell, limits: Limits) -> bool:
    return all(_kept(cell, name, limits)["kept"] for name in limits.given())


def _distance(cell: Cell, limits: Limits) -> tuple[float, float]:
    """The largest excess over a limit, and their sum."""
    found = [
        excess(_held(cell, name, limits.sure), limit, score=_BOUNDS[name][1])
        for name, limit in limits.given().items()
    ]
    return max(found, default=0.0), sum(found)


def _held(cell: Cell, limit: str, sure: bool) -> float:
    """What is held against a limit: the value, or the worse end of its interval."""
    key, score = _BOUNDS[limit]
    measured = cell[key]
    end = "low" if score else "high"
    return float(measured[end] if sure and end in measured else measured["value"])


def _kept(cell: Cell, name: str, limits: Limits) -> dict[str, Any]:
    key, score = _BOUNDS[name]
    limit, held = limits.given()[name], _held(cell, name, limits.sure)
    return {
        "limit": name,
        "allowed": limit,
        "figure": cell[key],
        "held": held,
        "kept": held >= limit if score else held <= limit,
        "missed_by": max(0.0, limit - held if score else held - limit),
        "excess": excess(held, limit, score=score),
    }


def _keys(prefer: Prefer, score: Score) -> tuple[str, ...]:
    """What cells are ordered by: what is preferred, then the rest."""
    if prefer == "bytes":
        return ("size", score, "p50")
    if prefer == "latency":
        return ("p50", score, "size")
    return (SCORES[prefer], "size", "p50")


def _order(keys: Sequence[str]) -> Callable[[Cell], tuple[float, ...]]:
    up = SCORES.values()

    def key(cell: Cell) -> tuple[float, ...]:
        return tuple(-cell[name]["value"] if name in up else cell[name]["value"] for name in keys)

    return key


def _smaller_alike(
    chosen: Cell, meeting: Sequence[Cell], score: Score, draws: JointDraws | None, margin: float
) -> dict[str, Any]:
    """The smallest cell that is not worse by more than ``margin``, and by how much it is."""
    smaller = [cell for cell in meeting if cell["size"]["value"] < chosen["size"]["value"]]
    if not smaller:
        return _no_smaller("no smaller cell keeps the limits")
    names = [cell["name"] for cell in smaller]
    if draws is None or not {chosen["name"], *names} <= set(draws.models):
        return _no_smaller("not tested: there are no joint draws of the images")
    drops = [chosen[score]["value"] - cell[score]["value"] for cell in smaller]
    intervals = draws.drop_intervals(score, chosen["name"], names, drops)
    tested = zip(smaller, drops, intervals, strict=True)
    alike = [found for found in tested if found[2].high <= margin]
    if not alike:
        return _no_smaller(
            f"none of the smaller cells that keep the limits ({len(smaller)}) surely loses at most {margin:g}"
        )
    cell, drop, interval = min(alike, key=lambda found: found[0]["size"]["value"])
    lost = Measurement(drop, "fraction", draws.images, interval.low, interval.high)
    return {"smaller_alike": cell["name"], "smaller_drop": lost.to_json()}


def _no_smaller(reason: str) -> dict[str, Any]:
    missing = Measurement.missing("fraction", reason)
    return {"smaller_alike": None, "smaller_drop": missing.to_json()}


def _nothing(cells: Sequence[Cell]) -> str:
    if not cells:
        return "no cell is finished"
    refused = sum(cell["passed"] is False for cell in cells)
    if refused == len(cells):
        return f"verify refused all {len(cells)} cells"
    return f"of {len(cells)} cells verify refused {refused}, the others lack a figure"
