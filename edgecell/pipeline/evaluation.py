"""``edgecell evaluate``: a model's quality on val, or on test when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell.config import DataConfig
from edgecell.data import Dataset, materialize
from edgecell.evaluate import evaluate, write_artefacts
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import (
    Target,
    check_classes,
    data_hash,
    load_data,
    resolve,
    where_to_write,
)
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.rundir import RunDir
from edgecell.runtime import Predictor, load_predictor


@dataclass(frozen=True)
class Evaluated:
    """The results of an evaluation and where its files are."""

    results: dict[str, Any]
    folder: Path


def evaluate_target(
    path: Path,
    split: str,
    data: DataConfig | None,
    output: Path | None,
    *,
    threads: int,
    progress: Progress,
) -> Evaluated:
    """Evaluate a run's Keras model, a Keras file or a .tflite file on one split.

    Raises:
        ConfigError: no data set named for a model without a run.
        DataError, ArtifactError: images or model that cannot be used.
    """
    target = resolve(path)
    predictor = load_predictor(target.model, threads=threads)
    dataset = load_data(target, data, progress=True)
    check_classes(target, predictor.class_count, dataset)
    run = where_to_write(target, output)
    record = evaluate_in(run, predictor, target, dataset, split, progress)
    if target.run is not None and output is None:
        write_report(target.run)
    return Evaluated(record["results"], run.stage(verb_of(target, split)))


def verb_of(target: Target, split: str) -> str:
    """Where in a run the evaluation of a model on a split stands."""
    return f"evaluate/{target.model.stem}-{split}"


def settings_of(target: Target, split: str) -> dict[str, Any]:
    """The settings that an evaluation depends on."""
    return {"split": split, "model": target.model.name}


def evaluate_in(
    run: RunDir,
    predictor: Predictor,
    target: Target,
    dataset: Dataset,
    split: str,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate on one split, write its files and its record into ``run``; the record."""
    verb = verb_of(target, split)
    folder = run.stage(verb)
    results = evaluate_split(predictor, target, dataset, split, folder, progress)
    return run.write_record(
        verb,
        inputs=[target.model],
        input_hashes=data_hash(dataset, split),
        outputs=sorted(p for p in folder.iterdir() if p.suffix in (".json", ".csv", ".png")),
        config=settings_of(target, split),
        results=results,
    )


def evaluate_split(
    predictor: Predictor,
    target: Target,
    dataset: Dataset,
    split: str,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Predict one split and write every figure and file about it into ``folder``."""
    chosen = dataset.split(split)
    images = split_images(predictor, target, dataset, split, progress)
    progress.begin(f"predicting {split}", len(chosen))
    probabilities = predictor.predict(images)
    progress.advance(len(chosen))
    results = evaluate(probabilities, chosen.labels, dataset.class_names)
    results |= {"split": split, "model": target.model.name}
    names = [chosen.source.name(i) for i in range(len(chosen))]
    write_artefacts(folder, results, probabilities, chosen.labels, names)
    return results


def split_images(
    predictor: Predictor, target: Target, dataset: Dataset, split: str, progress: Progress
) -> Any:
    """The images of a split as ``predictor`` takes them, uint8 (N, H, W, 3)."""
    height, width = predictor.image_size
    spec = PreprocessSpec(height, width, target.config.model.fit)
    progress.begin(f"reading {split}", len(dataset.split(split)))
    return materialize(dataset.split(split), spec, progress.advance)
