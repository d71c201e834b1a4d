"""``edgecell tune``: many short trainings in search of better settings; the best becomes a recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from edgecell import disk
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import Config
from edgecell.config_file import to_toml
from edgecell.data import Dataset
from edgecell.device import configure
from edgecell.errors import ArtifactError, ConfigError, DivergedError
from edgecell.models.registry import MODELS, architecture_of
from edgecell.models.weights import trained_file
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.study_folder import note_study, refuse_another
from edgecell.pipeline.teaching import load_teachers, teacher_files
from edgecell.pipeline.train_settings import (
    default_name,
    only_alone,
    settings_of,
    settled,
    weights_file,
)
from edgecell.pipeline.training import load_noted, train_run, with_batch_size
from edgecell.pipeline.tuning_output import (
    Judge,
    Plan,
    compared,
    outcome,
    row_of,
    shown,
    write_study,
    write_tables,
)
from edgecell.progress import Prefixed, Progress, Silent
from edgecell.rundir import RunDir
from edgecell.tasks import task_named
from edgecell.train import stages
from edgecell.tuning.search import (
    Attempt,
    Search,
    make_pruner,
    make_sampler,
)
from edgecell.tuning.space import Space, describe, values_in, with_values
from edgecell.tuning.storage import Storage, exclusively
from edgecell.tuning.study import PrunedError

FOLDER = Path("artifacts/tune")
TRIALS = "trials"


def tune_run(
    config: Config, plan: Plan, output: Path | None, progress: Progress
) -> tuple[dict[str, Any], RunDir]:
    """Search in a folder, alone or with other workers, and return record and folder.

    Raises:
        ConfigError: a space or settings that cannot be, or a study with other ones.
        DataError, ArtifactError: from the data, the weights and the storage.
    """
    _check_space(config, plan.space)
    only_alone(config, "a search")
    study = plan.study or default_name(config)
    run = RunDir.at(output or FOLDER / study)
    if run.stage("train").exists():
        raise ConfigError(
            f"{run.path} holds a training; choose a new folder for the search with --output"
        )
    with run.not_left_empty():
        dataset = load_noted(config, progress)
        if config.teacher.runs:  # each trial would refuse it anew
            configure(config.train.seed, config.train.deterministic)
            load_teachers(config, dataset, Silent())
        if "train.batch_size" not in plan.space:
            config = with_batch_size(settled(config, run), dataset, progress)
        if not (run.path / "config.toml").is_file():  # other processes know the folder by it
            disk.atomic_write_text(run.path / "config.toml", to_toml(config))
        storage = Storage(
            plan.storage or f"sqlite:///{run.path.resolve()}/study.db", plan.heartbeat_seconds
        )
        epochs = sum(stage.epochs for stage in stages(config))
        definition = _definition(config, plan, dataset)
        refuse_another(run, TRIALS, study, exists=Search.exists(storage, study))
        search = Search(
            storage,
            study,
            plan.space,
            definition,
            make_sampler(plan.sampler, plan.seed),
            make_pruner(plan.pruner, epochs),
            first=values_in(config, plan.space),
        )
        note_study(run, TRIALS, study, definition)
    disk.atomic_write_text(run.path / "config.toml", to_toml(config))
    judge = Judge(task_named(dataset.task), len(dataset.val))
    worker = _Worker(config, run, dataset, search, judge, progress)
    search.run(worker.train, plan.trials, plan.timeout, progress, after=worker.note_trials)
    with exclusively(run.path / ".tune.lock"):
        run.remove_leftovers("tune")
        record = write_study(config, plan, run, dataset, search, judge, storage.kind, definition)
        write_report(run)
    return record, run


class _Worker:
    """Trains one trial after the other, each in its own folder."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        dataset: Dataset,
        search: Search,
        judge: Judge,
        progress: Progress,
    ) -> None:
        self._config, self._run, self._dataset = config, run, dataset
        self._search, self._judge, self._progress = search, judge, progress

    def train(self, attempt: Attempt) -> float:
        """Train with the attempt's values and return the figure of its best epoch on val.

        Raises:
            PrunedError: given up; the reason is empty where other trials were better.
        """
        name = f"trial {attempt.number}"
        self._progress.say(f"{name}: {shown(attempt.values)}")
        folder = self._folder(attempt.number)
        try:
            config = with_values(self._config, attempt.values)
            architecture_of(config.model)
        except ConfigError as error:
            raise PrunedError(f"not allowed together: {error}") from error
        config = replace(config, name=f"{self._config.name}-trial-{attempt.number}")
        planned = sum(stage.epochs for stage in stages(config))
        state = folder / "train" / "state"
        for number in reversed(attempt.earlier):  # the last one may have died before it took over
            died = RunDir(self._folder(number))
            died.remove_leftovers("train")
            _take_over(died.stage("train") / "state", state)

        def after_epoch(progression: Progression) -> None:
            attempt.note(_facts(progression))
            hopeless = attempt.report(self._judge.figures(progression.history))
            if hopeless and progression.epochs_done < planned:
                raise PrunedError

        keras.backend.clear_session()  # the graphs of the trial before would stay in memory
        try:
            record = train_run(
                config,
                RunDir.at(folder),
                Prefixed(self._progress, name),
                self._dataset,
                after_epoch,
            )
        except PrunedError:
            Checkpoint(state).clear()
            raise
        except DivergedError as error:
            Checkpoint(state).clear()
            raise PrunedError("the loss is no longer finite") from error
        except tf.errors.ResourceExhaustedError as error:
            Checkpoint(state).clear()
            raise PrunedError("out of memory") from error
        figures = self._judge.figures(disk.read_json(folder / "train" / "history.json"))
        attempt.report(figures)  # a trial that was taken up after its last epoch
        results = record["results"]
        attempt.note(
            {
                "val_loss": results["val_loss"]["value"],
                "best_epoch": results["best_epoch"],
                "epochs": results["epochs"],
                "seconds": results["seconds"],
            }
        )
        return figures[results["best_epoch"]]

    def note_trials(self, number: int) -> None:
        """After trial ``number``: its figures into its folder, all trials into the table."""
        trials = self._search.trials()
        mine = next((row_of(t, self._judge) for t in trials if t.number == number), None)
        best = self._search.best()
        if mine is not None:
            disk.atomic_write_json(self._folder(number) / "trial.json", mine)
            self._progress.say(
                f"trial {number}: {outcome(mine, self._judge)}{compared(best, number)}"
            )
        with exclusively(self._run.path / ".tune.lock"):
            write_tables(self._config, self._run, self._search, self._judge)

    def _folder(self, number: int) -> Path:
        return self._run.path / TRIALS / f"{number:04d}"


