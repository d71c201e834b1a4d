"""``edgecell tune``: many short trainings in search of better settings; the best becomes a recipe."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras
from optuna.trial import FrozenTrial, TrialState

from edgecell import disk, plots
from edgecell.checkpoint import Checkpoint, Progression
from edgecell.config import Config
from edgecell.config_file import to_toml
from edgecell.data import Dataset
from edgecell.device import configure
from edgecell.errors import ArtifactError, ConfigError, DivergedError
from edgecell.metrics import wilson_interval
from edgecell.models.registry import MODELS, architecture_of
from edgecell.models.weights import trained_file
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.teaching import load_teachers, teacher_files
from edgecell.pipeline.training import (
    default_name,
    load_noted,
    only_alone,
    settings_of,
    settled,
    train_run,
    weights_file,
    with_batch_size,
)
from edgecell.progress import Prefixed, Progress, Silent
from edgecell.record import Measurement
from edgecell.rundir import RunDir
from edgecell.tasks import Task, task_named
from edgecell.train import stages
from edgecell.tuning.search import (
    Attempt,
    PrunerName,
    SamplerName,
    Search,
    make_pruner,
    make_sampler,
    values_of,
)
from edgecell.tuning.space import Space, Value, describe, values_in, with_values
from edgecell.tuning.storage import Storage, exclusively, retried_from
from edgecell.tuning.study import PrunedError

FOLDER = Path("artifacts/tune")

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "given up",
    TrialState.FAIL: "broken off",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}


@dataclass(frozen=True)
class Plan:
    """How to search; ``storage`` and ``study`` have defaults that follow from the folder."""

    space: Space
    trials: int = 20
    timeout: float | None = None
    storage: str | None = None
    study: str | None = None
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "median"
    seed: int = 0
    heartbeat_seconds: int = 20


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
        trials = run.path / "trials"
        if trials.is_dir() and any(trials.iterdir()) and not Search.exists(storage, study):
            raise ConfigError(
                f"{run.path} holds trials of another study; choose a new folder with --output"
            )
        search = Search(
            storage,
            study,
            plan.space,
            definition,
            make_sampler(plan.sampler, plan.seed),
            make_pruner(plan.pruner, epochs),
            first=values_in(config, plan.space),
        )
    disk.atomic_write_text(run.path / "config.toml", to_toml(config))
    judge = _Judge(task_named(dataset.task), len(dataset.val))
    worker = _Worker(config, run, dataset, search, judge, progress)
    search.run(worker.train, plan.trials, plan.timeout, progress, after=worker.note_trials)
    with exclusively(run.path / ".tune.lock"):
        run.remove_leftovers("tune")
        record = _write(config, plan, run, dataset, search, judge, storage.kind, definition)
        write_report(run)
    return record, run


@dataclass(frozen=True)
class _Judge:
    """How a trial's figure on val is read: the task's own, on so many images."""

    task: Task
    images: int

    def figures(self, history: Iterable[dict[str, Any]]) -> dict[int, float]:
        """Epoch → figure."""
        return {entry["epoch"]: entry[f"val_{self.task.metric}"] for entry in history}

    def measurement(self, value: float) -> Measurement:
        """With its interval where it is a proportion of images."""
        interval = None
        if self.task.metric == "accuracy" and not self.task.multi_label:
            interval = wilson_interval(round(value * self.images), self.images)
        low, high = interval if interval is not None else (None, None)
        return Measurement(value, "fraction", n=self.images, low=low, high=high)


class _Worker:
    """Trains one trial after the other, each in its own folder."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        dataset: Dataset,
        search: Search,
        judge: _Judge,
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
        self._progress.say(f"{name}: {_shown(attempt.values)}")
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
        mine = next((_row(t, self._judge) for t in trials if t.number == number), None)
        best = self._search.best()
        if mine is not None:
            disk.atomic_write_json(self._folder(number) / "trial.json", mine)
            self._progress.say(
                f"trial {number}: {_outcome(mine, self._judge)}{_compared(best, number)}"
            )
        with exclusively(self._run.path / ".tune.lock"):
            _write_tables(self._config, self._run, self._search, self._judge)

    def _folder(self, number: int) -> Path:
        return self._run.path / "trials" / f"{number:04d}"


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


def _row(trial: FrozenTrial, judge: _Judge) -> dict[str, Any]:
    """A trial as JSON; the figure of one given up is its best until then."""
    facts = trial.user_attrs
    value = trial.value
    if trial.state != TrialState.COMPLETE:
        value = max(trial.intermediate_values.values(), default=None)
    if value is None:
        reason = facts.get("reason") or "no epoch was finished"
        score = Measurement.missing("fraction", reason)
    else:
        score = judge.measurement(value)
    row: dict[str, Any] = {
        "number": trial.number,
        "state": _STATES[trial.state],
        "score": score.to_json(),
        "values": values_of(trial),
        "epochs": {str(epoch): figure for epoch, figure in trial.intermediate_values.items()},
    }
    for key in ("val_loss", "best_epoch", "seconds", "reason"):
        if key in facts:
            row[key] = facts[key]
    earlier = retried_from(trial)
    return row if earlier is None else row | {"another_attempt_at": earlier}


