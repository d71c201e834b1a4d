"""``edgecell sweep``: every network, width, size and precision; one is chosen by what it costs."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from benchmarks.choice import Limits, Prefer, Score
from benchmarks.devices.registry import DeviceOptions, open_device
from edgecell import disk, machine
from edgecell.checkpoint import Checkpoint
from edgecell.config import Config
from edgecell.config_file import to_toml
from edgecell.data import Dataset, load_dataset
from edgecell.errors import ArtifactError, ConfigError, ConvertError, DivergedError
from edgecell.pipeline import quantize_settings, sweep_output
from edgecell.pipeline.benching import HOST
from edgecell.pipeline.doctor import free_memory
from edgecell.pipeline.jobs import run_jobs
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.study_folder import note_study, refuse_another
from edgecell.pipeline.sweep_cells import make_cells, read_cells
from edgecell.pipeline.sweep_grid import Grid, task_of
from edgecell.pipeline.sweep_results import Found, Place, summary
from edgecell.pipeline.sweep_wishes import wishes_for
from edgecell.pipeline.teaching import teacher_files
from edgecell.pipeline.train_settings import data_name, only_alone, settings_of
from edgecell.pipeline.training import load_noted
from edgecell.progress import Prefixed, Progress
from edgecell.rundir import RunDir
from edgecell.runtime import available_cores
from edgecell.tasks import task_named
from edgecell.tuning.claims import Claim, Claims
from edgecell.tuning.storage import Storage, exclusively
from edgecell.tuning.study import PrunedError

FOLDER = Path("artifacts/sweep")
NETWORKS = "networks"
_CORES_A_JOB = 4
_BYTES_A_JOB = 3_000_000_000


@dataclass(frozen=True)
class Plan:
    """What to make and how; ``storage`` and ``study`` have defaults that follow from the folder.

    ``jobs`` 0 means as many as the machine carries; ``by`` is the score of the Pareto front. ``prefer``
    and ``by`` None: macro-F1, of several labels to an image their mean AUC.
    """

    grid: Grid
    limits: Limits = Limits()
    prefer: Prefer | None = None
    by: Score | None = None
    jobs: int = 0
    storage: str | None = None
    study: str | None = None
    heartbeat_seconds: int = 20
    device: str = HOST
    device_options: DeviceOptions = DeviceOptions()


def sweep_run(
    config: Config, plan: Plan, output: Path | None, progress: Progress
) -> tuple[dict[str, Any], RunDir]:
    """Make the cells that are not there yet, alone or with other workers; bench all, choose one.

    Returns record and folder.

    Raises:
        ConfigError: a grid, settings or limits that cannot be, or a study with other settings.
        DataError, ArtifactError: from the data, the weights and the storage.
    """
    only_alone(config, "a sweep")
    _refuse_test(config)
    place = Place(open_device(plan.device, plan.device_options), plan.device)
    networks = plan.grid.networks(config)
    jobs = _jobs(plan.jobs, len(networks))
    study = plan.study or data_name(config)
    run = RunDir.at(output or FOLDER / study)
    for verb in ("train", "tune"):
        if run.stage(verb).exists():
            raise ConfigError(f"{run.path} holds a '{verb}'; choose a new folder with --output")
    with run.not_left_empty():
        dataset = load_noted(config, progress)
        wishes = wishes_for(dataset, plan.limits, plan.prefer, plan.by)
        shop = _Shop(config, replace(plan, study=study), run, dataset)
        if not (run.path / "config.toml").is_file():  # other processes know the folder by it
            disk.atomic_write_text(run.path / "config.toml", to_toml(config))
        claims = shop.join()
    disk.atomic_write_text(run.path / "config.toml", to_toml(config))
    left = shop.left(claims)
    cells = len(networks) * len(plan.grid.precisions)
    done = len(networks) - len(left)
    progress.say(f"sweep: {cells} cells, {len(networks)} trainings, {done} of them done")
    jobs = max(1, min(jobs, len(left)))
    if jobs == 1:
        shop.work(claims, progress)
    else:
        died = run_jobs(jobs, work_in_process, (config, shop.plan, run.path), progress)
        if died and shop.left(claims):
            raise ArtifactError(
                f"{', '.join(died)}, and not all trainings are done; the same command goes on, with"
                " fewer --jobs if memory was short"
            )
    found = shop.collect(claims)
    with exclusively(run.path / ".sweep.lock"):
        facts = {"study": study, "grid": plan.grid.to_json()}
        record = sweep_output.write(run, config, dataset, found, wishes, place, facts, progress)
        write_report(run)
    return record, run


def work_in_process(config: Config, plan: Plan, path: Path, progress: Progress) -> None:
    """The work of one of several processes of this machine."""
    shop = _Shop(config, plan, RunDir(path), load_dataset(config.data, progress=False))
    shop.work(shop.join(), progress)


class _Shop:
    """What the workers of a sweep know in common."""

    def __init__(self, config: Config, plan: Plan, run: RunDir, dataset: Dataset) -> None:
        self.plan, self.run, self.dataset = plan, run, dataset
        self.networks = plan.grid.networks(config)
        self.tasks = {name: task_of(network) for name, network in self.networks.items()}
        self.definition = _definition(config, dataset)

    def join(self) -> Claims:
        """The study; made, or found to be of the same settings."""
        plan = self.plan
        url = plan.storage or str(self.run.path.resolve() / "study.journal")
        storage = Storage(url, plan.heartbeat_seconds, requeues=False)
        assert plan.study is not None
        exists = Claims.exists(storage, plan.study)
        refuse_another(self.run, NETWORKS, plan.study, exists=exists)
        claims = Claims(storage, plan.study, self.definition)
        note_study(self.run, NETWORKS, plan.study, self.definition)
        return claims

    def left(self, claims: Claims) -> list[dict[str, Any]]:
        """Tasks that nobody has finished or given up, or whose files are gone."""
        tasks, gone = list(self.tasks.values()), self.gone(claims)
        trials = zip(tasks, claims.done(tasks), strict=True)
        return [task for task, trial in trials if trial is None or task in gone]

    def gone(self, claims: Claims) -> list[dict[str, Any]]:
        """Tasks that were done in this folder, and whose files are not there any more."""
        tasks = list(self.tasks.values())
        mine = self._mark()
        return [
            task
            for task, trial in zip(tasks, claims.done(tasks), strict=True)
            if trial is not None
            and trial.value is not None
            and trial.user_attrs["folder"] == mine
            and read_cells(self.folder(task["network"]), task["precisions"]) is None
        ]

    def folder(self, network: str) -> RunDir:
        """Where a network is trained."""
        return RunDir(self.run.path / NETWORKS / network)

    def work(self, claims: Claims, progress: Progress) -> None:
        """Make networks until none is left."""

        def make(claim: Claim) -> float:
            return self._make(claim, progress)

        tasks = list(self.tasks.values())
        claims.run(tasks, make, progress, again=self.gone(claims))

    def _make(self, claim: Claim, progress: Progress) -> float:
        name = claim.task["network"]
        lines = Prefixed(progress, name)
        path = self.run.path / NETWORKS / name
        path.mkdir(parents=True, exist_ok=True)
        claim.note({"folder": self._mark(), "cpu": machine.cpu_name()})
        keras.backend.clear_session()  # the graphs of the network before would stay in memory
        # Where a worker that was taken for dead still lives, it is waited for.
        with exclusively(path.with_name(f".{name}.lock")):
            try:
                record = make_cells(self.networks[name], RunDir.at(path), self.dataset, lines)
            except DivergedError as error:
                raise _given_up(path, "the loss is no longer finite") from error
            except tf.errors.ResourceExhaustedError as error:
                raise _given_up(path, "out of memory") from error
            except ConvertError as error:
                raise PrunedError(str(error)) from error
        cells = record["results"]["cells"]
        claim.note({"cells": [summary(cell) for cell in cells]})
        score, key = task_named(self.dataset.task).file_scores[0]
        best = max(cell["quality"][key]["value"] for cell in cells)
        refused = sum(not cell["passed"] for cell in cells)
        verdicts = f", verify refused {refused} of {len(cells)}" if refused else ""
        progress.say(f"{name}: done, val {score} up to {best:.4f}{verdicts}")
        return float(best)

    def collect(self, claims: Claims) -> list[Found]:
        """What is known of each network, in the order of the grid."""
        trials = claims.done(list(self.tasks.values()))
        return [
            Found(
                name,
                network,
                self.folder(name),
                read_cells(self.folder(name), network.quantize.precisions),
                trial,
            )
            for (name, network), trial in zip(self.networks.items(), trials, strict=True)
        ]

    def _mark(self) -> str:
        """What tells this folder from another machine's: a word that is written once."""
        path = self.run.path / ".folder"
        with exclusively(self.run.path / ".folder.lock"):
            if not path.is_file():
                disk.atomic_write_text(path, secrets.token_hex(8))
            return path.read_text(encoding="utf-8")


