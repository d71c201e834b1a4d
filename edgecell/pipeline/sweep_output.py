"""The cell to ship, and the files of a sweep: sweep.json, sweep.csv, figures, a page, the record."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.choice import LABEL_NOTES, NOTES, Score, choose
from benchmarks.joint_draws import JointDraws
from converters.verdict import EQUIVALENCE
from edgecell import disk, plots
from edgecell.config import Config
from edgecell.csv_cells import text_cell
from edgecell.data import Dataset
from edgecell.pipeline.benching import HOST
from edgecell.pipeline.running import evaluate_anew
from edgecell.pipeline.sweep_results import (
    Cell,
    Found,
    Place,
    add_times,
    cells_of,
    draw_scores,
    figures_of,
    mark_front,
    time_cells,
)
from edgecell.pipeline.sweep_wishes import Wishes
from edgecell.pipeline.targets import Target, data_hash
from edgecell.progress import Progress
from edgecell.report.sweep_page import write_sweep_page
from edgecell.rundir import RunDir
from edgecell.tasks import Task, task_named

SCHEMA = "edgecell/sweep-result"
SCHEMA_VERSION = 1
_REMEDIES = {
    "reference alive": "train longer (--epochs), on more images (without --limit)",
    **dict.fromkeys(EQUIVALENCE.values(), "give verify more images of val"),
}
_REMEDY = "try --search or --qat, or a larger"
_COLUMNS = ("name", "model", "alpha", "image_size", "precision", "state", "passed", "front")


def write(
    run: RunDir,
    config: Config,
    dataset: Dataset,
    networks: Sequence[Found],
    wishes: Wishes,
    place: Place,
    facts: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Time the cells, mark the front, choose, and write it all down; the record.

    ``facts`` (study, grid) are put into the results as they are.
    """
    task = task_named(dataset.task)
    cells = cells_of(run, networks, task)
    timed = time_cells(config, run, cells, dataset, place, progress)
    warnings = add_times(cells, timed, task)
    draws = draw_scores(cells, networks, task)
    mark_front(cells, draws, wishes.by)
    found = _answer(cells, networks, wishes, draws, config.verify.margin, dataset, progress)
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **({"task": dataset.task} if task.multi_label else {}),
        **facts,
        "by": wishes.by,
        "val_images": len(dataset.val),
        "class_names": list(dataset.class_names),
        "reference": None if timed is None else timed["results"]["reference"],
        "device": None if timed is None else timed["results"]["device"],
        "host": None if timed is None else timed["results"]["host"],
        "cells": cells,
        "front": [cell["name"] for cell in cells if cell["front"]],
        "answer": found,
        "workers": _workers(networks),
        "warnings": [*_warnings(cells, networks, task), *warnings],
        "notes": list(LABEL_NOTES if task.multi_label else NOTES),
    }
    folder = run.stage("sweep")
    disk.atomic_write_json(folder / "sweep.json", results)
    disk.atomic_write_text(folder / "sweep.csv", _csv(cells, task))
    outputs = [
        folder / "sweep.json",
        folder / "sweep.csv",
        *_pictures(folder, results, wishes, task),
    ]
    outputs.append(write_sweep_page(folder / "sweep.html", run.name, results))
    return run.write_record(
        "sweep",
        inputs=[run.path / cell["file"] for cell in cells if cell["file"] is not None],
        input_hashes=data_hash(dataset, "val"),
        outputs=outputs,
        config={
            **facts,
            "limits": wishes.limits.to_json(),
            "prefer": wishes.prefer,
            "by": wishes.by,
        },
        results=results,
    )


def _answer(
    cells: Sequence[Cell],
    networks: Sequence[Found],
    wishes: Wishes,
    draws: JointDraws | None,
    margin: float,
    dataset: Dataset,
    progress: Progress,
) -> dict[str, Any] | None:
    """The cell to ship or the nearest miss, None where no limit was given.

    Val alone chooses. Test is then looked at once, for the chosen cell; not for a miss.
    """
    if not wishes.limits:
        return None
    found = choose(cells, wishes.limits, wishes.prefer, wishes.score, draws, margin)
    found["test"] = None
    if found["met"]:
        cell = next(cell for cell in cells if cell["name"] == found["cell"])
        network = next(network for network in networks if network.name == cell["network"])
        path = network.run.stage("quantize") / Path(cell["file"]).name
        target = Target(path, network.run, network.config)
        results = evaluate_anew(network.run, target, dataset, "test", progress)["results"]
        figures = figures_of(task_named(dataset.task))
        found["test"] = {key: results[key] for key in ("n", *figures)}
    return found


def _warnings(cells: Sequence[Cell], networks: Sequence[Found], task: Task) -> list[str]:
    """What a reader must know before trusting the table: one line each."""
    found = _refusals(cells, networks, task)
    elsewhere = sorted({cell["network"] for cell in cells if cell["state"] == "elsewhere"})
    if elsewhere:
        found.append(
            f"{', '.join(elsewhere)}: made on another machine, without times, because the files are"
            " not in this folder; copy that machine's networks/ into this one's and give the command"
            " again"
        )
    cpus = Counter(network.cpu for network in networks if network.cpu is not None)
    if len(cpus) > 1:
        kinds = ", ".join(f"{count} on {cpu}" for cpu, count in cpus.items())
        found.append(
            f"networks were trained on several machines ({kinds}); all times are of this one"
        )
    looked = sorted({name for network in networks for name in _seen_on_test(network.run)})
    if len(looked) > 1:
        found.append(
            f"test has been looked at for {len(looked)} cells ({', '.join(looked)}): choosing among"
            " them by it would make its figures optimistic"
        )
    return found


