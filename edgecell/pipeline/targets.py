"""What a verb is pointed at: a run folder, a Keras model, or a .tflite file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell.config import Config, DataConfig
from edgecell.config_file import load_config
from edgecell.data import Dataset, Split, load_dataset
from edgecell.disk import sha256_bytes
from edgecell.errors import ArtifactError, ConfigError, DataError, NoDataError
from edgecell.naming import listed
from edgecell.pipeline.lookup import judged_in
from edgecell.pipeline.vouching import admit, find_run
from edgecell.record import of_our_form
from edgecell.rundir import RunDir, runs_below
from edgecell.tasks import check_form, task_named, task_of_record

Adjust = Callable[[Config], Config]
"""What the command line does to a target's configuration: its flags."""

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Target:
    """A model and, where it belongs to a run, that run and its configuration."""

    model: Path
    run: RunDir | None
    config: Config

    @property
    def name(self) -> str:
        """A short name for files made from this target."""
        return self.config.name if self.run else self.model.stem

    @property
    def judged(self) -> RunDir | None:
        """Where verdicts on it are: its run, else the folder that ``quantize --output`` wrote it into."""
        return judged_in(self.model, self.run)


def where_to_write(target: Target, output: Path | None) -> RunDir:
    """The run that a verb writes into: ``output`` where it is given, else the target's own.

    Raises:
        ConfigError: a target without a run and no ``output``. ArtifactError: not writable.
    """
    if output is not None:
        return RunDir.at(output)
    if target.run is None:
        raise ConfigError(f"{target.model} belongs to no run; say where to write with --output DIR")
    return target.run


def resolve(path: Path, *, base: Config | None = None) -> Target:
    """Find the model behind ``path``; ``base`` is the configuration of a model without a run.

    Raises:
        ArtifactError: nothing there, nothing that is a model, or one that :func:`admit` refuses.
    """
    if path.is_dir() and (path / "config.toml").is_file():
        run = RunDir.open(path)
        model = run.stage("train") / "model.keras"
        if not model.is_file():
            raise ArtifactError(f"{path} has no trained model yet; run 'edgecell train' first")
        admit(model, run)
        return Target(model, run, load_config(path / "config.toml"))
    if not path.exists():
        raise ArtifactError(f"no run folder or model at {path}; give a run, .keras, .h5 or .tflite")
    is_saved_model = path.is_dir() and (path / "saved_model.pb").is_file()
    if not is_saved_model and path.suffix.lower() not in (*KERAS_SUFFIXES, ".tflite"):
        allowed = "allowed: a run folder, .keras, .h5, a SavedModel folder, .tflite"
        advice = runs_below(path) if path.is_dir() else ""
        raise ArtifactError(f"{path} is neither a run folder nor a model; {advice or allowed}")
    found = find_run(path)
    admit(path, found)
    config = load_config(found.path / "config.toml") if found else (base or Config(name=path.stem))
    return Target(path, found, config)


def load_data(target: Target, override: DataConfig | None, *, progress: bool) -> Dataset:
    """The data set that the user named, else the one the target's run was trained on.

    Raises:
        ConfigError: no run to take it from and none named.
        DataError: the run's data set has changed since it was trained; one with other classes.
    """
    if override is not None:
        dataset = load_dataset(override, progress=progress)
        check_trained_task(target, dataset)
        check_names(target, dataset)
        return dataset
    if target.run is None:
        raise ConfigError(f"{target.model} belongs to no run; name the images with --data")
    source = target.config.data.source
    try:
        dataset = load_dataset(target.config.data, progress=progress)
    except NoDataError as error:
        raise NoDataError(
            f"the images that {target.run.path} was trained on are not at '{source}' as seen from here:"
            " call edgecell from the folder it was trained from, or name the images with --data"
        ) from error
    if target.run.has("train"):
        record = target.run.read_record("train")
        with of_our_form(f"{target.run.path}: the record of train"):
            trained_on = str(record["results"]["data"]["fingerprint"])
        if trained_on != dataset.fingerprint:
            raise DataError(
                f"'{target.config.data.source}' is not the data set of the run any more: its"
                f" fingerprint is {dataset.fingerprint[:12]}…, recorded {trained_on[:12]}…;"
                " name the images with --data"
            )
    return dataset


