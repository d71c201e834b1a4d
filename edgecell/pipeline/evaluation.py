"""``edgecell evaluate``: a model's quality on val, or on test when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell import former
from edgecell.averaged import AveragedPredictor
from edgecell.config import DataConfig
from edgecell.data import Dataset, materialize
from edgecell.data.catalog import catalog
from edgecell.data.duplicates import refuse_overlap
from edgecell.disk import atomic_write_text
from edgecell.evaluate import evaluate, write_artefacts
from edgecell.examples import examples
from edgecell.lock import claimed
from edgecell.pipeline.companions import check_member
from edgecell.pipeline.last_layer import check_last_layer
from edgecell.pipeline.plausible import doubts
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import (
    Target,
    check_classes,
    data_hash,
    groups_known,
    images_id,
    load_data,
    resolve,
    where_to_write,
)
from edgecell.predictions import Predictions, medmnist_file_name, medmnist_scores
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.report.excel import write_evaluation
from edgecell.rundir import RunDir
from edgecell.runtime import Predictor, load_predictor
from edgecell.tasks import task_named

EXPORTED = ("*_[[]AUC[]]*.csv", "evaluation.xlsx")


@dataclass(frozen=True)
class Exports:
    """Files for other programs: MedMNIST's official CSV, an Excel workbook."""

    medmnist_csv: bool = False
    workbook: bool = False


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
    exports: Exports = Exports(),
    tta: bool = False,
    others: Sequence[Path] = (),
) -> Evaluated:
    """Evaluate a run's Keras model, a Keras file or a .tflite file on one split.

    ``exports`` adds files for other programs; ``tta`` averages over the eight views of
    each image, ``others`` are further models whose answers are averaged with this one's.

    Raises:
        ConfigError: no data set named for a model without a run.
        DataError, ArtifactError: images or model that cannot be used.
    """
    target = resolve(path)
    team = Team(tta, tuple(resolve(other) for other in others))
    read = ReadFiles([target.model, *team.models])
    members = [load_predictor(model, threads=threads) for model in (target.model, *team.models)]
    predictor: Predictor = AveragedPredictor(members, tta=tta) if team else members[0]
    dataset = load_data(target, data, progress=True)
    check_classes(target, predictor.class_count, dataset)
    check_last_layer(target, members[0], dataset)
    for other, member in zip(team.others, members[1:], strict=True):
        check_member(target, other, member, dataset)
    refuse_overlap(dataset, split)
    run = where_to_write(target, output)
    record = evaluate_in(run, read, predictor, target, dataset, split, progress, exports, team)
    if target.run is not None and output is None:
        write_report(target.run)
    return Evaluated(record["results"], run.stage(verb_of(target, split, team)))


@dataclass(frozen=True)
class Team:
    """What is averaged beyond one model's answer to one view; false where nothing is."""

    tta: bool = False
    others: tuple[Target, ...] = ()

    def __bool__(self) -> bool:
        return self.tta or bool(self.others)

    @property
    def models(self) -> list[Path]:
        """The model files of the others."""
        return [other.model for other in self.others]

    @property
    def suffix(self) -> str:
        """How it shows in the name of a folder."""
        return (f"+{len(self.others)}" if self.others else "") + ("-tta" if self.tta else "")


ALONE = Team()


def verb_of(target: Target, split: str, team: Team = ALONE) -> str:
    """Where in a run the evaluation of a model on a split stands."""
    return f"evaluate/{target.model.stem}{team.suffix}-{split}"


def settings_of(target: Target, split: str, team: Team = ALONE) -> dict[str, Any]:
    """The settings that an evaluation depends on."""
    settings: dict[str, Any] = {"split": split, "model": target.model.name}
    return settings | ({"tta": team.tta, "ensemble": 1 + len(team.others)} if team else {})