def _check_space(config: Config, space: Space) -> None:
    """What a space alone cannot know: which networks there are, which weights files, a teacher."""
    found = describe(space)
    of_teacher = [key for key in found if key.startswith("teacher.")]
    if of_teacher and not config.teacher.runs:
        raise ConfigError(
            f"the space searches '{of_teacher[0]}', and there is no teacher, without which it does"
            " nothing; name one with --teacher RUN, or take it out of the space"
        )
    for name in found.get("model.name", {}).get("choices", []):
        if name not in MODELS:
            raise ConfigError(f"unknown model '{name}' in the space; allowed: {', '.join(MODELS)}")
    for weights in found.get("model.weights", {}).get("choices", []):
        if weights in ("imagenet", "none"):
            continue
        file = trained_file(weights) or Path(weights)
        if not file.is_file():
            raise ArtifactError(f"no weights file at {file}, which the space names")


def _definition(config: Config, plan: Plan, dataset: Dataset) -> dict[str, Any]:
    """What the trials of a study have in common, as JSON; no path, so that machines may differ."""
    settings = settings_of(config)
    del settings["data"]
    for path in weights_file(config):
        settings["model"]["weights"] = disk.sha256_file(path)
    settings["teacher"]["runs"] = [disk.sha256_file(path) for path in teacher_files(config)]
    for key in plan.space:
        table, _, name = key.partition(".")
        del settings[table][name]
    definition = {
        "space": describe(plan.space),
        "recipe": settings,
        "images": dataset.fingerprint,
        "sampler": [plan.sampler, plan.seed],
        "pruner": plan.pruner,
    }
    parsed: dict[str, Any] = json.loads(json.dumps(definition))
    return parsed


def _take_over(old: Path, new: Path) -> None:
    """Go on with the state of an attempt that died; without one the training starts anew."""
    if old.is_dir() and not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        old.replace(new)


def _facts(progression: Progression) -> dict[str, Any]:
    return {
        "val_loss": progression.best_loss,
        "best_epoch": progression.best_epoch,
        "epochs": progression.epochs_done,
        "seconds": round(sum(entry["seconds"] for entry in progression.history), 1),
    }