def _refuse_test(config: Config) -> None:
    """Refuse verdicts on test: of the cells that pass, one is chosen, and val alone may choose."""
    split = config.verify.split
    if "test" in split.split("+"):
        raise ConfigError(
            f"verify.split is {split}, and a sweep chooses among the files that verify passes, so val"
            " alone may judge them; leave it at val, and give 'edgecell verify FILE --split test' for the"
            " chosen file"
        )


def _given_up(path: Path, reason: str) -> PrunedError:
    Checkpoint(path / "train" / "state").clear()
    return PrunedError(reason)


def _jobs(asked: int, networks: int) -> int:
    """How many processes train at once: four cores and 3 GB for each, one where there is a GPU.

    Raises:
        ConfigError: more than there are cores.
    """
    cores = available_cores()
    if asked > cores:
        raise ConfigError(f"--jobs is {asked}; allowed: 1 to {cores}, the cores of this machine")
    if asked:
        return min(asked, networks)
    if tf.config.list_physical_devices("GPU"):
        return 1
    memory = free_memory()
    by_memory = cores if memory is None else memory // _BYTES_A_JOB
    return max(1, min(cores // _CORES_A_JOB, by_memory, networks))


def _definition(config: Config, dataset: Dataset) -> dict[str, Any]:
    """What the networks of a study have in common, as JSON; no path, so that machines may differ."""
    settings = settings_of(config)
    del settings["data"]
    for axis in ("name", "alpha", "image_size", "weights"):
        del settings["model"][axis]
    settings["teacher"]["runs"] = [disk.sha256_file(path) for path in teacher_files(config)]
    files = quantize_settings.settings_of(config)
    del files["precisions"]
    files.pop("verify", None)  # stands below, whole
    definition = {
        "recipe": settings,
        "conversion": files,
        "verify": vars(config.verify),
        "images": dataset.fingerprint,
    }
    parsed: dict[str, Any] = json.loads(json.dumps(definition))
    return parsed
