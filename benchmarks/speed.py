"""How much faster or slower is one model than another that was timed in another bench?

Times of two benches do not compare: the machine was another, or in another mood. Ratios to a model
that was timed in both do. Where there is none, times of two quiet runs on the same kind of machine stand in;
else there is no answer, and the reason is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.sources import Source
from edgecell.record import Measurement

Model = Mapping[str, Any]
_SAME_MACHINE = ("device", "cpu", "cores", "system", "governor")


@dataclass(frozen=True)
class Change:
    """``ratio``: time of the one over time of the other. ``how``: what it rests on, in words."""

    ratio: Measurement
    how: str


def change(model: Model, here: Source, other: Model, there: Source) -> Change:
    """The time of ``model`` of the bench ``here`` over that of ``other`` of the bench ``there``.

    At the smallest number of threads that both were timed with. The interval is that of the worst case:
    both ratios at their ends.
    """
    if not model.get("latency") or not other.get("latency"):
        return _none("one of the two was not timed")
    threads = _common_threads(model, other)
    if threads is None:
        return _none("they were not timed with the same number of threads")
    note = _delegates(_timing(model, threads), _timing(other, threads))
    if here is there:
        found = _quotient(_timing(model, threads), _timing(other, threads))
        return Change(found, f"timed in turn in one run{note}")
    shared = _shared(model, here, other, there, threads)
    if shared is not None:
        mine, theirs, said = shared
        ratio = _over(
            _quotient(_timing(model, threads), _timing(mine, threads)),
            _quotient(_timing(other, threads), _timing(theirs, threads)),
        )
        if "value" in ratio.to_json():
            return Change(ratio, said + _machines(here, there) + note)
    if differences(here, there):
        return _none(
            "no third model is in both benches, and the machines differ"
            f" ({', '.join(differences(here, there))}); bench a float32 file beside it in both"
        )
    if not (here.quiet and there.quiet):
        return _none(
            "no third model is in both benches, and other programs ran during the timing;"
            " bench a float32 file beside it in both"
        )
    ratio = _over(
        Measurement.from_json(_timing(model, threads)["p50"]),
        Measurement.from_json(_timing(other, threads)["p50"]),
    )
    return Change(ratio, f"p50 of two quiet runs on the same kind of machine{note}")


def differences(here: Source, there: Source) -> list[str]:
    """In which facts the two machines differ: ``cpu A, before B``."""
    mine, theirs = here.host or {}, there.host or {}
    found = [
        f"{key} {mine.get(key)}, before {theirs.get(key)}"
        for key in _SAME_MACHINE
        if mine.get(key) != theirs.get(key)
    ]
    versions = [(host.get("versions") or {}).get("ai-edge-litert") for host in (mine, theirs)]
    if versions[0] != versions[1]:
        found.append(f"ai-edge-litert {versions[0]}, before {versions[1]}")
    return found


def _shared(
    model: Model, here: Source, other: Model, there: Source, threads: int
) -> tuple[Model, Model, str] | None:
    """A model that both benches timed: in ``here``, in ``there``, and in words.

    Best is one of the two models itself, then a third that is float32 (the others are judged by it, not it
    by them). Files whose operators and sizes are the same take the same time, whatever their weights.
    """
    if model["sha256"] != other["sha256"]:
        for mine in _timed(here, threads):
            if mine["sha256"] == other["sha256"]:
                return mine, other, f"{other['name']} was timed again in the same run"
        for theirs in _timed(there, threads):
            if theirs["sha256"] == model["sha256"]:
                return model, theirs, f"{model['name']} was timed in the earlier run too"
    pairs = [
        (mine, theirs)
        for mine in _timed(here, threads)
        for theirs in _timed(there, threads)
        if mine["precision"] == "float32" and not (mine is model and theirs is other)
    ]
    for mine, theirs in pairs:
        if mine["sha256"] == theirs["sha256"]:
            return mine, theirs, f"by {mine['name']}, timed in both runs"
    for mine, theirs in pairs:
        if _graph(mine) == _graph(theirs):
            said = f"by {mine['name']} and {theirs['name']}, the same operators with other weights"
            return mine, theirs, said
    return None


def _graph(model: Model) -> tuple[Any, ...]:
    operators = model["operators"]
    return (
        model["precision"],
        tuple(model["image_size"]),
        operators["macs"].get("value"),
        tuple(sorted(operators["counts"].items())),
    )


def _quotient(mine: Model, theirs: Model) -> Measurement:
    """Of two timings of one run: of their ratios to its float32 model, else of their p50."""
    if mine is theirs:
        return Measurement(1.0, "1", low=1.0, high=1.0)
    by_rounds = [Measurement.from_json(timing["ratio"]) for timing in (mine, theirs)]
    if all(each.value is not None for each in by_rounds):
        return _over(*by_rounds)
    return _over(*(Measurement.from_json(timing["p50"]) for timing in (mine, theirs)))


def _over(top: Measurement, bottom: Measurement) -> Measurement:
    """``top`` over ``bottom``, at worst and at best."""
    if not top.value or not bottom.value:
        return Measurement.missing("1", top.reason or bottom.reason or "a time of 0")
    ends = None
    if None not in (top.low, top.high, bottom.low, bottom.high) and bottom.low:
        ends = (top.low / bottom.high, top.high / bottom.low)  # type: ignore[operator]
    low, high = ends or (None, None)
    counts = [each.n for each in (top, bottom) if each.n is not None]
    return Measurement(
        top.value / bottom.value, "1", n=min(counts) if counts else None, low=low, high=high
    )


def _common_threads(model: Model, other: Model) -> int | None:
    mine, theirs = ({timing["threads"] for timing in each["latency"]} for each in (model, other))
    return min(mine & theirs, default=None)


def _timing(model: Model, threads: int) -> dict[str, Any]:
    return next(timing for timing in model["latency"] if timing["threads"] == threads)


def _timed(source: Source, threads: int) -> list[dict[str, Any]]:
    return [
        model
        for model in source.models
        for timing in model["latency"]
        if timing["threads"] == threads and "value" in timing["p50"]
    ]


def _machines(here: Source, there: Source) -> str:
    found = differences(here, there)
    return f"; the machines differ: {'; '.join(found)}" if found else ""


def _delegates(mine: Model, theirs: Model) -> str:
    labels = [timing["delegate"]["label"] for timing in (mine, theirs)]
    return "" if labels[0] == labels[1] else f"; ran on {labels[0]}, the other on {labels[1]}"


def _none(reason: str) -> Change:
    return Change(Measurement.missing("1", reason), "")
