"""``edgecell robustness``: accuracy, or mean AUC, of a model and its files on corrupted images."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.label_robustness import label_robustness
from benchmarks.robustness import conditions, robustness
from edgecell import corruptions, plots
from edgecell.config import DataConfig, RobustnessConfig
from edgecell.errors import ConfigError
from edgecell.lock import claimed
from edgecell.pipeline.conversion import Adjust
from edgecell.pipeline.last_layer import check_last_layer
from edgecell.pipeline.pairing import Pair, find_pair, source_size_of
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import check_classes, drawn, load_data
from edgecell.pipeline.verification import verify_images
from edgecell.progress import Progress
from edgecell.runtime import KerasPredictor, TFLitePredictor
from edgecell.tasks import task_named

_TILE = 96  # largest side of an image in the strip


def robustness_target(
    path: Path,
    reference: Path | None,
    adjust: Adjust,
    data: DataConfig | None,
    split: str,
    output: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Run a run's files, or one .tflite file, and their reference on corrupted images; the record.

    Raises:
        ConfigError, DataError, ArtifactError: as in :func:`pairing.find_pair` and ``load_data``;
        DataError too for models that do not answer in the form of the labels, and where no label can
        be ranked; BusyError: another process is at it there.
    """
    pair = find_pair(path, reference, output)
    files = [entry for entry in pair.files if source_size_of(entry) is None]
    if not files:
        raise ConfigError(
            f"{path.name} resizes inside, and images are corrupted in the network's own size; give the"
            " file it was made from: its weights are the same"
        )
    settings = adjust(pair.subject.config).robustness
    with claimed(pair.run.path, "robustness"):
        record = _robustness_in(pair, files, settings, data, split, progress)
    if pair.subject.run is not None and output is None:
        write_report(pair.subject.run)
    return record


def _robustness_in(
    pair: Pair,
    files: list[dict[str, Any]],
    settings: RobustnessConfig,
    data: DataConfig | None,
    split: str,
    progress: Progress,
) -> dict[str, Any]:
    read = ReadFiles([pair.subject.model, *(entry["path"] for entry in files)])
    dataset = load_data(pair.subject, data, progress=True)
    model = KerasPredictor(pair.subject.model)
    check_classes(pair.subject, model.class_count, dataset)
    check_last_layer(pair.subject, model, dataset)
    converted = [TFLitePredictor(entry["path"], threads=0) for entry in files]
    for entry, predictor in zip(files, converted, strict=True):
        check_last_layer(replace(pair.subject, model=entry["path"]), predictor, dataset)
    images, labels = verify_images(model, pair.subject, dataset, split, progress)
    chosen = drawn(len(labels), settings.images, settings.seed)
    images, labels = images[chosen], labels[chosen]
    progress.begin("corrupting images", len(conditions(settings.corruptions)))
    measure = robustness
    if task_named(dataset.task).multi_label:
        measure = partial(label_robustness, label_names=dataset.class_names)
    results = measure(
        model,
        converted,
        images,
        labels,
        settings.corruptions,
        seed=settings.seed,
        advance=progress.advance,
    )
    folder = pair.run.stage("robustness")
    pictures = [
        plots.save(plots.robustness_curves(results), folder / "curves.png"),
        plots.save(plots.corruption_strip(_strip(images[0], settings)), folder / "strip.png"),
    ]
    read.require_same("robustness")
    return pair.run.write_record(
        "robustness",
        inputs=[pair.subject.model, *(entry["path"] for entry in files)],
        input_hashes={f"data:{dataset.name}:{split}": dataset.fingerprint},
        outputs=pictures,
        config=asdict(settings) | {"corruptions": list(settings.corruptions), "split": split},
        results=results | {"split": split, "of": len(dataset.split(split))},
    )


def _strip(
    image: NDArray[np.uint8], settings: RobustnessConfig
) -> dict[str, list[NDArray[np.uint8]]]:
    step = -(-max(image.shape[:2]) // _TILE)
    return {
        name: [
            image[::step, ::step],
            *(
                corruptions.corrupt(image[None], name, strength, settings.seed)[0][::step, ::step]
                for strength in corruptions.STRENGTHS
            ),
        ]
        for name in settings.corruptions
    }
