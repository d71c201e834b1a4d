"""The bench: several model files, one set of test images, one comparable table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.agreement import agreement, same_answers
from benchmarks.devices.host import Host
from benchmarks.devices.interface import Device
from benchmarks.devices.session import Job, Say, threads_text
from benchmarks.footprint import file_sizes
from benchmarks.host import background_warnings, load_warnings
from benchmarks.options import BenchOptions
from benchmarks.precision import precision_of
from benchmarks.quality import quality_of
from benchmarks.ranking import ranking
from edgecell import graph, metrics, plots
from edgecell.disk import atomic_write_json, atomic_write_text, sha256_file
from edgecell.errors import ConfigError, DataError
from edgecell.record import Measurement
from edgecell.runtime import TFLitePredictor, check_images
from edgecell.tasks import check_form, several_labels
from edgecell.tflite_file import TFLiteFile

SCHEMA = "edgecell/bench-result"
SCHEMA_VERSION = 2
ImagesOf = Callable[[tuple[int, int]], NDArray[np.uint8]]


@dataclass(frozen=True)
class BenchResult:
    """What `bench` found, as JSON types. `device` has its kind and name, `host` the facts of it."""

    models: list[dict[str, Any]]
    device: dict[str, str]
    host: dict[str, Any]
    options: dict[str, Any]
    images: int
    class_names: list[str]
    warnings: list[str]
    background: list[dict[str, Any]] = field(default_factory=list)
    device_notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of bench.json."""
        data = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "images": self.images,
            "class_names": self.class_names,
            "device": self.device,
            "host": self.host,
            "background": self.background,
            "options": self.options,
            "models": self.models,
            "warnings": self.warnings,
        }
        data["not_measured"] = report.reasons(data)
        data["notes"] = [*self.device_notes, *report.notes(data)]
        return data

    def rows(self) -> list[dict[str, str]]:
        """Table rows, column title → text; the same columns in every row."""
        return report.rows(self.to_json())

    def details(self) -> list[dict[str, str]]:
        """Rows of the second table: how each file ran."""
        return report.details(self.to_json())

    def markdown(self) -> str:
        """The table with its notes."""
        return report.markdown(self.to_json())


def bench(
    models: Sequence[Path],
    images: NDArray[np.uint8] | ImagesOf,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    options: BenchOptions | None = None,
    progress: Say | None = None,
    device: Device | None = None,
    *,
    ordinal: bool = False,
    data_name: str = "this data set",
) -> BenchResult:
    """Measure quality, footprint and latency of `.tflite` files on the same images.

    Args:
        models: at least one file.
        images: uint8 (N, H, W, 3), or a function that makes them for an image size (H, W): needed
            where the models differ in size.
        labels: (N,), or (N, C) of 0 and 1 where an image can have several labels.
        progress: gets a line of text and the finished share 0..1.
        device: where the files run; this host if None. Quality is that of the device's own outputs.
        ordinal: the classes are grades of one scale: quality has a kappa.
        data_name: how a refusal calls the images.

    Raises:
        ConfigError: no model, or one given twice; a device that is not there. ArtifactError: not a
        classifier's .tflite. DataError: images, labels and names do not fit, or a model that
        does not answer in the form of the labels.
    """
    options, device = options or BenchOptions(), device or Host()
    several = several_labels(labels)
    names = _labels(models)
    images_of = cache(images) if callable(images) else lambda size: images
    predictors = [TFLitePredictor.open(path, threads=1, xnnpack=options.xnnpack) for path in models]
    precisions = [precision_of(p.file, name) for p, name in zip(predictors, names, strict=True)]
    for path, predictor in zip(models, predictors, strict=True):  # before any image is read
        decides = graph.decides_labels(predictor.file)
        if decides is not None:  # a stranger's file may end in neither softmax nor sigmoid
            check_form(
                path.name, decides, several=several, count=len(class_names), images=data_name
            )
    jobs = []
    for name, path, predictor in zip(names, models, predictors, strict=True):
        jobs.append(Job(name, path, images_of(predictor.image_size)))
        check_images(jobs[-1].images, predictor.image_size, name)
        if len(class_names) != predictor.class_count:  # now, not after the timing
            raise DataError(
                f"{len(class_names)} class names for {name}, which has"
                f" {predictor.class_count} classes; name its data set with --data"
            )
    reference = _reference(precisions) if options.reference is None else options.reference
    measured = device.measure(jobs, options, reference, progress or _silent)
    entries = []
    for i, (job, predictor, answer) in enumerate(
        zip(jobs, predictors, measured.answers, strict=True)
    ):
        entries.append(
            {
                "name": job.name,
                "file": job.path.name,
                "sha256": sha256_file(job.path),
                "precision": precisions[i],
                "image_size": list(predictor.image_size),
                "operators": _operators(predictor.file),
                "quality": quality_of(
                    predictor, answer.raw, labels, class_names, options, ordinal=ordinal
                ),
                **_ranked(predictor, answer.raw, labels, several),
                "agreement": agreement(
                    predictor, job.images, answer.raw, device.kind, several=several
                ),
                "footprint": file_sizes(job.path) | {"memory": answer.memory},
                "latency": answer.latency,
                "throughput": answer.throughput,
            }
        )
    warnings = [
        *measured.warnings,
        *(
            background_warnings(measured.background)
            if _seen(measured.background)
            else load_warnings(measured.facts)
        ),
        *_drift_warnings(entries),
        *_delegate_warnings(entries),
        *_agreement_warnings(entries),
        *_moved_warnings(entries, class_names),
    ]
    return BenchResult(
        entries,
        {"kind": device.kind, "name": measured.name},
        measured.facts,
        options.to_json(),
        len(labels),
        list(class_names),
        warnings,
        measured.background,
        measured.notes,
    )


