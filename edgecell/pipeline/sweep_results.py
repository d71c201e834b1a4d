"""What a sweep found: one row for each cell with its figures and times, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from benchmarks.choice import Score
from benchmarks.devices.interface import Device
from benchmarks.joint_draws import JointDraws
from benchmarks.options import BenchOptions
from benchmarks.pareto import draw_costs, front_shares, pareto_front
from benchmarks.run import bench
from edgecell import disk, machine, metrics
from edgecell.config import Config
from edgecell.data import Dataset, materialize
from edgecell.models.registry import MODELS
from edgecell.pipeline.benching import HOST, STEPS, pace_of
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.sweep_cells import answers_of
from edgecell.pipeline.targets import data_hash
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.record import Measurement
from edgecell.rundir import RunDir
from edgecell.runtime import available_cores
from edgecell.tasks import Task, task_of_record

Cell = dict[str, Any]

LATENCY = "latency"
RESAMPLES = 1000
_UNITS = {"size": "bytes", "accuracy": "fraction", "macro_f1": "fraction"}
_TIMES = {"p50": "ms", "p90": "ms", "ratio": "1"}
FIGURES = ("accuracy", "macro_f1", "worst_class")
_APART = {"accuracy": 0.0, "auc": 5e-5}
"""From which difference on, beyond the last digit shown of an AUC, answers count as others."""


@dataclass(frozen=True)
class Found:
    """A network of the sweep: its folder here with the record of its cells, its trial in the study."""

    name: str
    config: Config
    run: RunDir
    record: dict[str, Any] | None
    trial: FrozenTrial | None

    @property
    def cpu(self) -> str | None:
        """The processor it was trained on, where that is known."""
        return None if self.trial is None else self.trial.user_attrs.get("cpu")


@dataclass(frozen=True)
class Place:
    """Where the cells are timed: a device, and the text that names it, which may hold an address."""

    device: Device
    text: str

    def identity(self) -> dict[str, Any]:
        """What tells it from others, without its address."""
        mine = {"cpu": machine.cpu_name(), "cores": available_cores()}
        if self.device.kind == HOST:
            return {"device": HOST, **mine}
        return {"device": self.device.kind, "address": disk.sha256_bytes(self.text.encode())}


def figures_of(task: Task) -> tuple[str, ...]:
    """The keys of an evaluation that a cell's row has."""
    return ("auc", *FIGURES) if task.multi_label else FIGURES


def summary(cell: Cell) -> Cell:
    """A cell's figures without the long ones, for the study."""
    kept = ("name", "precision", "method", "sha256", "passed", "verdict", "size")
    quality = cell["quality"]
    figures = {key: quality[key] for key in figures_of(task_of_record(quality))}
    return {key: cell[key] for key in kept} | {"quality": figures}


def cells_of(run: RunDir, networks: Sequence[Found], task: Task) -> list[Cell]:
    """A row for every cell of the grid: its figures, or the reason why it has none."""
    rows: list[Cell] = []
    for network in networks:
        if network.record is not None:
            state, reason = "here", ""
            known = network.record["results"]["cells"]
        elif network.trial is not None and network.trial.state == TrialState.COMPLETE:
            state, reason = (
                "elsewhere",
                "made on another machine, and its file is not in this folder",
            )
            known = network.trial.user_attrs["cells"]
        else:
            state, known = "given up", []
            facts = {} if network.trial is None else network.trial.user_attrs
            reason = facts.get("reason", "its workers died again and again")
        for precision in network.config.quantize.precisions:
            mine = [cell for cell in known if cell["precision"] == precision]
            rows += [
                _row(run, network, precision, cell, state, reason, task) for cell in mine or [None]
            ]
        rows += [
            _row(run, network, "mixed", cell, state, reason, task)
            for cell in known
            if cell["precision"] == "mixed"
        ]
    return rows


def _row(
    run: RunDir,
    network: Found,
    precision: str,
    cell: Cell | None,
    state: str,
    reason: str,
    task: Task,
) -> Cell:
    model = network.config.model
    row: Cell = {
        "name": f"{network.name}-{precision}",
        "network": network.name,
        "model": model.name,
        "alpha": model.alpha if MODELS[model.name].widths else None,
        "image_size": model.image_size,
        "precision": precision,
        "state": state,
        "file": None,
        "passed": None,
        "verdict": reason,
        "quality": None,
    }
    if reason:
        row["reason"] = reason
    missing = reason or "not measured"
    row |= {key: Measurement.missing(unit, missing).to_json() for key, unit in _UNITS.items()}
    if task.multi_label:
        row["auc"] = Measurement.missing("fraction", missing).to_json()
    row |= {key: Measurement.missing(unit, missing).to_json() for key, unit in _TIMES.items()}
    row |= {"front": None, "front_share": Measurement.missing("fraction", missing).to_json()}
    if cell is None:
        return row
    figures = cell["quality"]
    row |= {key: cell[key] for key in ("name", "method", "sha256", "passed", "verdict", "size")}
    row |= {key: figures[key] for key in figures_of(task)}
    if state == "here":
        row["file"] = run.relative(network.run.stage("quantize") / cell["file"])
        row["quality"] = figures
    return row


