"""What ``edgecell tune`` writes of a study: tables, the best trial as a recipe, pictures, the record."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from edgecell import disk, plots
from edgecell.config import Config
from edgecell.config_file import to_toml
from edgecell.csv_cells import text_cell
from edgecell.data import Dataset
from edgecell.metrics import wilson_interval
from edgecell.pipeline.teaching import teacher_files
from edgecell.pipeline.train_settings import weights_file
from edgecell.record import Measurement
from edgecell.rundir import RunDir
from edgecell.tasks import Task
from edgecell.tuning.search import PrunerName, SamplerName, Search, values_of
from edgecell.tuning.space import Space, Value, describe, values_in, with_values
from edgecell.tuning.storage import retried_from


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


_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "given up",
    TrialState.FAIL: "broken off",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}


@dataclass(frozen=True)
class Judge:
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
        return Measurement.within(value, "fraction", self.images, interval)


def row_of(trial: FrozenTrial, judge: Judge) -> dict[str, Any]:
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


def write_tables(config: Config, run: RunDir, search: Search, judge: Judge) -> list[Path]:
    """``trials.json``, ``trials.csv`` and, once a trial has finished, ``best.toml``."""
    folder = run.stage("tune")
    rows = [row_of(trial, judge) for trial in search.trials()]
    disk.atomic_write_json(folder / "trials.json", {"study": search.name, "trials": rows})
    disk.atomic_write_text(folder / "trials.csv", _csv(rows, list(search.space), judge))
    written = [folder / "trials.json", folder / "trials.csv"]
    best = search.best()
    if best is not None:
        disk.atomic_write_text(folder / "best.toml", _recipe(config, search, best, judge))
        written.append(folder / "best.toml")
    return written


def _csv(rows: list[dict[str, Any]], keys: list[str], judge: Judge) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    figures = ["val_loss", "best_epoch", "seconds"]
    writer.writerow(["trial", "state", f"val_{judge.task.metric}", *figures, *keys, "reason"])
    for row in rows:
        head = [row["number"], row["state"], row["score"].get("value", "")]
        settings = [row["values"].get(key, "") for key in keys]
        writer.writerow(
            [
                *head,
                *(row.get(key, "") for key in figures),
                *settings,
                text_cell(row.get("reason", "")),
            ]
        )
    return out.getvalue()


def _recipe(config: Config, search: Search, best: FrozenTrial, judge: Judge) -> str:
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


def write_study(
    config: Config,
    plan: Plan,
    run: RunDir,
    dataset: Dataset,
    search: Search,
    judge: Judge,
    kind: str,
    definition: dict[str, Any],
) -> dict[str, Any]:
    """Tables, pictures and the record of the study as it stands."""
    written = write_tables(config, run, search, judge)
    folder = run.stage("tune")
    rows = [row_of(trial, judge) for trial in search.trials()]
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
        "best": None if best is None else row_of(best, judge),
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


def shown(values: dict[str, Value]) -> str:
    """A trial's settings in a line."""
    return ", ".join(
        f"{key.partition('.')[2]} {value:.4g}"
        if isinstance(value, float)
        else f"{key.partition('.')[2]} {value}"
        for key, value in values.items()
    )


def outcome(row: dict[str, Any], judge: Judge) -> str:
    """How a trial ended, for a line of progress."""
    score = row["score"]
    if "value" not in score:
        return f"{row['state']}, {score['reason']}"
    reason = f", {row['reason']}" if "reason" in row else ""
    return f"{row['state']}, val {judge.task.metric_name} {score['value']:.4f}{reason}"


def compared(best: FrozenTrial | None, number: int) -> str:
    """What trial ``number`` is beside the best so far; "" before there is one."""
    if best is None:
        return ""
    return ", the best so far" if best.number == number else f" (best {best.value:.4f})"
