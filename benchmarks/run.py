"""The bench: several model files, one set of test images, one comparable table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import latency, report, spread
from benchmarks.footprint import footprint
from benchmarks.host import Others, background_warnings, host, load_warnings
from benchmarks.precision import precision_of
from benchmarks.quality import quality
from benchmarks.throughput import throughput
from edgecell import graph, plots
from edgecell.errors import ConfigError
from edgecell.record import Measurement
from edgecell.rundir import atomic_write_json, atomic_write_text, sha256_file
from edgecell.runtime import TFLitePredictor, available_cores
from edgecell.tflite_file import TFLiteFile

SCHEMA = "edgecell/bench-result"
SCHEMA_VERSION = 2
_TIMED_IMAGES = 64
_TIMING = 0.4  # share of the work done when the timing starts

ImagesOf = Callable[[tuple[int, int]], NDArray[np.uint8]]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class BenchOptions:
    """How long and what to measure. `pace` is per model and thread count, of which 0 means all cores;
    `batches` (at least 2) are measured a twentieth as long. Without `xnnpack` the built-in kernels run."""

    pace: latency.Pace = field(default_factory=latency.Pace)
    threads: tuple[int, ...] = (1, 0)
    batches: tuple[int, ...] = (8, 32)
    xnnpack: bool = True
    loads: int = 3
    memory: bool = True
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class BenchResult:
    """What `bench` found. `models`, `host` and `options` are JSON already; see `to_json`."""

    models: list[dict[str, Any]]
    host: dict[str, Any]
    options: dict[str, Any]
    images: int
    class_names: list[str]
    warnings: list[str]
    background: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The content of bench.json."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "images": self.images,
            "class_names": self.class_names,
            "host": self.host,
            "background": self.background,
            "options": self.options,
            "models": self.models,
            "warnings": self.warnings,
            "notes": list(report.NOTES),
        }

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
    progress: Progress | None = None,
) -> BenchResult:
    """Measure quality, footprint and latency of `.tflite` files on the same images.

    Args:
        models: at least one file.
        images: uint8 (N, H, W, 3), or a function that makes them for an image size (H, W): needed
            where the models differ in size.
        labels: (N,).
        progress: gets a line of text and the finished share 0..1.

    Raises:
        ConfigError: no model, or one given twice. ArtifactError: not a classifier's .tflite.
        DataError: images, labels and names do not fit.
    """
    options = options or BenchOptions()
    say = progress or (lambda text, share: None)
    names = _labels(models)
    images_of = cache(images) if callable(images) else lambda size: images
    machine = host()  # before any work of our own
    predictors = [TFLitePredictor.open(path, threads=1, xnnpack=options.xnnpack) for path in models]
    precisions = [precision_of(p.file, name) for p, name in zip(predictors, names, strict=True)]
    entries: list[dict[str, Any]] = []
    timed_images = []
    for i, (path, predictor) in enumerate(zip(models, predictors, strict=True)):
        say(f"quality and footprint of {names[i]}", _TIMING * i / len(models))
        own = images_of(predictor.image_size)
        entries.append(
            {
                "name": names[i],
                "file": path.name,
                "sha256": sha256_file(path),
                "precision": precisions[i],
                "image_size": list(predictor.image_size),
                "operators": _operators(predictor.file),
                "quality": quality(
                    predictor,
                    own,
                    labels,
                    class_names,
                    resamples=options.resamples,
                    seed=options.seed,
                ),
                "footprint": footprint(path, memory=options.memory),
                "latency": [],
                "throughput": [],
            }
        )
        timed_images.append(own[:_TIMED_IMAGES].copy())  # a view would keep all images alive
    del predictors, images_of
    settings = thread_settings(options.threads)
    background = []
    for step, threads in enumerate(settings):

        def timing(share: float, threads: int = threads, step: int = step) -> None:
            done = (step + share) / len(settings)
            say(f"latency, {_threads(threads)}", _TIMING + (1 - _TIMING) * done)

        others = Others()
        _time_all(models, timed_images, entries, threads, options, timing)
        background.append({"threads": threads, "others": others.share().to_json()})
    warnings = [
        *(background_warnings(background) if _seen(background) else load_warnings(machine)),
        *_drift_warnings(entries),
        *_delegate_warnings(entries),
    ]
    return BenchResult(
        entries, machine, _options(options), len(labels), list(class_names), warnings, background
    )


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
    """Write bench.json, bench.md and the two plots; returns their paths.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    data = result.to_json()
    figures = {
        "size_accuracy.png": plots.tradeoff(
            report.size_points(data),
            x="file size (kB)",
            y="accuracy",
            title="Size against accuracy (95 % intervals)",
        ),
        "latency_accuracy.png": plots.tradeoff(
            report.latency_points(data),
            x="p50 at 1 thread on this host (ms)",
            y="accuracy",
            title="Latency against accuracy (95 % intervals)",
        ),
    }
    written = [plots.save(figure, stage_dir / name) for name, figure in figures.items()]
    atomic_write_text(stage_dir / "bench.md", report.markdown(data))
    atomic_write_json(stage_dir / "bench.json", data)
    return [stage_dir / "bench.json", stage_dir / "bench.md", *written]


