"""What is said of a verdict on the images that chose the file, and of one on others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgecell.cli import show
from edgecell.config import Config
from edgecell.pipeline.conversion import quantize_target
from edgecell.pipeline.pairing import chosen_on_val
from edgecell.pipeline.verification import verify_target
from edgecell.progress import Silent
from edgecell.report.html import render
from edgecell.rundir import RunDir


def sparing(config: Config) -> Config:
    """With one layer in float: the one that val says is hurt most."""
    return replace(config, quantize=replace(config.quantize, precisions=("int8",), keep_float="1"))


@pytest.fixture(scope="module")
def made(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Path(shutil.copytree(toy, tmp_path_factory.mktemp("chosen") / "run"))
    quantize_target(run, sparing, None, None, Silent())
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.mark.parametrize("split", ["val", "val+test", "test"])
def test_a_verdict_on_the_images_that_chose_the_file_says_so(
    run: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_split(config: Config) -> Config:
        return replace(config, verify=replace(config.verify, split=split))

    record, _ = verify_target(run, None, on_split, None, None, Silent())
    noted = {e["precision"]: e.get("notes", []) for e in record["results"]["models"]}
    said = f"chosen on val: a verdict on {split} is optimistic; --split test is not"
    assert noted == {"float32": [], "int8": [], "mixed": [] if split == "test" else [said]}
    show.verified(record)
    assert capsys.readouterr().out.count(said) == (split != "test")
    assert (run / "report.html").read_text().count(said) == (split != "test")


def test_records_of_before_have_no_notes_and_are_shown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, _ = verify_target(run, None, lambda config: config, None, None, Silent())
    for entry in record["results"]["models"]:
        entry.pop("notes", None)
    home = RunDir(run)
    home.write_record("verify", inputs=[], outputs=[], config={}, results=record["results"])
    assert "chosen on val" not in render(home)
    show.verified(record)
    assert "chosen on val" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "chosen"),
    [
        ({"method": "ptq-minmax"}, True),  # a search that came back to the plain method
        ({"method": "pruned0.5-qat"}, True),
        ({"method": None}, False),
        ({}, False),
    ],
)
def test_a_method_is_what_tells(entry: dict, chosen: bool) -> None:
    assert chosen_on_val(entry) == chosen