def _write_tables(config: Config, run: RunDir, search: Search, judge: _Judge) -> list[Path]:
    """``trials.json``, ``trials.csv`` and, once a trial has finished, ``best.toml``."""
    folder = run.stage("tune")
    rows = [_row(trial, judge) for trial in search.trials()]
    disk.atomic_write_json(folder / "trials.json", {"study": search.name, "trials": rows})
    disk.atomic_write_text(folder / "trials.csv", _csv(rows, list(search.space), judge))
    written = [folder / "trials.json", folder / "trials.csv"]
    best = search.best()
    if best is not None:
        disk.atomic_write_text(folder / "best.toml", _recipe(config, search, best, judge))
        written.append(folder / "best.toml")
    return written


def _csv(rows: list[dict[str, Any]], keys: list[str], judge: _Judge) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    figures = ["val_loss", "best_epoch", "seconds"]
    writer.writerow(["trial", "state", f"val_{judge.task.metric}", *figures, *keys, "reason"])
    for row in rows:
        head = [row["number"], row["state"], row["score"].get("value", "")]
        settings = [row["values"].get(key, "") for key in keys]
        writer.writerow(
            [*head, *(row.get(key, "") for key in figures), *settings, row.get("reason", "")]
        )
    return out.getvalue()


def _recipe(config: Config, search: Search, best: FrozenTrial, judge: _Judge) -> str:
    """The best trial as a recipe, its figure in the header."""
    assert best.value is not None
    found = judge.measurement(best.value)
    interval = "" if found.low is None else f" [{found.low:.4f}, {found.high:.4f}]"
    tried = sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in search.trials())
    tuned = replace(
        with_values(config, values_of(best)),
        name=f"{config.name}-tuned",
        expected={f"val_{judge.task.metric}": best.value},
    )
    return (
        f"# Found by 'edgecell tune': trial {best.number}, the best of {tried} on val.\n"
        f"# Expected: val {judge.task.metric_name} {best.value:.4f}{interval} (n = {found.n:,}, seed"
        f" {config.train.seed}); the best of many tries is an optimistic figure.\n" + to_toml(tuned)
    )


def _write(
    config: Config,
    plan: Plan,
    run: RunDir,
    dataset: Dataset,
    search: Search,
    judge: _Judge,
    kind: str,
    definition: dict[str, Any],
) -> dict[str, Any]:
    """Tables, pictures and the record of the study as it stands."""
    written = _write_tables(config, run, search, judge)
    folder = run.stage("tune")
    rows = [_row(trial, judge) for trial in search.trials()]
    best = search.best()
    importances = search.importances(plan.seed)
    finished = [row for row in rows if row["state"] == "finished"]
    space, name = describe(plan.space), f"val {judge.task.metric_name}"
    figures = {}
    if any("value" in row["score"] for row in rows):
        figures["history"] = plots.tuning_history(rows, name)
        figures["epochs"] = plots.tuning_epochs(rows, name, best=best.number if best else None)
    if best is not None:
        figures["slice"] = plots.tuning_slices(rows, space, name, best=best.number)
        if len(finished) > 1 and len(space) > 1:
            figures["parallel"] = plots.tuning_parallel(rows, space, name, best=best.number)
    if isinstance(importances, dict):
        figures["importance"] = plots.tuning_importance(importances, name)
    pictures = [plots.save(figure, folder / f"{name}.png") for name, figure in figures.items()]
    results: dict[str, Any] = {
        "study": search.name,
        "storage": kind,
        "asked_for": plan.trials,
        "counts": _counts(rows),
        "metric": judge.task.metric_name,
        "val_images": judge.images,
        "best": None if best is None else _row(best, judge),
        "first_is_the_recipe": values_in(config, plan.space) is not None,
        "importance": importances,
        "trials": rows,
        "seconds": round(sum(row.get("seconds", 0.0) for row in rows), 1),
    }
    return run.write_record(
        "tune",
        inputs=weights_file(config) + teacher_files(config),
        input_hashes={f"data:{dataset.name}:{s}": dataset.fingerprint for s in ("train", "val")},
        outputs=[*written, *pictures],
        config=definition,
        results=results,
    )


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    states = [row["state"] for row in rows]
    return {state: states.count(state) for state in dict.fromkeys(_STATES.values())}


def _shown(values: dict[str, Value]) -> str:
    return ", ".join(
        f"{key.partition('.')[2]} {value:.4g}"
        if isinstance(value, float)
        else f"{key.partition('.')[2]} {value}"
        for key, value in values.items()
    )


def _outcome(row: dict[str, Any], judge: _Judge) -> str:
    score = row["score"]
    if "value" not in score:
        return f"{row['state']}, {score['reason']}"
    reason = f", {row['reason']}" if "reason" in row else ""
    return f"{row['state']}, val {judge.task.metric_name} {score['value']:.4f}{reason}"


def _compared(best: FrozenTrial | None, number: int) -> str:
    if best is None:
        return ""
    return ", the best so far" if best.number == number else f" (best {best.value:.4f})"
