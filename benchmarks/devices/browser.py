"""LiteRT.js in a headless Chromium: the WebAssembly that a web app would run.

The page is served from 127.0.0.1, measures itself and posts what it found; no driver is needed. Times
are the page's own clock around what an app does for an image: a tensor from pixels, the inference, the
output read back.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.devices import chromium
from benchmarks.devices.interface import (
    Answer,
    DeviceError,
    Measured,
    no_latency,
    no_throughput,
    untold_delegate,
)
from benchmarks.devices.litert_js import PACKAGE, PAGE, packages, version
from benchmarks.devices.page_server import PageServer
from benchmarks.devices.session import Job, Say, Timing
from benchmarks.devices.summary import latency_entry
from benchmarks.footprint import no_memory
from benchmarks.host import host
from benchmarks.latency import Timed
from benchmarks.options import BenchOptions
from edgecell import __version__
from edgecell.runtime import TFLitePredictor, available_cores

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_NAMED = "EDGECELL_BROWSER"
_SILENCE_SECONDS = 180.0
_UNTOLD = "LiteRT.js does not say which operators XNNPACK took"
_SINGLY = "the page is fed one image at a time"
_MEMORY = "a browser does not say what a model needs"
_NOTES = (
    "Measured in the page, one image at a time: pixels to a tensor, the inference, the output read back. The "
    "browser's clock has steps of 5 µs. Load is opening the file, the WebAssembly itself being loaded.",
    "Latency is of this machine's browser and is not a phone's.",
)


class Browser:
    """A Chromium on this machine, $EDGECELL_BROWSER or the first that is found.

    Raises:
        DeviceError: no browser.
    """

    kind = "browser"

    def __init__(self) -> None:
        named = os.environ.get(_NAMED)
        found = next(filter(None, map(shutil.which, [named] if named else PROGRAMS)), None)
        if found is None:
            looked = named or ", ".join(PROGRAMS)
            raise DeviceError(
                f"no Chromium on this machine (looked for {looked}); install one (Debian: apt-get"
                f" install chromium), or name its program in the environment variable {_NAMED}"
            )
        self._program = found

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """See :class:`benchmarks.devices.interface.Device`."""
        if not options.xnnpack:
            raise DeviceError("LiteRT.js has XNNPACK built in; leave --delegate none out")
        say("looking for LiteRT.js", 0.0)
        server = PageServer(_made(jobs, options), {"litertjs": packages() / "@litertjs"})
        facts = host()
        name = chromium.version(self._program)
        with server.running() as address, chromium.showing(self._program, address) as process:
            told = _wait(server, process, say)
        facts |= _facts(told["facts"], name)
        answers = _answers(jobs, options, reference, told["models"])
        short = name.split(".")[0]  # `Chromium 156`
        return Measured(short, facts, answers, notes=_NOTES, warnings=_warnings(told["facts"]))


def _made(jobs: Sequence[Job], options: BenchOptions) -> dict[str, Any]:
    """What the page asks for by name: itself, the jobs, their models and images."""
    made: dict[str, Any] = {name: (PAGE / name).read_bytes for name in ("index.html", "bench.js")}
    images: dict[int, str] = {}
    listed = []
    for i, job in enumerate(jobs):
        predictor = TFLitePredictor(job.path)
        name = images.setdefault(id(job.images), f"images-{len(images)}")
        made[name] = job.images.tobytes
        made[f"model-{i}"] = job.path.read_bytes
        values = predictor.pixel_values()
        listed.append(
            {
                "name": job.name,
                "model": f"model-{i}",
                "images": name,
                "height": predictor.image_size[0],
                "width": predictor.image_size[1],
                "dtype": values.dtype.name,
                "values": values.tolist(),
            }
        )
    pace = options.pace
    text = json.dumps(
        {
            "jobs": listed,
            "options": {
                "threads": _threads(options),
                "loads": options.loads,
                "pace": {
                    **{"runs": pace.runs, "seconds": pace.seconds, "either": pace.either},
                    **{"warmup_runs": pace.warmup_runs, "cooldown": pace.cooldown},
                    "turn_ms": pace.turn_ns / 1e6,
                    "turn_runs": min(pace.turn_runs, 1e9),
                    "settle_ms": pace.settle_ns / 1e6,
                },
            },
        }
    )
    made["jobs.json"] = text.encode
    return made


def _threads(options: BenchOptions) -> list[int]:
    return list(dict.fromkeys(count or available_cores() for count in options.threads))


def _wait(server: PageServer, process: subprocess.Popen[bytes], say: Say) -> dict[str, Any]:
    """What the page found.

    Raises:
        DeviceError: it failed, the browser ended, or nothing was heard for minutes.
    """
    heard = time.monotonic()
    while True:
        try:
            kind, data = server.posted.get(timeout=0.5)
        except queue.Empty:
            if process.poll() is not None:
                raise DeviceError(
                    f"the browser ended with code {process.returncode} before it had measured anything"
                ) from None
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise DeviceError(
                    f"the page gave no sign of life for {_SILENCE_SECONDS:.0f} s; it was given up"
                ) from None
            continue
        heard = time.monotonic()
        if kind == "result":
            return dict(data)
        if kind == "failure":
            first = " ".join(str(data["message"]).split())[:200]
            raise DeviceError(f"the page could not measure: {first}")
        say(str(data["text"]), float(data["share"]))


def _facts(page: dict[str, Any], browser: str) -> dict[str, Any]:
    builds = ", ".join(page["builds"])
    return {
        "system": f"{browser}, {builds}",
        "versions": {"edgecell": __version__, PACKAGE: version()},
        "browser": page["agent"],
        "cross_origin_isolated": page["isolated"],
    }


def _warnings(page: dict[str, Any]) -> tuple[str, ...]:
    found = []
    if not page["isolated"]:
        found.append(
            "the page was not cross-origin isolated: its clock is coarse, and it has no threads"
        )
    if any("compat" in name for name in page["builds"]):
        found.append("this browser has no relaxed SIMD: the slower build of LiteRT.js ran")
    return tuple(found)


def _answers(
    jobs: Sequence[Job],
    options: BenchOptions,
    reference: int | None,
    told: Sequence[dict[str, Any]],
) -> list[Answer]:
    timed = [_timings(model) for model in told]
    answers = []
    for job, model, own in zip(jobs, told, timed, strict=True):
        entries = []
        for threads in _threads(options):
            theirs = None if reference is None else timed[reference].get(threads)
            mine = own.get(threads, "")
            if isinstance(mine, str):
                entries.append(no_latency(mine or _reason(model), threads))
            else:
                usable = theirs.timed if isinstance(theirs, Timing) else None
                entries.append(latency_entry(mine, usable))
        answers.append(
            Answer(
                _raw(job, model),
                entries,
                no_throughput(_SINGLY, _threads(options), options.batches),
                no_memory(_MEMORY),
            )
        )
    return answers


def _reason(model: dict[str, Any]) -> str:
    return f"LiteRT.js cannot run it: {' '.join(str(model['reason']).split())[:200]}"


def _raw(job: Job, model: dict[str, Any]) -> NDArray[Any] | str:
    if "outputs" not in model:
        return _reason(model)
    return np.array(model["outputs"], TFLitePredictor(job.path).output_dtype)


def _timings(model: dict[str, Any]) -> dict[int, Timing | str]:
    """By number of threads; a reason where that could not be timed."""
    found: dict[int, Timing | str] = {}
    for timing in model["timings"]:
        if "reason" in timing:
            found[timing["threads"]] = f"LiteRT.js cannot use threads here: {timing['reason']}"
            continue
        found[timing["threads"]] = Timing(
            timing["threads"],
            untold_delegate(_UNTOLD),
            tuple(_nanoseconds(timing["load"]).tolist()),
            tuple(_nanoseconds(timing["first"]).tolist()),
            Timed(_nanoseconds(timing["samples"]), np.array(timing["turns"], np.int64)),
        )
    return found


def _nanoseconds(milliseconds: Sequence[float]) -> NDArray[np.int64]:
    return np.rint(np.array(milliseconds) * 1e6).astype(np.int64)
