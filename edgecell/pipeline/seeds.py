"""One recipe with several seeds: ``edgecell train --seeds 3``, and what their spread says.

A folder of seeds holds one run folder for each, and ``seeds.json``, which lists them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecell import disk, rundir
from edgecell.config import Config
from edgecell.errors import ArtifactError, ConfigError
from edgecell.pipeline import train_settings, training
from edgecell.pipeline.evaluation import Evaluated
from edgecell.progress import Progress
from edgecell.rundir import RunDir
from edgecell.tasks import task_of_record

LIST = "seeds.json"


@dataclass(frozen=True)
class Spread:
    """A figure of several seeds; ``sd`` is the sample's, None for one seed."""

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """How far apart trainings are that differ by chance alone."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``seeds.json``."""
        return {"values": list(self.values), "mean": self.mean, "sd": self.sd}


def train_seeds(
    config: Config, count: int, output: Path | None, progress: Progress
) -> tuple[Path, list[int], Spread]:
    """Train ``count`` runs whose seeds follow ``config.train.seed``; folder, seeds, val's spread.

    Called again with the same ``output``, finished seeds are kept and a killed one goes on. A batch
    size that is "auto" is measured once: seeds with different ones would not differ by chance alone.

    Raises:
        ConfigError: ``output`` is a single run, or holds seeds of other settings.
    """
    train_settings.only_alone(config, "several seeds")
    if output is not None and (output / "config.toml").is_file():
        raise ConfigError(f"{output} is a single run; choose a new folder for the seeds")
    folder = output or RunDir.create(f"{config.name}-seeds", training.RUNS).path
    seeds = list(range(config.train.seed, config.train.seed + count))
    with RunDir(folder).not_left_empty():
        figures = _train_each(config, seeds, folder, progress)
    spread = Spread(figures[0][0], tuple(value for _, value in figures))
    disk.atomic_write_json(
        folder / LIST,
        {
            "schema": "edgecell/seeds",
            "schema_version": 1,
            "runs": {str(seed): f"{rundir.SEED_PREFIX}{seed}" for seed in seeds},
            spread.name: spread.to_json(),
        },
    )
    return folder, seeds, spread


def _train_each(
    config: Config, seeds: list[int], folder: Path, progress: Progress
) -> list[tuple[str, float]]:
    """Train the runs in ``folder``; the figure of each that chose its epoch, with its name."""
    config = _settled(config, folder)
    figures, dataset = [], None
    for position, seed in enumerate(seeds, start=1):
        progress.say(f"seed {seed} ({position} of {len(seeds)})")
        seeded = replace(config, train=replace(config.train, seed=seed))
        run = training.start_run(seeded, folder / f"{rundir.SEED_PREFIX}{seed}")
        if dataset is None:
            with run.not_left_empty():
                dataset = training.load_noted(seeded, progress)
                config = training.with_batch_size(config, dataset, progress)
            seeded = replace(seeded, train=replace(config.train, seed=seed))
        figures.append(primary(training.train_run(seeded, run, progress, dataset)))
    return figures


def _settled(config: Config, folder: Path) -> Config:
    """``config`` with the batch size that "auto" was found to be for the seeds in ``folder``."""
    for written in sorted(folder.glob(f"{rundir.SEED_PREFIX}*/config.toml")):
        return train_settings.settled(config, RunDir(written.parent))
    return config


def runs_of(folder: Path) -> dict[str, Path] | None:
    """The run folders of a folder of seeds, by seed; None where ``folder`` is something else.

    Raises:
        ArtifactError: the list is damaged, or a run that it names is missing.
    """
    path = folder / LIST
    if not path.is_file():
        return None
    listed = disk.read_json(path)
    try:
        runs = {seed: folder / Path(name).name for seed, name in listed["runs"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); train the seeds again") from error
    missing = [run.name for run in runs.values() if not run.is_dir()]
    if missing or not runs:
        raise ArtifactError(f"{path} names runs that are gone: {', '.join(missing) or 'none left'}")
    return runs


def evaluate_each(
    runs: dict[str, Path], evaluate: Callable[[Path], Evaluated]
) -> tuple[dict[str, Evaluated], Spread]:
    """Evaluate every seed's run; each seed's results and the spread of the task's first figure."""
    found = {seed: evaluate(run) for seed, run in runs.items()}
    results = [each.results for each in found.values()]
    metric = task_of_record(results[0]).metric
    return found, Spread(metric, tuple(float(each[metric]["value"]) for each in results))


def primary(record: dict[str, Any]) -> tuple[str, float]:
    """The figure that chose the epoch, with its name, from a training's record."""
    results = record["results"]
    name = next(key for key in ("val_auc", "val_accuracy") if key in results)
    return name, float(results[name]["value"])