def _ranked(
    predictor: TFLitePredictor,
    raw: NDArray[Any] | str,
    labels: NDArray[np.int64],
    several: bool,
) -> dict[str, Any]:
    """What tests of several labels in pairs need; single answers stand in the quality."""
    if not several or isinstance(raw, str):
        return {}
    return {"ranking": ranking(labels, predictor.probabilities(raw))}


def _silent(text: str, share: float) -> None:
    """Progress that nobody sees."""


def _seen(background: list[dict[str, Any]]) -> bool:
    """Whether other programs' work could be told while the timing went on."""
    return any("value" in entry["others"] for entry in background)


def _operators(file: TFLiteFile) -> dict[str, Any]:
    """What is in the graph: counts by name, those that are waste, and the work there is to do."""
    macs = sum(graph.work(file, op).macs for op in file.operators)
    return {
        "counts": file.operator_counts(),
        "others": graph.other_operators(file),
        "stray": graph.stray_operators(file),
        "macs": Measurement(macs, "count").to_json(),
    }


def write_artefacts(stage_dir: Path, result: BenchResult) -> list[Path]:
    """Write bench.json, bench.md and, where there are figures for them, the two plots; their paths.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    data = result.to_json()
    where = "this host" if result.device["kind"] == "host" else result.device["name"]
    task = report.task_of(data)
    figure = task.metric_name
    drawn = {
        f"size_{task.metric}.png": (
            *(report.size_points(data), "file size (kB)"),
            f"Size against {figure} (95 % intervals)",
        ),
        f"latency_{task.metric}.png": (
            *(report.latency_points(data), f"p50 at 1 thread on {where} (ms)"),
            f"Latency against {figure} (95 % intervals)",
        ),
    }
    written = [
        plots.save(plots.tradeoff(points, x=x, y=figure, title=title), stage_dir / name)
        for name, (points, x, title) in drawn.items()
        if points
    ]
    atomic_write_text(stage_dir / "bench.md", report.markdown(data))
    atomic_write_json(stage_dir / "bench.json", data)
    return [stage_dir / "bench.json", stage_dir / "bench.md", *written]


def _reference(precisions: Sequence[str]) -> int | None:
    """The model that ratios are to: the first float32 one."""
    return precisions.index("float32") if "float32" in precisions else None


def _drift_warnings(entries: list[dict[str, Any]], limit: float = 0.1) -> list[str]:
    """One line for all models whose pace changed between the first and the last third."""
    found = [
        f"{entry['name']} {timing['drift']['value']:+.0%} at {threads_text(timing['threads'])}"
        for entry in entries
        for timing in entry["latency"]
        if "value" in timing["drift"] and abs(timing["drift"]["value"]) > limit
    ]
    if not found:
        return []
    return [f"the pace changed during the timing (heat or other work): {', '.join(found)}"]


def _delegate_warnings(entries: list[dict[str, Any]]) -> list[str]:
    """One line for the files that ran without the delegate that was asked for."""
    alone = [
        entry["name"]
        for entry in entries
        if any(t["delegate"].get("asked") and not t["delegate"]["taken"] for t in entry["latency"])
    ]
    if not alone:
        return []
    return [
        f"XNNPACK took no operator of {', '.join(alone)}: these are times of the built-in kernels"
    ]


def _agreement_warnings(entries: list[dict[str, Any]]) -> list[str]:
    """A line for each file that a device answers otherwise than this host does.

    Kernels of another processor may round one quantum apart.
    """
    found = []
    for entry in entries:
        largest, alike = entry["agreement"]["largest_difference"], same_answers(entry["agreement"])
        apart = largest["unit"] == "quanta" and largest.get("value", 0) > 1
        if apart or alike.get("value", 1) < 1:
            what = "another first class" if "top1" in entry["agreement"] else "another decision"
            unit = "" if largest["unit"] == "1" else " quanta"
            found.append(
                f"{entry['name']} answers otherwise than on this host: outputs up to"
                f" {largest['value']:.3g}{unit} apart, {what} in"
                f" {round((1 - alike['value']) * alike['n'])} of {alike['n']} images"
            )
    return found


def _moved_warnings(entries: list[dict[str, Any]], class_names: Sequence[str]) -> list[str]:
    """A line for each file whose answers fit the labels only if these are moved."""
    found = []
    for entry in entries:
        confusion = entry["quality"].get("confusion")
        # A device that gives no answers has none.
        moved = metrics.find_moved(np.array(confusion)) if confusion else None
        if moved is not None:
            found.append(f"{entry['name']}: {metrics.moved_line(moved, class_names, 'test')}")
    return found


def _labels(models: Sequence[Path]) -> list[str]:
    """File names without suffix; with their folders where two files share a name."""
    if not models:
        raise ConfigError("no model to bench; give at least one --model X.tflite")
    resolved = [path.resolve() for path in models]
    if len(set(resolved)) < len(resolved):
        twice = next(path.name for path in models if resolved.count(path.resolve()) > 1)
        raise ConfigError(f"{twice} is given twice; name each model once")
    for depth in range(1, max(len(path.parts) for path in resolved)):
        names = ["/".join([*path.parts[-depth:-1], path.stem]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [path.name for path in resolved]
