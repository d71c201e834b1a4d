"""``edgecell quantize`` of a run that holds files already: what is made anew, what stays, what is said of it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import toy_run

from edgecell.config import Config, QuantizeConfig, VerifyConfig
from edgecell.custody import audit_run
from edgecell.data import load_dataset
from edgecell.errors import ConvertError
from edgecell.pipeline.quantize_settings import settings_of
from edgecell.pipeline.running import quantize_anew
from edgecell.pipeline.targets import resolve
from edgecell.progress import Silent
from edgecell.rundir import RunDir

LENIENT = VerifyConfig(max_accuracy_drop=0.5, max_f1_drop=0.5, margin=0.3)
SKIPPED = "quantize: unchanged, skipped"


class Told(Silent):
    """A Progress that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run.make(tmp_path_factory.mktemp("toy") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run with a float32 and an int8 file that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def files(run: Path) -> dict[str, bytes]:
    """What is in the folder of the files."""
    return {path.name: path.read_bytes() for path in (run / "quantize").iterdir()}


def anew(run: Path, **tables: Any) -> list[str]:
    """What ``edgecell run`` says when it comes to quantize with these tables changed."""
    target, told = resolve(run), Told()
    config = replace(target.config, **tables)
    quantize_anew(RunDir(run), target, config, load_dataset(config.data), told)
    return told.lines


def test_other_budgets_ask_anew_how_many_layers_stay_in_float(run: Path) -> None:
    automatic = replace(resolve(run).config.quantize, keep_float="auto")
    passes = "mixed: int8 passes with no layer in float, so there is no mixed file"
    assert anew(run, quantize=automatic, verify=LENIENT)[-1] == passes
    assert anew(run, quantize=automatic, verify=LENIENT) == [SKIPPED]
    assert anew(run, quantize=automatic, verify=replace(LENIENT, max_f1_drop=0.4))[-1] == passes


def test_every_budget_and_nothing_else_of_verify_decides_it() -> None:
    config = Config(quantize=QuantizeConfig(keep_float="auto"), verify=LENIENT)
    before = settings_of(config)
    for key, value in asdict(LENIENT).items():
        other = "val+test" if key == "split" else not value if value is False else value / 2
        changed = settings_of(replace(config, verify=replace(LENIENT, **{key: other})))
        assert (changed == before) == (key == "split"), key


@pytest.mark.parametrize("keep_float", ["none", "2"])
def test_where_budgets_decide_nothing_files_stay_current(run: Path, keep_float: str) -> None:
    quantize = QuantizeConfig(keep_float=keep_float)
    settings = settings_of(Config(quantize=quantize, verify=LENIENT))
    assert settings == settings_of(Config(quantize=quantize))
    assert "verify" not in settings
    if keep_float == "none":
        assert anew(run, verify=LENIENT) == [SKIPPED]


def test_what_fails_last_leaves_the_files_as_they_were(run: Path) -> None:
    before = files(run)
    strict = VerifyConfig(require_equivalence=True, margin=0.0001)  # which 32 images cannot show
    said = (
        r"no number of float layers from 0 to \d passes verify on val; the best, .* in float, is"
        r" refused by 'equivalence of accuracy': .*, allowed .*; try --qat or a larger budget"
    )
    quantize = QuantizeConfig(("float16", "int8"), calibration_images=20, keep_float="auto")
    with pytest.raises(ConvertError, match=said):
        anew(run, quantize=quantize, verify=strict)
    assert files(run) == before
    audit = audit_run(run)
    assert not [each for each in audit.findings if "quantize" in each.path]
