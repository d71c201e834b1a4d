"""Teachers, several seeds, ensembles and views on the command line, with a small CNN."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from easy import COUNTS, Run

from edgecell.rundir import RunDir

# The smallest network there is: what is tested here is not how well it learns.
SMALL_CNN = ["--model", "simple_cnn", "--image-size", "28", "--weights", "none"]
BRIEF = [*SMALL_CNN, "--head-epochs", "0", "--epochs", "1", "--batch-size", "24"]


@pytest.fixture(scope="module")
def two_seeds(easy_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seeds 5 and 6."""
    from click.testing import CliRunner

    from edgecell.cli import cli

    folder = tmp_path_factory.mktemp("seeds") / "both"
    command = ["train", "--data", str(easy_npz), *BRIEF, "--seed", "5", "--seeds", "2"]
    done = CliRunner().invoke(cli, [*command, "--output", str(folder)])
    assert done.exit_code == 0, done.output
    assert "± " in done.output and "(sd of 2 seeds)" in done.output
    return folder


def val_accuracy(run: Path) -> float:
    return float(RunDir(run).read_record("train")["results"]["val_accuracy"]["value"])


def test_seeds_are_runs_of_their_own(two_seeds: Path) -> None:
    listed = json.loads((two_seeds / "seeds.json").read_text(encoding="utf-8"))
    assert listed["runs"] == {"5": "seed-5", "6": "seed-6"}
    values = [val_accuracy(two_seeds / name) for name in ("seed-5", "seed-6")]
    assert listed["val_accuracy"]["values"] == values
    assert listed["val_accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    hashes = {
        RunDir(two_seeds / f"seed-{s}").read_record("train")["outputs"]["train/model.keras"]
        for s in (5, 6)
    }
    assert len(hashes) == 2


def test_finished_seeds_are_kept(edgecell: Run, easy_npz: Path, two_seeds: Path) -> None:
    flags = ["--data", easy_npz, *BRIEF, "--seed", "5", "--output", two_seeds]
    again = edgecell("train", *flags, "--seeds", "2")
    assert again.code == 0, again.err
    assert again.err.count("unchanged, skipped") == 2
    single = edgecell("train", *flags[:-1], two_seeds / "seed-5", "--seeds", "2")
    assert single.code == 2
    assert "is a single run" in single.err


def test_a_folder_of_seeds_is_evaluated_as_a_whole(edgecell: Run, two_seeds: Path) -> None:
    done = edgecell("evaluate", two_seeds, "--split", "test", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    for seed, value in zip(found["seeds"], found["accuracy"]["values"], strict=True):
        record = RunDir(two_seeds / f"seed-{seed}").read_record("evaluate/model-test")
        assert record["results"]["accuracy"]["value"] == value
        assert record["results"]["n"] == COUNTS["test"]
    refused = edgecell("evaluate", two_seeds, "--output", "elsewhere")
    assert refused.code == 2


def test_views_and_ensembles_are_labelled_as_such(edgecell: Run, two_seeds: Path) -> None:
    run, other = two_seeds / "seed-5", two_seeds / "seed-6"
    done = edgecell("evaluate", run, "--tta", "--ensemble", other, "--json")
    assert done.code == 0, done.err
    assert "8 views" in json.loads(done.out)["model"]
    record = RunDir(run).read_record("evaluate/model+1-tta-val")
    assert record["config"]["ensemble"] == 2 and record["config"]["tta"] is True
    assert not RunDir(run).has("evaluate/model-val"), "a plain evaluation is another folder"


def test_a_teacher_is_recorded_with_its_hash(
    edgecell: Run, easy_npz: Path, two_seeds: Path, tmp_path: Path
) -> None:
    teacher = two_seeds / "seed-5"
    flags = ["--data", easy_npz, *BRIEF, "--teacher", teacher, "--output", tmp_path / "student"]
    done = edgecell("train", *flags)
    assert done.code == 0, done.err
    record = RunDir(tmp_path / "student").read_record("train")
    [facts] = record["results"]["teachers"]
    expected = RunDir(teacher).read_record("train")["outputs"]["train/model.keras"]
    assert facts["sha256"] == expected and facts["same_data"] is True
    assert expected in record["inputs"].values()
    missing = edgecell("train", *flags[:-2], "--teacher", "nowhere")
    assert missing.code == 6
    assert "no run folder or model at nowhere" in missing.err


def test_batch_size_auto_is_written_down(edgecell: Run, easy_npz: Path, tmp_path: Path) -> None:
    flags = ["--data", easy_npz, *SMALL_CNN, "--head-epochs", "0", "--epochs", "1"]
    run = tmp_path / "auto"
    done = edgecell("train", *flags, "--batch-size", "auto", "--output", run)
    assert done.code == 0, done.err
    text = (run / "config.toml").read_text(encoding="utf-8")
    size = re.search(r"^batch_size = (\d+)$", text, flags=re.MULTILINE)
    assert size is not None and int(size[1]) in (32,)  # 240 images: larger ones leave under 8 steps
    wrong = edgecell("train", *flags, "--batch-size", "many")
    assert wrong.code == 2