def _seen_on_test(run: RunDir) -> list[str]:
    """The files of a network that were evaluated or verified on test, without their suffix."""
    evaluated = run.stage("evaluate").glob("*-test/record.json")
    names = [folder.parent.name.removesuffix("-test") for folder in evaluated]
    if run.has("verify"):
        results = run.read_record("verify")["results"]
        if "test" in results.get("split", "val").split("+"):
            names += [Path(entry["file"]).stem for entry in results["models"]]
    return names


def _refusals(cells: Sequence[Cell], networks: Sequence[Found], task: Task) -> list[str]:
    """One line for each check that refused cells of this folder, the most frequent first."""
    budgets = "--max-accuracy-drop and --max-f1-drop"
    if task.multi_label:
        budgets = "--max-auc-drop and --max-label-auc-drop"
    refused: dict[str, list[str]] = {}
    for network in networks:
        names = {
            Path(cell["file"]).name: cell["name"]
            for cell in cells
            if cell["network"] == network.name and cell["file"] and cell["passed"] is False
        }
        if not names:
            continue
        for entry in network.run.read_record("verify")["results"]["models"]:
            if entry["file"] not in names:
                continue
            # Verified again since, on test say, the file may have passed.
            failed = next((check for check in entry["checks"] if check["passed"] is False), None)
            if failed is not None:
                refused.setdefault(failed["name"], []).append(
                    f"{names[entry['file']]}: {failed['measured']}, allowed {failed['allowed']}"
                )
    return [
        f"verify refused {len(lines)} of {len(cells)} cells by '{check}' ({lines[0]});"
        f" {_REMEDIES.get(check, f'{_REMEDY} {budgets}')}, with another --output"
        for check, lines in sorted(refused.items(), key=lambda item: -len(item[1]))
    ]


def _workers(networks: Sequence[Found]) -> dict[str, dict[str, Any]]:
    """Who made which network, on what, in which trial of the study."""
    return {
        network.name: {
            "trial": network.trial.number,
            "worker": network.trial.user_attrs["worker"],
            "cpu": network.cpu,
        }
        for network in networks
        if network.trial is not None
    }


def _csv(cells: Sequence[Cell], task: Task) -> str:
    out = io.StringIO()
    scores = [key for _, key in task.file_scores]
    measured = ("front_share", *scores, "size", "p50", "p90", "ratio")
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{key}{end}" for key in measured for end in ("", "_low", "_high")]
    writer.writerow([*_COLUMNS, *heads, "file", "reason"])
    for cell in cells:
        figures = [cell[key].get(end, "") for key in measured for end in ("value", "low", "high")]
        plain = ["" if cell[key] is None else cell[key] for key in _COLUMNS]
        writer.writerow([*plain, *figures, cell["file"] or "", text_cell(cell.get("reason", ""))])
    return out.getvalue()


def _pictures(folder: Path, results: dict[str, Any], wishes: Wishes, task: Task) -> list[Path]:
    """Quality against bytes and against p50."""
    limits, by = wishes.limits, wishes.by
    shown = [cell for cell in results["cells"] if cell["passed"] and "value" in cell["p50"]]
    if not shown:
        return []
    chosen = None if results["answer"] is None else results["answer"]["cell"]
    quality = next(name for name, key in task.file_scores if key == by)
    bounds = {
        "macro_f1": limits.min_f1,
        "accuracy": limits.min_accuracy,
        "auc": limits.min_auc,
    }
    device = results["device"]
    where = "this host" if device["kind"] == HOST else device["name"]
    most_kb = None if limits.max_bytes is None else limits.max_bytes / 1000
    drawn = {
        "size": ("size", 1e-3, "file size (kB)", most_kb),
        "latency": ("p50", 1.0, f"p50 at 1 thread on {where} (ms)", limits.max_latency_ms),
    }
    written = []
    for name, (key, scale, x, most) in drawn.items():
        figure = plots.pareto(
            [_point(cell, key, scale, by) for cell in shown],
            [cell["name"] for cell in shown if cell["front"]],
            x=x,
            y=f"val {quality}",
            title=f"{quality[0].upper()}{quality[1:]} against {name}",
            chosen=chosen,
            most=most,
            least=bounds[by],
        )
        written.append(plots.save(figure, folder / f"pareto_{name}.png"))
    return written


def _point(cell: Cell, key: str, scale: float, by: Score) -> plots.Point:
    def interval(data: dict[str, Any], factor: float) -> tuple[float, float] | None:
        return (data["low"] * factor, data["high"] * factor) if "low" in data else None

    return plots.Point(
        cell["name"],
        cell[key]["value"] * scale,
        cell[by]["value"],
        cell["precision"],
        interval(cell[key], scale),
        interval(cell[by], 1.0),
    )