def data_hash(dataset: Dataset, split: str) -> dict[str, str]:
    """How a record names the images it read."""
    return {f"data:{dataset.name}:{split}": dataset.fingerprint}


def images_id(dataset: Dataset, split: str) -> str:
    """Equal for two measurements only where both saw the same images in the same order: a sha256.

    Beside the content: what shares it out into splits, or cuts it short, and the labels themselves.
    """
    chosen, origin = dataset.split(split), dataset.origin
    choices = [origin.get(key) for key in ("limit", "seed", "val_fraction", "test_fraction")]
    facts = json.dumps([dataset.fingerprint, split, len(chosen), choices])
    return sha256_bytes(facts.encode() + np.ascontiguousarray(chosen.labels, np.int64).tobytes())


def groups_known(split: Split) -> dict[str, int]:
    """How many groups the images of a split are of, as a record says it; {} where that is not known."""
    count = split.group_count
    return {} if count is None else {"groups": count}


def check_classes(target: Target, found: int, dataset: Dataset) -> None:
    """Refuse a data set whose number of classes is not the model's."""
    if found != len(dataset.class_names):
        raise DataError(
            f"{target.model.name} has {found} classes, the data set '{dataset.name}' has"
            f" {len(dataset.class_names)}; name the data set it was trained on with --data"
        )


def check_task(target: Target, decides_labels: bool, dataset: Dataset) -> None:
    """Refuse a data set whose answers are not of the model's form.

    ``decides_labels``: whether the model ends in a sigmoid, see :func:`edgecell.anatomy.decides_labels`.
    """
    check_form(
        target.model.name,
        decides_labels,
        several=task_named(dataset.task).multi_label,
        count=len(dataset.class_names),
        images=f"'{dataset.name}'",
    )


def check_trained_task(target: Target, dataset: Dataset) -> None:
    """:func:`check_task` by what the record says that the run's model was trained for."""
    if target.run is not None and target.run.has("train"):
        results = target.run.read_record("train")["results"]
        check_task(target, task_of_record(results.get("data", {})).multi_label, dataset)


def check_names(target: Target, dataset: Dataset) -> None:
    """Refuse a data set whose classes are as many as those of the run, but others or in another order.

    Classes that are numbers only have no names that could differ.
    """
    known, given = trained_names(target), dataset.class_names
    strange = strangers(known, given)
    if strange is None:
        return
    if not strange:
        raise DataError(
            f"'{dataset.name}' has the run's classes in another order ({listed(given)}), so its labels"
            f" mean others; put them in the run's with --class-names '{','.join(known)}'"
        )
    raise DataError(
        f"'{dataset.name}' is another data set: {len(strange)} of its {len(given)} classes"
        f" ({listed(strange)}) are none of the run's ({listed(known)}); name the data set it was"
        " trained on with --data, or give the classes their names in the run if they are the same"
    )


def trained_names(target: Target) -> tuple[str, ...]:
    """The classes that the run of ``target`` was trained on, in their order; none without a run."""
    if target.run is None or not target.run.has("train"):
        return ()
    return tuple(target.run.read_record("train")["results"]["class_names"])


def strangers(known: Sequence[str], given: Sequence[str]) -> list[str] | None:
    """Those of the ``given`` classes that are none of ``known``: empty where only the order differs.

    None where they are the same, and where nothing can be said: another number, or numbers for names.
    """
    ours, theirs = ([name.casefold() for name in names] for names in (known, given))
    numbers = [str(number) for number in range(len(ours))]
    if len(ours) != len(theirs) or ours == theirs or numbers in (ours, theirs):
        return None
    return [name for name, folded in zip(given, theirs, strict=True) if folded not in ours]


def drawn(count: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Positions of ``wanted`` of ``count`` images in order, at random where not all; 0 means all."""
    if wanted == 0 or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))
