"""The rows of a sweep, its front and its warnings, from records made by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from benchmarks.choice import Limits
from edgecell import disk
from edgecell.config import Config, ModelConfig, QuantizeConfig
from edgecell.evaluate import evaluate
from edgecell.pipeline import sweep_output
from edgecell.pipeline.sweep_cells import ANSWERS
from edgecell.pipeline.sweep_output import _csv, _warnings
from edgecell.pipeline.sweep_results import (
    Found,
    add_times,
    cells_of,
    draw_scores,
    mark_front,
    summary,
)
from edgecell.pipeline.sweep_wishes import Wishes
from edgecell.progress import Silent
from edgecell.rundir import RunDir
from edgecell.tasks import MULTI_CLASS, task_named

PRECISIONS = ("float16", "int8")
LABELS = np.arange(60) % 3
ONE = task_named(MULTI_CLASS)


def answers(wrong: int) -> np.ndarray:
    """The classes said where the first images are told wrongly."""
    said = LABELS.copy()
    said[:wrong] = (said[:wrong] + 1) % 3
    return said


def made(
    network: str, precision: str, wrong: int, size: int, passed: bool = True
) -> dict[str, Any]:
    found = evaluate(np.eye(3)[answers(wrong)], LABELS, ("a", "b", "c"), resamples=50)
    name = f"{network}-{precision}"
    return {
        "name": name,
        "file": f"{name}.tflite",
        "sha256": f"hash of {name}",
        "precision": precision,
        "method": None,
        "passed": passed,
        "verdict": "equivalent" if passed else "worse",
        "size": {"value": size, "unit": "bytes"},
        "quality": found,
    }


def trial(state: TrialState, number: int = 0, **facts: Any) -> Any:
    facts = {"worker": "w", "cpu": "one processor"} | facts
    return SimpleNamespace(state=state, number=number, user_attrs=facts)


def network(
    folder: Path, side: int, cells: list[dict] | None, tried: Any, wrong: tuple[int, ...] = ()
) -> Found:
    name = f"mobilenet_v2-0.35-{side}"
    run = RunDir(folder / "networks" / name)
    config = Config(
        name=name, model=ModelConfig(image_size=side), quantize=QuantizeConfig(PRECISIONS)
    )
    record = None
    if cells is not None:
        record = {"results": {"cells": cells}}
        stored = run.stage("cells") / ANSWERS
        stored.parent.mkdir(parents=True)
        said = {cell["name"]: answers(w) for cell, w in zip(cells, wrong, strict=True)}
        np.savez_compressed(stored, labels=LABELS, **said)
        verified(run, cells, "F1 drop of each class")
    return Found(name, config, run, record, tried)


def verified(run: RunDir, cells: list[dict], failing: str) -> None:
    """The record of verify: those that did not pass failed the check of this name."""
    models = [
        {
            "file": cell["file"],
            "checks": [
                {"name": "structure", "passed": True, "measured": "int8", "allowed": "int8"},
                {"name": "top-1", "passed": None, "measured": "0.9", "allowed": "anything"},
                {
                    "name": failing,
                    "passed": cell["passed"],
                    "measured": "1 found",
                    "allowed": "2 or more",
                },
            ],
        }
        for cell in cells
    ]
    run.write_record("verify", inputs=[], outputs=[], config={}, results={"models": models})


def timed(milliseconds: dict[str, float], accuracy: float | None = None) -> dict[str, Any]:
    """A bench's record, by the name of the cell."""
    told = {"reason": "not told"} if accuracy is None else {"value": accuracy}
    models = []
    for name, value in milliseconds.items():
        time = {"value": value, "unit": "ms", "low": value * 0.99, "high": value * 1.01}
        models.append(
            {
                "sha256": f"hash of {name}",
                "quality": {"accuracy": told},
                "latency": [
                    {
                        "p50": time,
                        "p90": time,
                        "ratio": {"value": value, "unit": "1"},
                        "delegate": {"label": "XNNPACK"},
                        "n": 100,
                    }
                ],
            }
        )
    return {"results": {"models": models, "warnings": ["the machine was busy"]}}