def time_cells(
    config: Config,
    run: RunDir,
    cells: Sequence[Cell],
    dataset: Dataset,
    place: Place,
    progress: Progress,
) -> dict[str, Any] | None:
    """The record of one bench of all files that are here, in turn, on val; a current one is kept.

    At one thread. Ratios are to the first float32 cell, else to the first cell. None without a file.
    """
    here = [cell for cell in cells if cell["state"] == "here"]
    if not here:
        return None
    paths = [run.path / cell["file"] for cell in here]
    reference = next((i for i, c in enumerate(here) if c["precision"] == "float32"), 0)
    settings = {
        "bench": asdict(config.bench),
        "reference": here[reference]["name"],
        "split": "val",
        **place.identity(),
    }
    hashes = data_hash(dataset, "val")
    if run.is_current(LATENCY, inputs=paths, config=settings, input_hashes=hashes):
        progress.say("latency: unchanged, skipped")
        return run.read_record(LATENCY)

    def images(size: tuple[int, int]) -> NDArray[np.uint8]:
        return materialize(dataset.val, PreprocessSpec.of(config.model, *size))

    progress.begin(f"timing {len(paths)} cells in turn", STEPS)
    options = BenchOptions(
        pace_of(config.bench),
        threads=(1,),
        batches=(),
        xnnpack=config.bench.delegate == "xnnpack",
        memory=False,
        resamples=100,  # the cells' own record has the intervals
        reference=reference,
    )
    read = ReadFiles(paths)
    result = bench(
        paths,
        images,
        dataset.val.labels,
        dataset.class_names,
        options,
        lambda _text, share: progress.advance(int(share * STEPS)),
        place.device,
        data_name=f"'{dataset.name}'",
    )
    progress.advance(STEPS)
    read.require_same("sweep")
    folder = run.stage(LATENCY)
    results = result.to_json() | {"split": "val", "reference": here[reference]["name"]}
    disk.atomic_write_json(folder / "bench.json", results)
    return run.write_record(
        LATENCY,
        inputs=paths,
        input_hashes=hashes,
        outputs=[folder / "bench.json"],
        config=settings,
        results=results,
    )


def add_times(cells: Sequence[Cell], timed: dict[str, Any] | None, task: Task) -> list[str]:
    """Put the bench's times into the cells it measured; what the bench warns of."""
    if timed is None:
        return []
    by_hash = {model["sha256"]: model for model in timed["results"]["models"]}
    others = []
    for cell in cells:
        if cell["state"] != "here":
            continue
        model = by_hash[cell["sha256"]]
        timing = model["latency"][0]
        cell |= {"p50": timing["p50"], "p90": timing["p90"], "ratio": timing["ratio"]}
        cell |= {"delegate": timing["delegate"]["label"], "runs": timing["n"]}
        here, there = cell[task.metric], model["quality"][task.metric]
        if "value" in there and abs(there["value"] - here["value"]) > _APART[task.metric]:
            others.append(f"{cell['name']} ({there['value']:.4f})")
    warnings: list[str] = list(timed["results"]["warnings"])
    if others:
        warnings.append(
            f"where the times were taken, {', '.join(others)} did not answer as where it was made: another"
            f" processor or delegate rounds otherwise; the table shows the {task.metric_name} found where it"
            " was made"
        )
    return warnings


def draw_scores(cells: Sequence[Cell], networks: Sequence[Found], task: Task) -> JointDraws | None:
    """Scores of the cells that are compared when the images of val are drawn anew, the same for all cells.

    Compared are cells that passed verify and were timed; None without any. Of very many images, labels and
    cells the mean AUC is drawn fewer times.
    """
    able = _compared(cells)
    if not able:
        return None
    labels, said = None, []
    for cell in able:
        run = next(network.run for network in networks if network.name == cell["network"])
        labels, answers = answers_of(run, cell["name"])
        said.append(answers)
    assert labels is not None
    classes = len(able[0]["quality"]["classes"])
    drawn = _drawn(labels, np.stack(said), classes, task)
    return JointDraws(tuple(cell["name"] for cell in able), len(labels), drawn)


def mark_front(cells: Sequence[Cell], draws: JointDraws | None, by: Score) -> None:
    """Which cells no other beats at quality, bytes and p50 together, into ``front``, and how surely.

    ``front_share`` is how often a cell is on the front when all three are drawn anew within what was
    measured: quality as in ``draws``, which are :func:`draw_scores` of these cells, and p50 within its
    interval.
    """
    able = _compared(cells)
    if draws is None:
        return
    costs = np.array([[1 - c[by]["value"], c["size"]["value"], c["p50"]["value"]] for c in able])
    drawn = draws.scores[by]
    times = [Measurement.from_json(cell["p50"]) for cell in able]
    shares = front_shares(draw_costs(drawn, [c["size"]["value"] for c in able], times))
    for cell, on, share in zip(able, pareto_front(costs), shares, strict=True):
        cell["front"] = bool(on)
        cell["front_share"] = Measurement(float(share), "fraction", n=len(drawn)).to_json()


def _compared(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell["passed"] and "value" in cell["p50"]]


def _drawn(
    labels: NDArray[np.int64], said: NDArray[Any], classes: int, task: Task
) -> dict[str, NDArray[np.float64]]:
    """Resampled scores (B, K) of K cells, whose answers are as :func:`answers_of` gives them."""
    if task.multi_label:
        fewer = metrics.auc_resamples(len(labels), classes * len(said), RESAMPLES)
        return {"auc": metrics.mean_auc_together(labels, said, fewer)}
    return metrics.bootstrap_together(labels, said, classes, RESAMPLES)
