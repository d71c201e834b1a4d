"""The machine that edgecell itself runs on."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.devices.interface import Measured
from benchmarks.devices.session import Job, Say, sample
from benchmarks.devices.summary import summarize
from benchmarks.options import BenchOptions

_NOTES = (
    "Latency is of this host and is not phone latency: phones differ in cores, caches, heat and delegates.",
)


class Host:
    """LiteRT's interpreter in this process."""

    kind = "host"

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """See :class:`benchmarks.devices.interface.Device`."""
        return summarize(sample(jobs, options, say), reference, notes=_NOTES)
