"""``edgecell bench``: quality, footprint and latency of .tflite files on the test split."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.devices.interface import Device
from benchmarks.devices.registry import ADDRESSED, DeviceOptions, open_device
from benchmarks.latency import Pace
from benchmarks.options import BenchOptions
from benchmarks.run import BenchResult, bench, write_artefacts
from edgecell.config import BenchConfig, Config, DataConfig
from edgecell.data import Dataset, materialize
from edgecell.data.duplicates import refuse_overlap
from edgecell.errors import ArtifactError, ConfigError
from edgecell.lock import claimed
from edgecell.pipeline.comparing import Against
from edgecell.pipeline.conversion import Adjust
from edgecell.pipeline.lookup import verdict_on
from edgecell.pipeline.plausible import doubts
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import (
    Target,
    data_hash,
    groups_known,
    images_id,
    load_data,
    resolve,
    where_to_write,
)
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.report.bench_page import write_bench_page
from edgecell.rundir import RunDir
from edgecell.tasks import task_named

STEPS = 100
HOST = "host"


def bench_models(
    paths: list[Path],
    adjust: Adjust,
    data: DataConfig | None,
    output: Path | None,
    progress: Progress,
    *,
    allow_unverified: bool,
    device: str = HOST,
    device_options: DeviceOptions | None = None,
    against: Against | None = None,
) -> tuple[dict[str, Any], Path]:
    """Bench ``paths`` side by side on ``device``; the record and the folder of its files.

    ``against`` adds to the results what became worse than in an earlier bench.

    Raises:
        ConfigError: not a .tflite, no data set known, or a device that is not there. ArtifactError: a
        file without a passing verify, unless ``allow_unverified``, which is recorded. DataError: the
        earlier bench saw other images, or a file does not answer in the form of the labels.
    """
    opened = open_device(device, device_options)
    targets = [resolve(path) for path in paths]
    for target in targets:
        if target.model.suffix != ".tflite":
            raise ConfigError(
                f"{target.model} is no .tflite file; bench takes converted models,"
                " make them with 'edgecell quantize'"
            )
    read = ReadFiles([target.model for target in targets])
    verdicts = {
        str(target.model): verdict_on(target.judged, read.digests[target.model])
        for target in targets
    }
    _refuse_unverified(verdicts, allow_unverified)
    first = targets[0]
    run = where_to_write(first, output)
    dataset = load_data(first, data, progress=True)
    refuse_overlap(dataset, "test")
    if against is not None:
        against.check_images(images_id(dataset, "test"))
    settings = adjust(first.config)
    record = bench_in(
        run, first, settings, read, verdicts, dataset, progress, opened, against=against
    )
    if first.run is not None and output is None:
        write_report(first.run)
    return record, run.stage(record["verb"])


def bench_in(
    run: RunDir,
    target: Target,
    config: Config,
    read: ReadFiles,
    verdicts: dict[str, str],
    dataset: Dataset,
    progress: Progress,
    device: Device | None = None,
    *,
    against: Against | None = None,
) -> dict[str, Any]:
    """Measure, write bench.json, bench.md, bench.html and the plots, and record it all in ``run``.

    The host's results are the stage "bench", those of another device "bench/KIND-NAME".

    Raises:
        ArtifactError: a file was replaced meanwhile; nothing is written.
    """
    paths = read.paths
    kind = HOST if device is None else device.kind
    with claimed(run.path, "bench" if kind == HOST else f"bench/{kind}"):
        run.remove_leftovers("bench")
        wanted = config.bench
        options = BenchOptions(pace_of(wanted), xnnpack=wanted.delegate == "xnnpack")

        warnings: dict[str, None] = {}

        def images(size: tuple[int, int]) -> NDArray[np.uint8]:
            made = materialize(dataset.test, PreprocessSpec.of(config.model, *size))
            warnings.update(dict.fromkeys(doubts(target.run, dataset, "test", made, progress)))
            return made

        progress.begin("benchmarking", STEPS)
        result: BenchResult = bench(
            paths,
            images,
            dataset.test.labels,
            dataset.class_names,
            options,
            lambda _text, share: progress.advance(int(share * STEPS)),
            device,
            ordinal=task_named(dataset.task).ordinal,
            data_name=f"'{dataset.name}'",
        )
        progress.advance(STEPS)
        result.warnings.extend(warnings)
        verb = _verb(result.device)
        read.require_same("bench")
        for entry, path in zip(result.models, paths, strict=True):
            entry["verify"] = verdicts[str(path)]
            entry["images"] = images_id(dataset, "test")
            entry |= groups_known(dataset.test)
        folder = run.stage(verb)
        outputs = write_artefacts(folder, result)
        results = result.to_json()
        settings = asdict(config.bench) | {"unverified": unverified(verdicts)}
        if against is not None:
            results["regression"] = against.judge(results)
            settings |= against.settings()
        outputs.append(write_bench_page(folder / "bench.html", run.name, results))
        return run.write_record(
            verb,
            inputs=paths,
            input_hashes=data_hash(dataset, "test"),
            outputs=outputs,
            config=settings,
            results=results,
        )


def pace_of(settings: BenchConfig) -> Pace:
    """The settings as the benchmark knows them."""
    return Pace(
        settings.runs,
        settings.seconds,
        settings.warmup_runs,
        either=settings.stop == "either",
        cooldown=settings.cooldown,
    )


def _verb(device: dict[str, str]) -> str:
    """The stage of a device's results: its name, so that two boards stand side by side."""
    if device["kind"] == HOST:
        return "bench"
    plain = re.sub(r"[^a-z0-9]+", "-", device["name"].lower()).strip("-")[:60]
    return (
        f"bench/{device['kind']}-{plain}"
        if device["kind"] in ADDRESSED
        else f"bench/{device['kind']}"
    )


def unverified(verdicts: dict[str, str]) -> list[str]:
    """The names of the files that did not pass verify, as a record of bench has them."""
    return [Path(path).name for path, verdict in verdicts.items() if verdict != "passed"]


def _refuse_unverified(verdicts: dict[str, str], allowed: bool) -> None:
    failing = unverified(verdicts)
    if failing and not allowed:
        raise ArtifactError(
            f"{len(failing)} of {len(verdicts)} models have no passing verify"
            f" ({', '.join(failing)}); run 'edgecell verify' first, or add --unverified, which the"
            " record will say"
        )
