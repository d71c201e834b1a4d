"""Peers and edgecell's files on the same images, with the same threads, timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import latency, spread
from benchmarks.host import Others, background_warnings, host
from benchmarks.peers.interface import Absent, Candidate, version
from benchmarks.precision import precision_of
from edgecell.errors import ConfigError
from edgecell.evaluate import evaluate
from edgecell.metrics import decide, wilson_interval
from edgecell.record import Measurement
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import task_of_record

SCHEMA = "edgecell/peers-result"
SCHEMA_VERSION = 1
CLOSE = 1e-3
"""Largest difference of a probability between the trained model and a float32 peer of it."""

_TIMED_IMAGES = 64
_LOADS = 1
NOTES = (
    "One process, one number of threads for all, one image at a time: pixels into the input, the inference, "
    "the answer left in the runtime. All take raw bytes; decoding and resizing are not in it.",
    "The candidates take turns of 50 ms; × ours is the median over the rounds of the ratio of the two medians "
    "in it, with its order-statistics interval.",
    "int8 of every runtime was calibrated on the same training images as ours, each by its runtime's own "
    "method. A float32 peer whose probabilities differ from the trained model's is left out.",
    "Brackets are 95 % intervals. Latency is of this host and is not phone latency.",
)

Say = Callable[[str, float], None]


def ours(paths: Sequence[Path], threads: int) -> list[Candidate]:
    """edgecell's .tflite files as candidates.

    Raises:
        ConfigError: no file. ArtifactError: not a classifier's .tflite.
    """
    if not paths:
        raise ConfigError("no .tflite file of ours to compare with; run 'edgecell quantize' first")
    found = []
    for path in paths:
        predictor = TFLitePredictor.open(path, threads=threads)
        precision = precision_of(predictor.file, path.name)
        opener = partial(TFLitePredictor.open, path, threads=threads)
        label = predictor.delegation().to_json()["label"]
        runtime = f"LiteRT {version('ai-edge-litert')}"
        found.append(Candidate(path.stem, runtime, precision, opener, (path,), label, ours=True))
    return found


def measure(
    candidates: Sequence[Candidate],
    absent: Sequence[Absent],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    reference: NDArray[np.float32],
    pace: latency.Pace,
    threads: int,
    say: Say,
    *,
    ordinal: bool = False,
) -> dict[str, Any]:
    """Accuracy, bytes and times of all candidates as JSON.

    ``images`` uint8 (N, H, W, 3), ``reference`` (N, C) the trained model's probabilities on them,
    ``ordinal``: the classes are grades of one scale. A candidate that cannot be opened, or computes
    another network, joins ``absent`` with the reason.

    Raises:
        ConfigError: none of ours can be opened.
    """
    machine = host()
    left_out = list(absent)
    opened, entries = [], []
    for i, candidate in enumerate(candidates):
        say(f"quality of {candidate.name}", 0.4 * i / len(candidates))
        ready = latency.open_timed(candidate.opener, images[0], loads=_LOADS)
        probabilities = ready.predictor.predict(images)
        largest = float(np.abs(probabilities - reference).max())
        if candidate.faithful and largest > CLOSE:
            reason = (
                f"not the same network: its probabilities differ by up to {largest:.2g} from the"
                f" trained model's (at most {CLOSE:g})"
            )
            left_out.append(Absent(candidate.name, reason))
            continue
        opened.append(ready)
        entries.append(_entry(candidate, probabilities, reference, labels, class_names, ordinal))
    others = Others()
    timed = latency.time_interleaved(
        [each.predictor for each in opened],
        [images[:_TIMED_IMAGES]] * len(opened),
        pace,
        progress=lambda share: say("latency", 0.4 + 0.6 * share),
    )
    background = [{"threads": threads, "others": others.share().to_json()}]
    anchors = _anchors(entries)
    for entry, ready, times in zip(entries, opened, timed, strict=True):
        entry["latency"] = spread.summarize(times) | spread.summarize_opening(
            ready.load_ns, ready.first_ns
        )
        entry["ratios"] = {
            name: spread.paired_ratio(times, timed[i]).to_json() for name, i in anchors.items()
        }
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "images": len(labels),
        "class_names": list(class_names),
        "threads": threads,
        "host": machine,
        "background": background,
        "pace": asdict(pace),
        "models": entries,
        "absent": [asdict(each) for each in left_out],
        "warnings": background_warnings(background),
        "notes": list(NOTES),
    }


def _entry(
    candidate: Candidate,
    probabilities: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    ordinal: bool,
) -> dict[str, Any]:
    quality = evaluate(probabilities, labels, class_names, ordinal=ordinal)
    if task_of_record(quality).multi_label:
        same = (decide(probabilities) == decide(reference)).all(axis=1)
    else:
        same = probabilities.argmax(axis=1) == reference.argmax(axis=1)
    low, high = wilson_interval(int(same.sum()), len(same)) or (None, None)
    return {
        "name": candidate.name,
        "runtime": candidate.runtime,
        "precision": candidate.precision,
        "detail": candidate.detail,
        "ours": candidate.ours,
        "quality": quality,
        "agreement": Measurement(
            float(same.mean()), "fraction", n=len(same), low=low, high=high
        ).to_json(),
        "size": Measurement(candidate.size_bytes, "bytes").to_json(),
    }


def _anchors(entries: Sequence[dict[str, Any]]) -> dict[str, int]:
    """What ratios are to: our first float32 and our first int8 file, by name; at least one of ours."""
    mine = [(i, entry) for i, entry in enumerate(entries) if entry["ours"]]
    if not mine:
        raise ConfigError("none of our files was measured, so there is nothing to compare with")
    found = {}
    for precision in ("float32", "int8"):
        for i, entry in mine:
            if entry["precision"] == precision:
                found[entry["name"]] = i
                break
    return found or {mine[0][1]["name"]: mine[0][0]}
