"""``edgecell quantize``: a Keras model → RUN/quantize/*.tflite, each audited before it is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tf_keras as keras

from converters import audit, tflite
from converters.lowering import strip_scaling
from converters.scaling import EDGECELL
from converters.search import PLAIN
from edgecell import disk, packing
from edgecell.config import Config, DataConfig
from edgecell.data import Dataset
from edgecell.errors import ConfigError
from edgecell.lock import claimed
from edgecell.pipeline import qat, quantize_record, slimming
from edgecell.pipeline.analysing import analyze_in, keep_float
from edgecell.pipeline.enlarging import resize_target, source_size, with_resize
from edgecell.pipeline.quantize_settings import CALIBRATED, check_settings, needs_images
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.searching import Material, gather, search_in
from edgecell.pipeline.targets import Adjust, Target, load_data, resolve, where_to_write
from edgecell.progress import Progress
from edgecell.rundir import RunDir


def _refuse_converted(target: Target) -> None:
    if target.model.suffix == ".tflite":
        raise ConfigError(
            f"{target.model} is converted already; give the run or the Keras model it came from, or"
            " --resize-in-graph for a file with the resize inside"
        )


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
    config = adjust(target.config)
    if target.model.suffix == ".tflite" and config.quantize.resize_in_graph:
        return resize_target(target, config, data, output, progress)
    _refuse_converted(target)
    check_settings(config)
    run = where_to_write(target, output)
    wanted = needs_images(config) or config.quantize.resize_in_graph
    dataset = load_data(target, data, progress=True) if wanted else None
    record = quantize_in(run, target, config, dataset, progress)
    if target.run is not None and output is None:
        write_report(target.run)
    return record, run.stage("quantize")


def analyze_target(
    path: Path,
    adjust: Adjust,
    data: DataConfig | None,
    output: Path | None,
    progress: Progress,
) -> tuple[dict[str, Any], Path]:
    """Rank the layers of what ``path`` names by what int8 costs there; the record and its folder.

    Raises:
        ConfigError, ConvertError: as :func:`quantize_target`.
    """
    target = resolve(path)
    _refuse_converted(target)
    config = adjust(target.config)
    run = where_to_write(target, output)
    dataset = load_data(target, data, progress=True)
    model = tflite.load_reference(target.model)
    analyze_in(gather(run, target, config, model, dataset, progress))
    if target.run is not None and output is None:
        write_report(target.run)
    return run.read_record("analyze"), run.stage("analyze")


def quantize_in(
    run: RunDir, target: Target, config: Config, dataset: Dataset | None, progress: Progress
) -> dict[str, Any]:
    """Write the configured files into ``run``; files of earlier calls stay in the record."""
    with claimed(run.path, "quantize"):
        return _quantize(run, target, config, dataset, progress)


def _quantize(
    run: RunDir, target: Target, config: Config, dataset: Dataset | None, progress: Progress
) -> dict[str, Any]:
    run.remove_leftovers("quantize")
    settings = config.quantize
    folder = run.stage("quantize")
    read = ReadFiles([target.model])
    model = tflite.load_reference(target.model)
    material = None
    if dataset is not None and needs_images(config):
        material = gather(run, target, config, model, dataset, progress)
    size = None
    if dataset is not None and settings.resize_in_graph:
        size = source_size(dataset, config, model.input_shape[1:3], progress)
    # A run's own model must scale as edgecell does; a model from elsewhere as it does itself.
    scaling = EDGECELL if target.run is not None else strip_scaling(model)[1]
    # Nothing is written before all is made: what fails last must not leave files without a record.
    written: dict[Path, bytes] = {}
    entries = []
    started = time.monotonic()
    for made in _files(config, model, material, progress):
        path = folder / f"{target.name}-{made.suffix}.tflite"
        input_type = tflite.input_type_for(made.precision, settings.input_type)
        report = audit.audit(made.data, made.precision, input_type, scaling=scaling, name=path.name)
        audit.require(report, path.name)
        written[path] = made.data
        entry = {
            "file": path.name,
            "precision": made.precision,
            "size_bytes": len(made.data),
            "packed_bytes": packing.deflated_bytes(made.data),
            "seconds": round(time.monotonic() - started, 1),
            "input_type": input_type,
            "scaling": scaling.to_json(),
            "calibrated": made.precision in CALIBRATED,
            **made.facts,
            "audit": report.to_json(),
        }
        if made.outputs:
            entry["made_with"] = [each.name for each in made.outputs]
        entries.append(entry)
        progress.advance(1, f"{path.name} {len(made.data):,} bytes")
        if size is not None:
            resized, data = with_resize(made.data, entry, size, progress)
            written[folder / resized["file"]] = data
            entries.append(resized)
        started = time.monotonic()
    chosen = material.chosen if material else None
    read.require_same("quantize")
    for path, data in written.items():
        disk.atomic_write_bytes(path, data)
    return quantize_record.write(run, target, config, entries, chosen, dataset)


@dataclass(frozen=True)
class _Made:
    """One file before it is audited and written: how it is named, what is to be said about it."""

    precision: str
    data: bytes
    suffix: str
    facts: dict[str, Any] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)


def _files(
    config: Config, model: keras.Model, material: Material | None, progress: Progress
) -> Iterator[_Made]:
    """Every file that was asked for; --qat and --search make theirs in place of the plain int8.

    With --prune or --cluster all of them are files of the pruned or clustered model.
    """
    settings = config.quantize
    method = PLAIN
    slim = slimming.slim_in(material) if material is not None else None
    for precision in settings.precisions:
        special = precision == "int8" and material is not None
        if special and config.qat.enabled:
            assert material is not None
            yield _trained(config, material, slim)
        if special and settings.search:
            assert material is not None
            result = search_in(material)
            method = result.chosen
            progress.begin(f"keeping {method}", 1)
            yield _Made("int8", result.best.data, "int8-search", {"method": method})
        if special and (config.qat.enabled or settings.search):
            continue
        progress.begin(f"converting to {precision}", 1)
        if slim is not None:
            assert material is not None
            data, suffix = slimming.convert(material, slim, precision), f"{precision}-{slim.name}"
            yield _Made(precision, data, suffix, _slim_facts(slim, data), slim.outputs)
            continue
        images = material.chosen.images if material and precision in CALIBRATED else None
        data = tflite.convert(model, precision, calibration=images, input_type=settings.input_type)
        yield _Made(precision, data, precision)
    if settings.keep_float != "none" and material is not None:
        mixed = keep_float(material, method)
        if mixed.data is None:
            progress.say("mixed: int8 passes with no layer in float, so there is no mixed file")
            return
        progress.begin("converting to mixed", 1)
        facts = {"method": method, "float_layers": mixed.float_layers, "trade": mixed.trade}
        yield _Made("mixed", mixed.data, "mixed", facts)


def _trained(config: Config, material: Material, slim: slimming.Slim | None) -> _Made:
    trained = qat.tune(material, slim)
    material.progress.begin("converting to int8", 1)
    data = trained.tuned.int8(config.quantize.input_type)
    facts: dict[str, Any] = {}
    if slim is not None:
        facts = _slim_facts(slim, data, trained.tuned.model)
    facts |= {"method": trained.name, "qat": trained.facts}
    outputs = [*(slim.outputs if slim else ()), *trained.outputs]
    return _Made("int8", data, f"int8-{trained.name}", facts, outputs)


def _slim_facts(
    slim: slimming.Slim, data: bytes, model: keras.Model | None = None
) -> dict[str, Any]:
    """How the file was made and what it has of it; ConvertError where zeros or values were lost."""
    weights = slimming.weights_facts(data, model or slim.model, slim.name)
    return {
        "method": slim.name,
        "slim": {"name": slim.name, "key": slim.key},
        **slim.facts,
    } | weights