@pytest.fixture
def networks(tmp_path: Path) -> list[Found]:
    """Made here, made elsewhere, given up, and left by workers that died."""
    here = "mobilenet_v2-0.35-32"
    mine = [made(here, "float16", 2, 900), made(here, "int8", 5, 600, passed=False)]
    theirs = [made("mobilenet_v2-0.35-40", p, 1, 950) for p in PRECISIONS]
    elsewhere = trial(
        TrialState.COMPLETE, 1, cells=[summary(c) for c in theirs], cpu="another processor"
    )
    return [
        network(tmp_path, 32, mine, trial(TrialState.COMPLETE), (2, 5)),
        network(tmp_path, 40, None, elsewhere),
        network(tmp_path, 48, None, trial(TrialState.PRUNED, 2, reason="out of memory")),
        network(tmp_path, 56, None, None),
    ]


def test_every_cell_has_its_row_and_what_is_missing_its_reason(tmp_path, networks):
    cells = cells_of(RunDir(tmp_path), networks, ONE)
    assert [(cell["image_size"], cell["precision"]) for cell in cells] == [
        (side, precision) for side in (32, 40, 48, 56) for precision in PRECISIONS
    ]
    states = ["here", "elsewhere", "given up", "given up"]
    assert [cell["state"] for cell in cells] == [state for state in states for _ in PRECISIONS]
    assert [cell["passed"] for cell in cells] == [True, False, True, True, *[None] * 4]
    here, refused, elsewhere, _, memory, _, died, _ = cells
    assert here["file"] == (
        "networks/mobilenet_v2-0.35-32/quantize/mobilenet_v2-0.35-32-float16.tflite"
    )
    assert here["accuracy"]["value"] == pytest.approx(58 / 60) and here["alpha"] == 0.35
    assert refused["verdict"] == "worse"
    assert elsewhere["file"] is None and elsewhere["macro_f1"]["value"] > 0.9
    assert (
        elsewhere["p50"]["reason"] == "made on another machine, and its file is not in this folder"
    )
    assert memory["macro_f1"]["reason"] == memory["verdict"] == "out of memory"
    assert died["size"]["reason"] == "its workers died again and again"


def test_times_go_to_the_cells_of_their_hash_and_other_answers_are_told(tmp_path, networks):
    cells = cells_of(RunDir(tmp_path), networks, ONE)
    times = {"mobilenet_v2-0.35-32-int8": 2.0, "mobilenet_v2-0.35-32-float16": 1.0}
    said = add_times(cells, timed(times, accuracy=58 / 60), ONE)
    assert [cell["p50"].get("value") for cell in cells] == [1.0, 2.0, *[None] * 6]
    assert said[0] == "the machine was busy"
    assert "mobilenet_v2-0.35-32-int8 (0.9667) did not answer as where it was made" in said[1]
    assert "float16" not in said[1]
    assert add_times(cells, None, ONE) == []


def test_the_front_is_of_cells_that_passed_and_were_timed(tmp_path, networks):
    cells = cells_of(RunDir(tmp_path), networks, ONE)
    assert draw_scores(cells, networks, ONE) is None
    mark_front(cells, None, "macro_f1")
    assert {cell["front"] for cell in cells} == {None}
    times = {"mobilenet_v2-0.35-32-int8": 0.1, "mobilenet_v2-0.35-32-float16": 1.0}
    add_times(cells, timed(times), ONE)
    mark_front(cells, draw_scores(cells, networks, ONE), "macro_f1")
    assert [cell["front"] for cell in cells] == [True, *[None] * 7]
    assert cells[0]["front_share"]["value"] == 1.0


PAIR = "mobilenet_v2-0.35-32"


def one_image_apart(folder):
    """A float16 cell and a smaller, faster int8 one of a network, their networks, and their draws."""
    mine = [made(PAIR, "float16", 2, 900), made(PAIR, "int8", 3, 600)]
    both = [network(folder, 32, mine, trial(TrialState.COMPLETE), (2, 3))]
    cells = cells_of(RunDir(folder), both, ONE)
    add_times(cells, timed({f"{PAIR}-float16": 2.0, f"{PAIR}-int8": 1.0}), ONE)
    return cells, both, draw_scores(cells, both, ONE)


def test_a_pair_that_only_differs_by_chance_shares_the_front(tmp_path):
    cells, both, draws = one_image_apart(tmp_path)
    for by in ("macro_f1", "accuracy"):
        mark_front(cells, draws, by)
        # The larger, slower file is better by one image of 60: drawn in 1 - (59/60)^60 of the draws.
        assert [cell["front"] for cell in cells] == [True, True]
        assert cells[1]["front_share"]["value"] == 1.0
        assert cells[0]["front_share"]["value"] == pytest.approx(0.635, abs=0.06)
        assert cells[0]["front_share"]["n"] == 1000


