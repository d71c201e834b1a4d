"""The teachers of a training: found, opened, and asked whether they speak of the same classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell.config import Config
from edgecell.data import Dataset
from edgecell.disk import sha256_file
from edgecell.distribution import ONE, Devices
from edgecell.errors import ConfigError, DataError
from edgecell.keras_file import load_keras
from edgecell.pipeline.companions import TEACHER, check_ending, check_record, other_view
from edgecell.pipeline.targets import KERAS_SUFFIXES, Target, resolve
from edgecell.progress import Progress


@dataclass(frozen=True)
class Loaded:
    """A teacher's Keras model, and where it came from for the record."""

    model: Any
    facts: dict[str, Any]


def load_teachers(
    config: Config, dataset: Dataset, progress: Progress, devices: Devices = ONE
) -> list[Loaded]:
    """The models of ``config.teacher.runs``, on all ``devices``.

    Raises:
        ArtifactError: no such run or model. ConfigError: a file that is not a Keras model.
        DataError: it has other classes than ``dataset``, or in another order, or another form of answer.
    """
    from edgecell import anatomy

    loaded = []
    for target in _targets(config):
        check_record(TEACHER, target, dataset)
        with devices.scope():
            model = load_keras(target.model)
        classes = int(model.output_shape[-1])
        if classes != len(dataset.class_names):
            raise DataError(
                f"the teacher {target.model} knows {classes} classes, '{dataset.name}' has"
                f" {len(dataset.class_names)}; give a teacher trained on these classes"
            )
        check_ending(TEACHER, target, anatomy.decides_labels(model), dataset)
        view = other_view(target, config.model)
        if view:
            progress.say(
                f"note: the teacher {target.model} was trained with {view}; it is shown the student's"
                " pixels"
            )
        facts: dict[str, Any] = {"sha256": sha256_file(target.model)}
        if target.run is not None and target.run.has("train"):
            results = target.run.read_record("train")["results"]
            facts |= {"data": results["data"]["name"], "val_accuracy": results["val_accuracy"]}
            facts |= {key: results[key] for key in ("val_auc",) if key in results}
            facts["same_data"] = results["data"]["fingerprint"] == dataset.fingerprint
            if not facts["same_data"]:
                progress.say(
                    f"note: the teacher {target.model} was trained on '{facts['data']}', not on these"
                    " images: if it has seen images of val or test, their figures flatter"
                )
        loaded.append(Loaded(model, facts))
    return loaded


def teacher_files(config: Config) -> list[Path]:
    """The model files of the teachers, as inputs of the record."""
    return [target.model for target in _targets(config)]


def _targets(config: Config) -> list[Target]:
    targets = [resolve(Path(run)) for run in config.teacher.runs]
    for target in targets:
        if target.model.suffix not in KERAS_SUFFIXES and not target.model.is_dir():
            raise ConfigError(
                f"the teacher {target.model} is not a Keras model; give a run folder or its"
                " train/model.keras"
            )
    return targets
