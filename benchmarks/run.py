"""The bench: several model files, one set of test images, one comparable table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import latency, report
from benchmarks.footprint import footprint
from benchmarks.host import host, load_warnings
from benchmarks.precision import precision_of
from benchmarks.quality import quality
from edgecell import plots
from edgecell.errors import ConfigError
from edgecell.record import Measurement
from edgecell.rundir import atomic_write_json, atomic_write_text, sha256_file
from edgecell.runtime import TFLitePredictor, available_cores

SCHEMA = "edgecell/bench-result"
SCHEMA_VERSION = 1
_TIMED_IMAGES = 64

ImagesOf = Callable[[tuple[int, int]], NDArray[np.uint8]]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class BenchOptions:
    """How long and what to measure. `runs` and `seconds` are minima per model and thread count;
    a thread count of 0 means all cores."""

    runs: int = 200
    seconds: float = 2.0
    warmup_runs: int = 20
    threads: tuple[int, ...] = (1, 0)
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

    def to_json(self) -> dict[str, Any]:
        """The content of bench.json."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "images": self.images,
            "class_names": self.class_names,
            "host": self.host,
            "options": self.options,
            "models": self.models,
            "warnings": self.warnings,
            "notes": list(report.NOTES),
        }

    def rows(self) -> list[dict[str, str]]:
        """Table rows, column title → text; the same columns in every row."""
        return report.rows(self.to_json())

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
    predictors = [TFLitePredictor.open(path, threads=1) for path in models]
    precisions = [precision_of(p.file, name) for p, name in zip(predictors, names, strict=True)]
    entries: list[dict[str, Any]] = []
    timed_images = []
    for i, (path, predictor) in enumerate(zip(models, predictors, strict=True)):
        say(f"quality and footprint of {names[i]}", 0.4 * i / len(models))
        own = images_of(predictor.image_size)
        entries.append(
            {
                "name": names[i],
                "file": path.name,
                "sha256": sha256_file(path),
                "precision": precisions[i],
                "image_size": list(predictor.image_size),
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
            }
        )
        timed_images.append(own[:_TIMED_IMAGES].copy())  # a view would keep all images alive
    del predictors, images_of
    settings = thread_settings(options.threads)
    for step, threads in enumerate(settings):

        def timing(share: float, threads: int = threads, step: int = step) -> None:
            say(f"latency, {_threads(threads)}", 0.4 + 0.6 * (step + share) / len(settings))

        _time_all(models, timed_images, entries, threads, options, timing)
    _add_ratios(entries)
    warnings = load_warnings(machine) + _drift_warnings(entries)
    return BenchResult(
        entries, machine, _options(options), len(labels), list(class_names), warnings
    )


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
    opened = [
        latency.open_timed(
            partial(TFLitePredictor.open, path, threads=threads), own[0], loads=options.loads
        )
        for path, own in zip(models, images, strict=True)
    ]
    times = latency.time_interleaved(
        [each.predictor for each in opened],
        images,
        min_runs=options.runs,
        min_seconds=options.seconds,
        warmup_runs=options.warmup_runs,
        progress=progress,
    )
    for entry, each, own_times in zip(entries, opened, times, strict=True):
        entry["latency"].append(
            {"threads": threads, **latency.summarize(own_times), **latency.summarize_opening(each)}
        )


def _add_ratios(entries: list[dict[str, Any]]) -> None:
    """p50 over that of the first float32 model, timed in the same rounds."""
    reference = next((entry for entry in entries if entry["precision"] == "float32"), None)
    for entry in entries:
        for i, timing in enumerate(entry["latency"]):
            timing["ratio"] = (
                Measurement.missing("1", "no float32 model in this bench")
                if reference is None
                else Measurement(
                    timing["p50"]["value"] / reference["latency"][i]["p50"]["value"],
                    "1",
                    n=timing["n"],
                )
            ).to_json()


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
    return asdict(options) | {"threads": list(options.threads)}