@pytest.mark.parametrize(("margin", "named"), [(0.1, True), (0.05, False)])
def test_the_margin_of_verify_decides_whether_a_smaller_cell_is_named(
    tmp_path, monkeypatch, margin, named
):
    cells, both, draws = one_image_apart(tmp_path)
    seen = {"results": dict.fromkeys(("n", "accuracy", "macro_f1", "worst_class"))}
    monkeypatch.setattr(sweep_output, "evaluate_anew", lambda *_: seen)
    wishes = Wishes(Limits(min_f1=0.9), "f1", "macro_f1", "macro_f1")
    dataset = SimpleNamespace(task=MULTI_CLASS)
    found = sweep_output._answer(cells, both, wishes, draws, margin, dataset, Silent())
    assert found["cell"] == f"{PAIR}-float16" and found["margin"] == margin
    assert found["smaller_alike"] == (f"{PAIR}-int8" if named else None)
    if named:
        # One image of 60 in which they differ; 60 that differ nowhere exclude no 6 %.
        lost = cells[0]["macro_f1"]["value"] - cells[1]["macro_f1"]["value"]
        assert found["smaller_drop"]["value"] == pytest.approx(lost)
        assert found["smaller_drop"]["n"] == 60 and 0.06 < found["smaller_drop"]["high"] < 0.061


def test_warnings_name_other_machines_and_every_look_at_test(tmp_path, networks):
    cells = cells_of(RunDir(tmp_path), networks, ONE)
    refused, elsewhere, machines = _warnings(cells, networks, ONE)
    assert refused.startswith("verify refused 1 of 8 cells by 'F1 drop of each class'")
    assert elsewhere.startswith("mobilenet_v2-0.35-40: made on another machine, without times")
    assert "3 on one processor" not in machines and "1 on another processor" in machines
    for precision in PRECISIONS:
        folder = networks[0].run.stage("evaluate") / f"{networks[0].name}-{precision}-test"
        disk.atomic_write_json(folder / "record.json", {})
    *_, looked = _warnings(cells, networks, ONE)
    assert "test has been looked at for 2 cells" in looked
    assert f"{networks[0].name}-float16, {networks[0].name}-int8" in looked
    again = [{"file": f"{networks[0].name}-int8.tflite", "checks": []}]
    verdicts = {"split": "test", "models": again}
    networks[0].run.write_record("verify", inputs=[], outputs=[], config={}, results=verdicts)
    assert _warnings(cells, networks, ONE) == [elsewhere, machines, looked]
    shutil.rmtree(networks[0].run.stage("evaluate") / f"{networks[0].name}-int8-test")
    assert _warnings(cells, networks, ONE)[-1] == looked
    alone = [networks[2]]
    assert _warnings(cells_of(RunDir(tmp_path), alone, ONE), alone, ONE) == []


def test_what_verify_refused_is_told_by_check_with_numbers_and_what_to_change(tmp_path):
    name = "mobilenet_v2-0.35-32"
    cells = [made(name, precision, 2, 900, passed=False) for precision in PRECISIONS]
    dead = network(tmp_path, 32, cells, trial(TrialState.COMPLETE), (2, 2))
    verified(dead.run, cells, "reference alive")
    rows = cells_of(RunDir(tmp_path), [dead], ONE)
    assert _warnings(rows, [dead], ONE) == [
        "verify refused 2 of 2 cells by 'reference alive' (mobilenet_v2-0.35-32-float16: 1 found,"
        " allowed 2 or more); train longer (--epochs), on more images (without --limit), with another"
        " --output"
    ]
    for row in rows:
        row["passed"] = True
    assert _warnings(rows, [dead], ONE) == []


def test_the_table_as_csv_has_a_line_for_every_cell(tmp_path, networks):
    lines = _csv(cells_of(RunDir(tmp_path), networks, ONE), ONE).splitlines()
    assert len(lines) == 1 + 8
    assert lines[0].startswith(
        "name,model,alpha,image_size,precision,state,passed,front,front_share"
    )
    assert "out of memory" in lines[5]


def test_a_reason_is_no_formula(tmp_path, networks):
    rows = cells_of(RunDir(tmp_path), networks, ONE)
    rows[0]["reason"] = "=HYPERLINK(1) is not there"
    assert _csv(rows, ONE).splitlines()[1].endswith(",'=HYPERLINK(1) is not there")
