"""From a session's samples to the figures of bench.json."""

from __future__ import annotations

from typing import Any

from benchmarks import spread
from benchmarks.devices.interface import Answer, Measured, no_latency
from benchmarks.devices.session import BatchTiming, Session, Timing
from benchmarks.latency import Timed
from edgecell.record import Measurement

_NOTES = (
    "Single stream, one image at a time: pixels into the input plus invoke; decoding and resizing are not "
    "in it. Load includes edgecell's check of the file.",
    "Delegate: how many of the working operators it really took, read from the interpreter.",
    "Peak memory: a fresh process that ran the model ten times, minus the same process without a model.",
)


def summarize(
    session: Session, reference: int | None, *, untimed: str = "", notes: tuple[str, ...] = ()
) -> Measured:
    """The answers of a session; ratios are to the model number ``reference``.

    ``untimed`` is the reason for a session without timings.
    """
    answers = []
    for model in session.models:
        entries = [
            latency_entry(timing, None if reference is None else _twin(session, reference, timing))
            for timing in model.timings
        ]
        answers.append(
            Answer(
                model.raw,
                entries or [no_latency(untimed)],
                [_throughput(timing) for timing in model.batches],
                model.memory,
            )
        )
    facts = session.facts
    return Measured(
        facts["board"] or facts["cpu"], facts, answers, session.background, (*notes, *_NOTES)
    )


def _twin(session: Session, reference: int, timing: Timing) -> Timed:
    """The reference's times with as many threads."""
    theirs = session.models[reference].timings
    return next(each.timed for each in theirs if each.threads == timing.threads)


def latency_entry(timing: Timing, reference: Timed | None) -> dict[str, Any]:
    """One entry of a model's "latency" in bench.json."""
    return {
        "threads": timing.threads,
        "delegate": timing.delegate,
        **spread.summarize(timing.timed),
        **spread.summarize_opening(timing.load_ns, timing.first_ns),
        "ratio": (
            Measurement.missing("1", "no float32 model in this bench")
            if reference is None
            else spread.paired_ratio(timing.timed, reference)
        ).to_json(),
    }


def _throughput(timing: BatchTiming) -> dict[str, Any]:
    rate = (
        Measurement.missing("images/s", timing.times).to_json()
        if isinstance(timing.times, str)
        else spread.rate(timing.batch, timing.times)
    )
    return {"threads": timing.threads, "batch": timing.batch, "rate": rate}
