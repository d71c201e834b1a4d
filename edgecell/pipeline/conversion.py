"""``edgecell quantize``: a Keras model → RUN/quantize/*.tflite, each audited after it is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from converters import audit, calibration, tflite
from converters.lowering import quantize_int8, strip_scaling
from converters.scaling import EDGECELL
from edgecell import rundir
from edgecell.config import PRECISIONS, Config, DataConfig
from edgecell.data import Dataset
from edgecell.errors import ConfigError
from edgecell.pipeline import qat
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import Target, check_classes, load_data, resolve
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.rundir import RunDir

CALIBRATED = ("int8", "int16x8")

Adjust = Callable[[Config], Config]


def quantize_target(
    path: Path,
    adjust: Adjust,
    data: DataConfig | None,
    output: Path | None,
    progress: Progress,
) -> tuple[dict[str, Any], Path]:
    """Convert what ``path`` names to the configured precisions; the record and its folder.

    Raises:
        ConfigError: a .tflite as source, or int8 of a model without a run and without --data.
        ConvertError: a model that cannot be converted, or a file that is not what its name says.
    """
    target = resolve(path)
    if target.model.suffix == ".tflite":
        raise ConfigError(
            f"{path} is converted already; give the run or the Keras model it came from"
        )
    config = adjust(target.config)
    check_settings(config)
    run = _where(target, output)
    needs_images = any(precision in CALIBRATED for precision in config.quantize.precisions)
    dataset = load_data(target, data, progress=True) if needs_images else None
    record = quantize_in(run, target, config, dataset, progress)
    if target.run is not None and output is None:
        write_report(target.run)
    return record, run.stage("quantize")


def quantize_in(
    run: RunDir, target: Target, config: Config, dataset: Dataset | None, progress: Progress
) -> dict[str, Any]:
    """Write the configured files into ``run``; files of earlier calls stay in the record."""
    settings = config.quantize
    folder = run.stage("quantize")
    model = tflite.load_reference(target.model)
    chosen = None
    if dataset is not None:
        check_classes(target, int(model.output_shape[-1]), dataset)
        height, width = model.input_shape[1:3]
        spec = PreprocessSpec(height, width, config.model.fit)
        chosen = calibration.calibration_set(
            dataset.train,
            spec,
            count=min(settings.calibration_images, len(dataset.train)),
            seed=settings.seed,
            fingerprint=dataset.fingerprint,
        )
    # A run's own model must scale as edgecell does; a model from elsewhere as it does itself.
    scaling = EDGECELL if target.run is not None else strip_scaling(model)[1]
    entries, extra = [], []
    for precision in settings.precisions:
        started = time.monotonic()
        images = chosen.images if chosen is not None and precision in CALIBRATED else None
        if precision == "int8" and config.qat.enabled:
            assert dataset is not None and chosen is not None  # int8 is one of CALIBRATED
            trained = qat.tune(run, target, config, model, dataset, chosen, progress)
            progress.begin("converting to int8", 1)
            data = quantize_int8(trained.tuned.calibrated, settings.input_type)
            suffix, facts = "int8-qat", {"method": "qat", "qat": trained.facts}
            extra += trained.outputs
        else:
            progress.begin(f"converting to {precision}", 1)
            data = tflite.convert(
                model, precision, calibration=images, input_type=settings.input_type
            )
            suffix, facts = precision, {}
        path = folder / f"{target.name}-{suffix}.tflite"
        input_type = tflite.input_type_for(precision, settings.input_type)
        report = audit.audit(data, precision, input_type, scaling=scaling, name=path.name)
        audit.require(report, path.name)
        rundir.atomic_write_bytes(path, data)
        entry = {
            "file": path.name,
            "precision": precision,
            "size_bytes": len(data),
            "seconds": round(time.monotonic() - started, 1),
            "input_type": input_type,
            "scaling": scaling.to_json(),
            "calibrated": images is not None,
            **facts,
            "audit": report.to_json(),
        }
        entries.append(entry)
        progress.advance(1, f"{path.name} {len(data):,} bytes")
    return _record(run, target, config, entries, extra, chosen, dataset)


def check_settings(config: Config) -> None:
    """Refuse settings that do not go together."""
    if config.qat.enabled and "int8" not in config.quantize.precisions:
        raise ConfigError(
            "quantization-aware training makes an int8 file, and int8 was not asked for; add --int8"
            " or leave --qat out"
        )


def settings_of(config: Config) -> dict[str, Any]:
    """The settings that the converted files depend on, for the record and for skipping."""
    if not config.qat.enabled:
        return asdict(config.quantize)
    return asdict(config.quantize) | {"qat": asdict(config.qat)}


def _record(
    run: RunDir,
    target: Target,
    config: Config,
    entries: list[dict[str, Any]],
    extra: list[Path],
    chosen: Any,
    dataset: Dataset | None,
) -> dict[str, Any]:
    folder = run.stage("quantize")
    kept = _still_valid(run, {entry["file"] for entry in entries}, target)
    results: dict[str, Any] = {
        "models": sorted(kept + entries, key=lambda entry: PRECISIONS.index(entry["precision"]))
    }
    outputs = [folder / entry["file"] for entry in results["models"]] + extra
    if not extra and any(entry.get("method") == "qat" for entry in kept):
        outputs += qat.outputs_of(folder, target)
    manifest = folder / "calibration.json"
    if chosen is not None:
        rundir.atomic_write_json(manifest, chosen.manifest)
        results["calibration"] = {k: v for k, v in chosen.manifest.items() if k != "indices"}
    if manifest.is_file() and any(entry["calibrated"] for entry in results["models"]):
        outputs.append(manifest)
    return run.write_record(
        "quantize",
        inputs=[target.model],
        input_hashes={f"data:{dataset.name}:train": dataset.fingerprint} if dataset else None,
        outputs=outputs,
        config=settings_of(config),
        results=results,
    )


def _still_valid(run: RunDir, replaced: set[str], target: Target) -> list[dict[str, Any]]:
    """Entries of an earlier call for files that are still there and came from the same model."""
    if not run.has("quantize"):
        return []
    record = run.read_record("quantize")
    if record["inputs"].get(run.relative(target.model)) != rundir.sha256_file(target.model):
        return []
    return [
        entry
        for entry in record["results"]["models"]
        if entry["file"] not in replaced
        and (run.stage("quantize") / entry["file"]).is_file()
        and rundir.sha256_file(run.stage("quantize") / entry["file"])
        == record["outputs"][f"quantize/{entry['file']}"]
    ]


def _where(target: Target, output: Path | None) -> RunDir:
    if output is not None:
        return RunDir.at(output)
    if target.run is None:
        raise ConfigError(f"{target.model} belongs to no run; say where to write with --output DIR")
    return target.run
