"""``edgecell peers``: a run's network in other runtimes, beside its own files."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency import Pace
from benchmarks.peers import keras_plain, registry, report
from benchmarks.peers import run as peers
from benchmarks.peers.interface import Candidate, Material
from converters.calibration import calibration_set
from edgecell.config import Config, DataConfig
from edgecell.data import Dataset
from edgecell.data.types import read_into
from edgecell.disk import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    read_json,
    sha256_bytes,
    sha256_file,
)
from edgecell.errors import ConfigError, DataError
from edgecell.lock import claimed
from edgecell.pipeline import manifests
from edgecell.pipeline.conversion import Adjust
from edgecell.pipeline.evaluation import split_images
from edgecell.pipeline.lookup import verdict_on
from edgecell.pipeline.pairing import files_of
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import Target, check_classes, data_hash, load_data, resolve
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.report.peers import write_peers_page
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor
from edgecell.tasks import task_named

STEPS = 100
_COMPARED = ("float32", "int8")


def compare_with_peers(
    path: Path,
    names: str,
    threads: int,
    adjust: Adjust,
    data: DataConfig | None,
    output: Path | None,
    progress: Progress,
) -> tuple[dict[str, Any], Path]:
    """Measure a run's float32 and int8 files and the peers called ``names`` ("a,b"; empty: all).

    Returns the record and the folder of its files.

    Raises:
        ConfigError: no run, no such peer. ArtifactError: nothing quantized. DataError: images that are
        not those of the run.
    """
    wanted = registry.parse_names(names)
    keras_plain.limit_threads(threads)  # before anything else wakes TensorFlow
    target = resolve(path)
    if target.run is None or path.suffix:
        raise ConfigError(
            f"{path} is no run folder; peers takes a run that is trained and quantized"
        )
    config = adjust(target.config)
    files = [entry["path"] for entry in files_of(target.run)]
    read = ReadFiles([target.model, *files])
    ours = [each for each in peers.ours(files, threads) if each.precision in _COMPARED]
    dataset = load_data(target, data, progress=True)
    model = KerasPredictor(target.model)
    check_classes(target, model.class_count, dataset)
    images = split_images(model, target, dataset, "test", progress)
    calibration = calibration_images(target, config, dataset)
    run = target.run if output is None else RunDir.at(output)
    with claimed(run.path, "peers"):
        folder = run.stage("peers")
        progress.begin("comparing with peers", STEPS)
        with tempfile.TemporaryDirectory() as scratch:
            material = Material(model.model, target.model, calibration, threads, Path(scratch))
            found, absent = registry.gather(wanted, material, progress.say)
            results = peers.measure(
                [*(_marked(each, target.run) for each in ours), *found],
                absent,
                images,
                dataset.test.labels,
                dataset.class_names,
                model.predict(images),
                pace_of(config),
                threads,
                lambda _text, share: progress.advance(int(share * STEPS)),
                ordinal=task_named(dataset.task).ordinal,
            )
            made = [_keep(file, folder) for file in sorted(Path(scratch).iterdir())]
        progress.advance(STEPS)
        atomic_write_json(folder / "peers.json", results)
        atomic_write_text(folder / "peers.md", report.markdown(results))
        page = write_peers_page(folder / "peers.html", run.name, results)
        read.require_same("peers")
        record = run.write_record(
            "peers",
            inputs=[target.model, *files],
            input_hashes=data_hash(dataset, "test"),
            outputs=[folder / "peers.json", folder / "peers.md", page, *made],
            config={"peers": list(wanted), "threads": threads, **asdict(pace_of(config))},
            results=results,
        )
    if output is None:
        write_report(target.run)
    return record, folder


def pace_of(config: Config) -> Pace:
    """How long to measure, as bench does."""
    wanted = config.bench
    return Pace(
        wanted.runs,
        wanted.seconds,
        wanted.warmup_runs,
        either=wanted.stop == "either",
        cooldown=wanted.cooldown,
    )


def calibration_images(target: Target, config: Config, dataset: Dataset) -> NDArray[np.uint8]:
    """The training images that the run's int8 was calibrated on, uint8 (M, H, W, 3).

    Raises:
        DataError: they are not the recorded ones any more.
    """
    height, width = KerasPredictor(target.model).image_size
    spec = PreprocessSpec.of(config.model, height, width)
    assert target.run is not None
    name = manifests.NEWEST
    if target.run.has("quantize"):
        entries = target.run.read_record("quantize")["results"]["models"]
        name = manifests.manifest_of(entries, "int8")
    manifest = target.run.stage("quantize") / name
    if not manifest.is_file():
        settings = config.quantize
        return calibration_set(
            dataset.train,
            spec,
            count=settings.calibration_images,
            seed=settings.seed,
            fingerprint=dataset.fingerprint,
        ).images
    told = read_json(manifest)
    indices = np.array(told["indices"], np.int64)
    if len(indices) and indices.max() >= len(dataset.train):
        raise DataError(_CHANGED.format(manifest=name))
    images = np.empty((len(indices), height, width, 3), np.uint8)
    read_into(images, dataset.train.source, indices, spec)
    if sha256_bytes(images.tobytes()) != told["images_sha256"]:
        raise DataError(_CHANGED.format(manifest=name))
    return images


_CHANGED = (
    "the training images are not those that this run's int8 was calibrated on ({manifest}), so"
    " the peers' int8 would be made of others; run 'edgecell quantize' again"
)


def _marked(candidate: Candidate, run: RunDir) -> Candidate:
    """One of our files, with what verify said where that is not a pass."""
    verdict = verdict_on(run, sha256_file(candidate.files[0]))
    if verdict == "passed":
        return candidate
    said = {"failed": "refused by verify"}.get(verdict, verdict)
    return replace(candidate, detail=f"{candidate.detail}; {said}")


def _keep(file: Path, folder: Path) -> Path:
    """A converted file among the results, for whoever wants to measure it again."""
    atomic_write_bytes(folder / file.name, file.read_bytes())
    return folder / file.name
