"""What LiteRT's own benchmark_model prints, read: times, memory, delegate.

The tool has no format for programs; its lines have kept their words since 2019, with more figures in
later versions, and INFO in front of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from benchmarks.devices.interface import no_latency, untold_delegate
from benchmarks.spread import milliseconds
from edgecell.delegation import BUILT_IN, XNNPACK
from edgecell.record import Measurement

_NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
_STATISTICS = re.compile(rf"\bcount=(?P<count>\d+)(?P<rest>(?: \w+={_NUMBER})+)")
_PAIR = re.compile(rf"(\w+)=({_NUMBER})")
_TIMINGS = re.compile(rf"Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER})")
_MEMORY = re.compile(rf"[Mm]emory footprint[^:]*\(MB\)[^:]*: init=({_NUMBER}) overall=({_NUMBER})")
_REPLACED = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
)
_APPLIED = re.compile(
    r"Explicitly applied (\w+) delegate, and the model graph will be (completely|partially) executed"
    r" by the delegate(?: w/ (\d+) delegate kernels)?"
)
_NOT_APPLIED = re.compile(
    r"Though (\w+) delegate is explicitly applied, the model graph will not be executed"
)
_UNTOLD = "this benchmark_model does not tell p90 and p99 (newer ones tell p5, median and p95)"
_MEDIAN = "this benchmark_model is older than its median"
_SINGLY = "benchmark_model runs one file after the other: there are no rounds to compare"
_MEBIBYTE = 1 << 20  # what the tool calls MB


class NoFigures(ValueError):
    """Output without times in it; the text says what the tool complained of."""


@dataclass(frozen=True)
class Told:
    """One run of the tool. Microseconds; ``statistics`` has avg, and what else the version prints."""

    count: int
    statistics: dict[str, float]
    init: float
    first: float
    memory_bytes: float | None
    delegate: dict[str, Any]


def read(output: str, *, xnnpack: bool) -> Told:
    """The figures in the tool's output; ``xnnpack`` is what it was asked for.

    Raises:
        NoFigures: it failed, or printed nothing that is known.
    """
    timings = _TIMINGS.search(output)
    # The first such line is the warm-up's.
    runs = [line for line in _STATISTICS.finditer(output) if not _is_profile(output, line.start())]
    if timings is None or len(runs) < 2 or "Benchmarking failed" in output:
        raise NoFigures(_complaint(output))
    values = {name: float(value) for name, value in _PAIR.findall(runs[1]["rest"])}
    memory = _MEMORY.search(output)
    return Told(
        int(runs[1]["count"]),
        # A single run has only a current value.
        values if "avg" in values else values | {"avg": values["curr"]},
        float(timings[1]),
        float(timings[2]),
        float(memory[2]) * _MEBIBYTE if memory else None,
        _delegate(output, xnnpack),
    )


def latency_entry(told: Told, threads: int) -> dict[str, Any]:
    """An entry of a model's "latency" in bench.json; reasons where the tool tells nothing."""
    n = told.count
    entry = no_latency(_UNTOLD, threads)
    entry |= {
        "n": n,
        "rounds": 1,
        "delegate": told.delegate,
        "mean": _milliseconds(told.statistics["avg"], n),
        "load": _milliseconds(told.init, 1),
        "first": _milliseconds(told.first, 1),
        "p50": Measurement.missing("ms", _MEDIAN).to_json(),
        "drift": Measurement.missing("fraction", "benchmark_model keeps no series").to_json(),
        "ratio": Measurement.missing("1", _SINGLY).to_json(),
    }
    for name, key in (("median", "p50"), ("p95", "p95")):
        if name in told.statistics:
            entry[key] = _milliseconds(told.statistics[name], n)
    return entry


def memory_entry(told: Told) -> dict[str, Any]:
    """The "memory" of bench.json: how much the tool grew, by its own account."""
    figures = "benchmark_model tells how much it grew, and nothing else"
    entry = {
        key: Measurement.missing("bytes", figures).to_json() for key in ("baseline", "one", "ten")
    }
    grown = (
        Measurement.missing("bytes", "this benchmark_model tells no memory")
        if told.memory_bytes is None
        else Measurement(told.memory_bytes, "bytes", n=1)
    )
    return entry | {"over_baseline": grown.to_json()}


def _milliseconds(microseconds: float, n: int) -> dict[str, Any]:
    return milliseconds(microseconds * 1e3, n)


def _is_profile(output: str, at: int) -> bool:
    """Operator profiles end in lines of the same shape: "Timings (microseconds): count=…"."""
    line = output[output.rfind("\n", 0, at) + 1 : at]
    return "microseconds" in line or "Memory (bytes)" in line


def _delegate(output: str, xnnpack: bool) -> dict[str, Any]:
    """Who ran the operators, as far as the tool says; never what was asked for."""
    asked = XNNPACK if xnnpack else None
    if replaced := _REPLACED.search(output):
        taken, operators, partitions = int(replaced[1]), int(replaced[2]), int(replaced[4])
        name = XNNPACK if "XNNPack" in replaced[3] else replaced[3]
        part = f"{name} {taken} of {operators}" if taken else BUILT_IN
        return {
            "label": name if taken == operators else part,
            "asked": asked,
            "operators": operators,
            "taken": taken,
            "partitions": partitions,
        }
    if applied := _APPLIED.search(output):
        name, extent = applied[1], applied[2]
        if extent == "completely":
            return untold_delegate("all operators, by benchmark_model's account", name)
        return untold_delegate(
            "benchmark_model does not say how many operators it took", f"part {name}"
        )
    if refused := _NOT_APPLIED.search(output):
        return untold_delegate(
            f"{refused[1]} took no operator, by benchmark_model's account", BUILT_IN
        )
    if not xnnpack:
        return untold_delegate("no delegate was asked for and none is mentioned", BUILT_IN)
    return untold_delegate("benchmark_model does not say what ran the operators")


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR|Failed|.*failed", line)]
    if errors:
        return errors[0][:200]
    return (
        f"no times that are known here in its output, which ends in '{(lines or [''])[-1][:120]}'"
    )
