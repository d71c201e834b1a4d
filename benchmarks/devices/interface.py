"""What the bench knows of a device: model files and images go in, outputs and times come back.

Whatever a device cannot give is a reason in the place of the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from benchmarks.devices.session import Job, Say
from benchmarks.footprint import no_memory
from benchmarks.options import BenchOptions
from edgecell.errors import ConfigError
from edgecell.record import Measurement

TIMES = ("p50", "p90", "p99", "mean", "load", "first")


class DeviceError(ConfigError):
    """A device that is not there, does not let us in, or lacks a tool."""


@dataclass(frozen=True)
class Answer:
    """What a device says of one model.

    ``raw`` (N, C) holds the output tensor's own values for the job's images, or is the reason why
    there are none. ``latency``, ``throughput`` and ``memory`` are as in bench.json; ``latency`` has at
    least one entry.
    """

    raw: NDArray[Any] | str
    latency: list[dict[str, Any]]
    throughput: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=lambda: no_memory("not measured on this device"))


@dataclass(frozen=True)
class Measured:
    """The answers to all jobs, in their order, and the machine they come from.

    ``name`` is what a reader calls the machine: a processor, a board, a browser; no address.
    ``facts`` has the keys of `benchmarks.host.host`; ``notes`` say how the device measures.
    """

    name: str
    facts: dict[str, Any]
    answers: list[Answer]
    background: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def warned(self, warnings: Sequence[str]) -> Measured:
        """The same with more warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))


class Device(Protocol):
    """Somewhere to run a .tflite file. ``kind`` is its name in the registry."""

    kind: str

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """Run all jobs; latency ratios are to the job number ``reference``.

        Raises:
            DeviceError: nothing can be measured there. ArtifactError, DataError: a file or images that
            cannot be run anywhere.
        """
        ...


def no_latency(reason: str, threads: int = 1) -> dict[str, Any]:
    """A latency entry of bench.json without any time."""
    missing = Measurement.missing("ms", reason).to_json()
    return {
        "threads": threads,
        "n": 0,
        "rounds": 0,
        "delegate": untold_delegate(reason),
        **{key: missing for key in TIMES},
        "drift": Measurement.missing("fraction", reason).to_json(),
        "ratio": Measurement.missing("1", reason).to_json(),
    }


def untold_delegate(reason: str, label: str = "not told") -> dict[str, Any]:
    """A delegate entry of bench.json where the device does not say what ran the operators."""
    return {"label": label, "reason": reason}


def no_throughput(
    reason: str, threads: Sequence[int], batches: Sequence[int]
) -> list[dict[str, Any]]:
    """The throughput entries of bench.json without any rate."""
    rate = Measurement.missing("images/s", reason).to_json()
    return [
        {"threads": count, "batch": batch, "rate": rate} for count in threads for batch in batches
    ]