def evaluate_in(
    run: RunDir,
    read: ReadFiles,
    predictor: Predictor,
    target: Target,
    dataset: Dataset,
    split: str,
    progress: Progress,
    exports: Exports = Exports(),
    team: Team = ALONE,
) -> dict[str, Any]:
    """Evaluate on one split, write its files and its record into ``run``; the record.

    ``read`` are the model files as they were before ``predictor`` was made of them.

    Raises:
        BusyError: another process evaluates the same there. ArtifactError: a file was replaced meanwhile.
    """
    verb = verb_of(target, split, team)
    with claimed(run.path, verb):
        folder = run.stage(verb)
        results, predictions, written = evaluate_split(
            predictor, target, dataset, split, folder, progress
        )
        for pattern in EXPORTED:
            for old in folder.glob(pattern):
                former.keep(old)
                old.unlink()
        if exports.medmnist_csv:
            written.append(write_medmnist(folder, dataset, split, predictions, target))
        if exports.workbook:
            settings = settings_of(target, split)
            written.append(
                write_evaluation(folder / "evaluation.xlsx", results, target.run, settings)
            )
        read.require_same("evaluate")
        return run.write_record(
            verb,
            inputs=[target.model, *team.models],
            input_hashes=data_hash(dataset, split),
            outputs=sorted(written),
            config=settings_of(target, split, team),
            results=results,
        )


def evaluate_split(
    predictor: Predictor,
    target: Target,
    dataset: Dataset,
    split: str,
    folder: Path,
    progress: Progress,
) -> tuple[dict[str, Any], Predictions, list[Path]]:
    """Predict one split, write every figure and file about it into ``folder``; what was written last."""
    chosen = dataset.split(split)
    images = split_images(predictor, target, dataset, split, progress)
    progress.begin(f"predicting {split}", len(chosen))
    probabilities = predictor.predict(images)
    progress.advance(len(chosen))
    names = [chosen.source.name(i) for i in range(len(chosen))]
    predictions = Predictions(dataset.class_names, names, chosen.labels, probabilities)
    ordinal = task_named(dataset.task).ordinal
    results = evaluate(probabilities, chosen.labels, dataset.class_names, ordinal=ordinal)
    results |= {"split": split, "model": predictor.name, "examples": examples(predictions)}
    results["images"] = images_id(dataset, split)
    results |= groups_known(chosen)
    results["notes"] = [*doubts(target.run, dataset, split, images, progress), *results["notes"]]
    return results, predictions, write_artefacts(folder, results, predictions, images)


def write_medmnist(
    folder: Path, dataset: Dataset, split: str, predictions: Predictions, target: Target
) -> Path:
    """Write a file that ``medmnist.evaluator.Evaluator.parse_and_evaluate`` reads; its path."""
    auc, accuracy = medmnist_scores(predictions, task_named(dataset.task))
    flag, size = _official_name(dataset)
    named = target.name if target.model.stem == "model" else target.model.stem
    path = folder / medmnist_file_name(flag, size, split, auc, accuracy, named)
    atomic_write_text(path, predictions.to_medmnist())
    return path


def _official_name(dataset: Dataset) -> tuple[str, int]:
    """MedMNIST's flag and size of a data set; of one that is not theirs its own name, without a size."""
    if dataset.origin["kind"] == "medmnist":
        return dataset.name, dataset.origin["size"]
    flag, _, size = dataset.name.partition("_")
    if size in ("64", "128", "224") and flag in catalog():
        return flag, int(size)
    return dataset.name, 28


def split_images(
    predictor: Predictor, target: Target, dataset: Dataset, split: str, progress: Progress
) -> Any:
    """The images of a split as ``predictor`` takes them, uint8 (N, H, W, 3)."""
    height, width = predictor.image_size
    spec = PreprocessSpec.of(target.config.model, height, width)
    progress.begin(f"reading {split}", len(dataset.split(split)))
    return materialize(dataset.split(split), spec, progress.advance)
