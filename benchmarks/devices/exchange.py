"""Jobs to another machine and its session back, as a folder of plain files on either side.

`jobs.json` names the models and images; `results.json` the facts, the memory and what was not measured;
arrays are .npy files, read without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.devices.session import BatchTiming, Job, Samples, Session, Timing
from benchmarks.latency import Timed
from benchmarks.options import BenchOptions

_JOBS, _RESULTS = "jobs.json", "results.json"


def write_jobs(folder: Path, jobs: Sequence[Job], options: BenchOptions) -> None:
    """Put models, images and options into ``folder``; images that jobs share are written once."""
    arrays: dict[int, str] = {}
    listed = []
    for i, job in enumerate(jobs):
        if id(job.images) not in arrays:
            arrays[id(job.images)] = f"images-{len(arrays)}.npy"
            np.save(folder / arrays[id(job.images)], job.images)
        model = f"{i}/{job.path.name}"  # its own name, for messages
        (folder / model).parent.mkdir()
        (folder / model).write_bytes(job.path.read_bytes())
        listed.append({"name": job.name, "model": model, "images": arrays[id(job.images)]})
    text = json.dumps({"jobs": listed, "options": options.to_json()})
    (folder / _JOBS).write_text(text, encoding="utf-8")


def read_jobs(folder: Path) -> tuple[list[Job], BenchOptions]:
    """What :func:`write_jobs` wrote; images stay on disk until they are used."""
    data = json.loads((folder / _JOBS).read_text(encoding="utf-8"))
    images = {
        name: np.load(folder / name, mmap_mode="r")
        for name in {entry["images"] for entry in data["jobs"]}
    }
    jobs = [
        Job(entry["name"], folder / entry["model"], images[entry["images"]])
        for entry in data["jobs"]
    ]
    return jobs, BenchOptions.from_json(data["options"])


def write_session(folder: Path, session: Session) -> None:
    """Put what was measured into ``folder``, which is made."""
    folder.mkdir()
    models = []
    for i, model in enumerate(session.models):
        _save(folder, f"raw-{i}", model.raw)
        timings = []
        for k, timing in enumerate(model.timings):
            _save(folder, f"ns-{i}-{k}", timing.timed.ns)
            _save(folder, f"turns-{i}-{k}", timing.timed.turns)
            timings.append(
                {
                    "threads": timing.threads,
                    "delegate": timing.delegate,
                    "load_ns": list(timing.load_ns),
                    "first_ns": list(timing.first_ns),
                }
            )
        batches = []
        for k, several in enumerate(model.batches):
            entry: dict[str, Any] = {"threads": several.threads, "batch": several.batch}
            if isinstance(several.times, str):
                entry["reason"] = several.times
            else:
                _save(folder, f"batch-{i}-{k}", several.times)
            batches.append(entry)
        models.append(
            {
                "delegate": model.delegate,
                "memory": model.memory,
                "timings": timings,
                "batches": batches,
            }
        )
    data = {"facts": session.facts, "background": session.background, "models": models}
    (folder / _RESULTS).write_text(json.dumps(data, allow_nan=False), encoding="utf-8")


def read_session(folder: Path) -> Session:
    """What :func:`write_session` wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: damaged or incomplete.
    """
    data = json.loads((folder / _RESULTS).read_text(encoding="utf-8"))
    models = []
    for i, entry in enumerate(data["models"]):
        timings = [
            Timing(
                timing["threads"],
                timing["delegate"],
                tuple(timing["load_ns"]),
                tuple(timing["first_ns"]),
                Timed(_load(folder, f"ns-{i}-{k}"), _load(folder, f"turns-{i}-{k}")),
            )
            for k, timing in enumerate(entry["timings"])
        ]
        batches = [
            BatchTiming(
                several["threads"],
                several["batch"],
                several["reason"] if "reason" in several else _load(folder, f"batch-{i}-{k}"),
            )
            for k, several in enumerate(entry["batches"])
        ]
        raw = _load(folder, f"raw-{i}")
        models.append(Samples(raw, entry["delegate"], entry["memory"], timings, batches))
    return Session(data["facts"], models, data["background"])


def _save(folder: Path, name: str, array: NDArray[Any]) -> None:
    np.save(folder / f"{name}.npy", array)


def _load(folder: Path, name: str) -> NDArray[Any]:
    return np.load(folder / f"{name}.npy")
