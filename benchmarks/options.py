"""How long and what to measure, wherever it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.latency import Pace


@dataclass(frozen=True)
class BenchOptions:
    """How long and what to measure. `pace` is per model and thread count, of which 0 means all cores
    of the device; `batches` (at least 2) are measured a twentieth as long. Without `xnnpack` the
    built-in kernels run. Empty `threads`: no latency, outputs only. Ratios are to the model at the
    position `reference`, None for the first float32 one."""

    pace: Pace = field(default_factory=Pace)
    threads: tuple[int, ...] = (1, 0)
    batches: tuple[int, ...] = (8, 32)
    xnnpack: bool = True
    loads: int = 3
    memory: bool = True
    resamples: int = 1000
    seed: int = 0
    reference: int | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self) | {"threads": list(self.threads), "batches": list(self.batches)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BenchOptions:
        """The inverse of :meth:`to_json`; KeyError or TypeError where it is not."""
        rest = {
            key: value for key, value in data.items() if key not in ("pace", "threads", "batches")
        }
        return cls(Pace(**data["pace"]), tuple(data["threads"]), tuple(data["batches"]), **rest)