def thread_settings(wanted: Sequence[int]) -> list[int]:
    """Thread counts to measure, 0 resolved to all cores, each once."""
    return list(dict.fromkeys(available_cores() if count == 0 else count for count in wanted))


def _time_all(
    models: Sequence[Path],
    images: Sequence[NDArray[np.uint8]],
    entries: list[dict[str, Any]],
    threads: int,
    options: BenchOptions,
    progress: Callable[[float], None],
) -> None:
    """Latency and throughput of all models with one number of threads, into ``entries``."""
    openers = [
        partial(TFLitePredictor.open, path, threads=threads, xnnpack=options.xnnpack)
        for path in models
    ]
    opened = [
        latency.open_timed(opener, own[0], loads=options.loads)
        for opener, own in zip(openers, images, strict=True)
    ]
    predictors = [each.predictor for each in opened]
    times = latency.time_interleaved(
        predictors, images, options.pace, progress=lambda share: progress(0.9 * share)
    )
    reference = _reference(entries)
    for entry, each, timed in zip(entries, opened, times, strict=True):
        entry["latency"].append(
            {
                "threads": threads,
                "delegate": each.predictor.delegation().to_json(),
                **spread.summarize(timed),
                **spread.summarize_opening(each),
                "ratio": (
                    Measurement.missing("1", "no float32 model in this bench")
                    if reference is None
                    else spread.paired_ratio(timed, times[reference])
                ).to_json(),
            }
        )
    for batch in options.batches:
        rates = throughput(
            models, images, batch, threads, _short(options.pace), xnnpack=options.xnnpack
        )
        for entry, rate in zip(entries, rates, strict=True):
            entry["throughput"].append({"threads": threads, "batch": batch, "rate": rate})
    progress(1.0)


def _short(pace: latency.Pace) -> latency.Pace:
    """The pace for batches: a twentieth of it."""
    runs = max(latency.MIN_ROUNDS, pace.runs // 20)
    return replace(pace, runs=runs, seconds=pace.seconds / 20, warmup_runs=2)


def _reference(entries: list[dict[str, Any]]) -> int | None:
    """The model that ratios are to: the first float32 one."""
    return next((i for i, e in enumerate(entries) if e["precision"] == "float32"), None)


def _drift_warnings(entries: list[dict[str, Any]], limit: float = 0.1) -> list[str]:
    """One line for all models whose pace changed between the first and the last third."""
    found = [
        f"{entry['name']} {timing['drift']['value']:+.0%} at {_threads(timing['threads'])}"
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
        if any(t["delegate"]["asked"] and not t["delegate"]["taken"] for t in entry["latency"])
    ]
    if not alone:
        return []
    return [
        f"XNNPACK took no operator of {', '.join(alone)}: these are times of the built-in kernels"
    ]


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


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _options(options: BenchOptions) -> dict[str, Any]:
    return asdict(options) | {"threads": list(options.threads), "batches": list(options.batches)}
