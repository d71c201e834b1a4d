"""``edgecell train``: images → RUN/train/model.keras with history, curves and record."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgecell import disk, former, plots
from edgecell.checkpoint import Checkpoint
from edgecell.config import Config
from edgecell.config_file import load_config, to_toml
from edgecell.data import Dataset, load_dataset
from edgecell.data.duplicates import refuse_overlap
from edgecell.device import configure
from edgecell.distribution import Devices, Place, place_of, start
from edgecell.errors import ArtifactError, ConfigError
from edgecell.lock import claimed
from edgecell.models.registry import architecture_of
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.teaching import Loaded, load_teachers, teacher_files
from edgecell.pipeline.train_settings import (
    RATES,
    first_difference,
    rates_of,
    settings_of,
    settled,
    weights_file,
)
from edgecell.pipeline.vouching import admit_weights
from edgecell.progress import Progress
from edgecell.record import Measurement
from edgecell.rundir import RunDir
from edgecell.tasks import task_named
from edgecell.train import AfterEpoch, Trained, assist, state_key, train

RUNS = Path("artifacts/runs")
FIGURES = {"auc": "fraction", "accuracy": "fraction", "kappa": "1", "loss": "nat"}
"""What a record says of val in the epoch that was kept, where the task has it; with its unit."""


def start_run(config: Config, output: Path | None) -> RunDir:
    """The run folder for a new training: ``output``, or a new one under ``artifacts/runs``.

    Raises:
        ConfigError: ``output`` is a run with another configuration, finished or stopped, or no run at
            all; a model that is unknown or does not take its settings.
    """
    architecture_of(config.model)
    if output is None:
        return RunDir.create(config.name, RUNS)
    run = RunDir.at(output)
    existing = run.path / "config.toml"
    stopped = Checkpoint(_state(run)).is_there()
    if not existing.is_file() or not (run.has("train") or stopped):
        return run
    old, new = load_config(existing), settled(config, run)
    if run.has("train") and settings_of(old) != settings_of(new):
        raise ConfigError(
            f"{output} holds a run with other settings; choose a new folder with --output"
        )
    other = first_difference(old, new)
    if stopped and other:
        raise ConfigError(
            f"{output} holds a stopped training with other settings ({other}); go on with it by"
            f" 'edgecell train --resume {output}', or choose a new folder with --output"
        )
    return run


def train_run(
    config: Config,
    run: RunDir,
    progress: Progress,
    dataset: Dataset | None = None,
    after_epoch: AfterEpoch | None = None,
    before: Config | None = None,
) -> dict[str, Any]:
    """Train in ``run`` and return the record; a killed training in it goes on where it stopped.

    A finished training with the same settings on the same images is left as it is. ``before`` is the
    configuration that the saved state is of, where ``config`` has other learning rates.
    Of several workers this is the chief's part; the others call :func:`assist_run`.

    Raises:
        ArtifactError: a saved state of other settings or images, or none to go on from with other rates.
    """
    with run.not_left_empty():
        if dataset is None:
            dataset = load_noted(config, progress)
        with claimed(run.path, "train"):
            return _train(config, run, progress, dataset, after_epoch, before)


def _train(
    config: Config,
    run: RunDir,
    progress: Progress,
    dataset: Dataset,
    after_epoch: AfterEpoch | None,
    before: Config | None,
) -> dict[str, Any]:
    admit_weights(weights_file(config))
    config = with_batch_size(settled(config, run), dataset, progress)
    run.remove_leftovers("train")
    state = Checkpoint(_state(run))
    if _is_finished(config, run, dataset):
        _write_config(config, run)
        progress.say("train: unchanged, skipped")
        state.clear()
        write_report(run)
        return run.read_record("train")
    devices = start_devices(config, progress)
    teachers = load_teachers(config, dataset, progress, devices)
    models = [teacher.model for teacher in teachers]
    # The state is asked before config.toml changes: refused, it can still be resumed by what stands
    # there, and killed after its adoption the same command finds it its own.
    if before is not None and rates_of(before) != rates_of(config):
        _adopt(state, settled(before, run), config, dataset, models)
    state.load(state_key(config, dataset, models))
    _write_config(config, run)
    trained = train(config, dataset, state.folder, progress, after_epoch, models, devices)
    record = _write(config, run, dataset, trained, teachers)
    state.clear()
    write_report(run)
    return record


def worker_place(config: Config, output: Path | None) -> Place:
    """Which worker this process is in the training that ``output`` is for.

    Raises:
        ConfigError: as :func:`edgecell.distribution.place_of`; several workers without a common folder.
    """
    place = place_of(config.train.strategy)
    if place.workers > 1 and output is None:
        raise ConfigError(
            f"{place.workers} workers train one run; say where with the same --output on each of them"
        )
    return place


def assist_run(config: Config, run: RunDir, progress: Progress) -> None:
    """Compute as a worker that is not the chief, which trains in ``run``; writes nothing.

    Raises:
        as :func:`train_run`, and WorkerError where another worker is gone.
    """
    dataset = load_noted(config, progress)
    if _is_finished(config, run, dataset):
        progress.say("train: unchanged, skipped")
        return
    devices = start_devices(config, progress)
    teachers = load_teachers(config, dataset, progress, devices)
    models = [teacher.model for teacher in teachers]
    assist(config, dataset, _state(run), progress, models, devices)


def start_devices(config: Config, progress: Progress) -> Devices:
    """What the training runs on, before TensorFlow has computed anything; waits for other workers.

    Raises:
        as :func:`edgecell.distribution.start`.
    """
    place = place_of(config.train.strategy)
    if place.workers > 1:
        progress.say(f"worker {place.worker} of {place.workers}: waiting for the others")
    configure(config.train.seed, config.train.deterministic)
    devices = start(config.train.strategy)
    if devices.strategy is not None and devices.count == 1:
        progress.say("note: there is one device here, so nothing is shared")
    elif devices.strategy is not None:
        size = config.train.batch_size
        each = f"{size // devices.count} images of each batch of {size}"
        progress.say(f"{devices.count} devices, {each} to one; BatchNorm sees these alone")
    return devices


def with_batch_size(config: Config, dataset: Dataset, progress: Progress) -> Config:
    """``config`` with the batch size that "auto" turns out to be on this machine."""
    if config.train.batch_size:
        return config
    from edgecell import autobatch

    # Measured as it will be trained: on a GPU in mixed precision, its memory taken as needed.
    configure(config.train.seed, config.train.deterministic)
    size = autobatch.choose(config, len(dataset.class_names), len(dataset.train), progress)
    return replace(config, train=replace(config.train, batch_size=size))


def load_noted(config: Config, progress: Progress) -> Dataset:
    """Load the configured data set and show its notes (splits that were made, duplicates).

    Raises:
        DataError: as ``load_dataset``; a val or test that is train for the most part.
    """
    dataset = load_dataset(config.data, progress=True)
    for split in ("val", "test"):
        refuse_overlap(dataset, split)
    for note in dataset.notes:
        progress.say(f"note: {note}")
    return dataset


def _adopt(
    state: Checkpoint, before: Config, config: Config, dataset: Dataset, teachers: list[Any]
) -> None:
    was, now = rates_of(before), rates_of(config)
    change = {key: [was[key], now[key]] for key in RATES if was[key] != now[key]}
    old, new = (state_key(each, dataset, teachers) for each in (before, config))
    state.adopt(old, new, change)


def resume_config(path: Path) -> tuple[Config, RunDir]:
    """The configuration and folder of a run to go on with.

    Raises:
        ArtifactError: no run there.
    """
    run = RunDir.open(path)
    return load_config(run.path / "config.toml"), run


def _write(
    config: Config, run: RunDir, dataset: Dataset, trained: Trained, teachers: list[Loaded]
) -> dict[str, Any]:
    folder = run.stage("train")
    model_path = folder / "model.keras"
    save_keras(trained.model, model_path)
    history = trained.progression.history
    disk.atomic_write_json(folder / "history.json", history)
    task = task_named(dataset.task)
    curves = plots.save(
        plots.learning_curves(
            history, best_epoch=trained.progression.best_epoch, metric=task.metric
        ),
        folder / "curves.png",
    )
    best = history[trained.progression.best_epoch - 1]
    results = {
        **{
            f"val_{name}": Measurement(best[f"val_{name}"], unit, n=len(dataset.val)).to_json()
            for name, unit in FIGURES.items()
            if name in task.figure_names
        },
        "best_epoch": trained.progression.best_epoch,
        "epochs": len(history),
        "changes": trained.progression.changes,
        "seconds": round(sum(entry["seconds"] for entry in history), 1),
        "class_names": list(dataset.class_names),
        "data": dataset.origin
        | {"name": dataset.name, "task": dataset.task, "notes": list(dataset.notes)},
        "images": {split: len(dataset.split(split)) for split in ("train", "val", "test")},
        "teachers": [teacher.facts for teacher in teachers],
        **trained.facts,
    }
    return run.write_record(
        "train",
        inputs=weights_file(config) + teacher_files(config),
        input_hashes={f"data:{dataset.name}": dataset.fingerprint},
        outputs=[model_path, folder / "history.json", curves],
        config=settings_of(config),
        results=results,
    )


def save_keras(model: Any, path: Path) -> None:
    """Save a Keras model so that ``path`` never holds half of one.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=".saving-", suffix=disk.TEMPORARY
        ) as scratch:
            temporary = Path(scratch) / path.name
            model.save(temporary)
            former.keep(path)
            temporary.replace(path)
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror or error}") from error


def _is_finished(config: Config, run: RunDir, dataset: Dataset) -> bool:
    try:
        return run.is_current(
            "train",
            inputs=weights_file(config) + teacher_files(config),
            input_hashes={f"data:{dataset.name}": dataset.fingerprint},
            config=settings_of(config),
        )
    except ArtifactError:
        return False  # a damaged record: its own message says to train again


def _state(run: RunDir) -> Path:
    return run.stage("train") / "state"


def _write_config(config: Config, run: RunDir) -> None:
    disk.atomic_write_text(run.path / "config.toml", to_toml(config))
