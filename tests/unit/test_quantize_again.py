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
from edgecell.pipeline import analysing
from edgecell.pipeline.peering import calibration_images
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
        other = "val+test" if key == "split" else not value if value is False else value / 2 or 0.1
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


def test_what_files_that_stay_were_made_of_stays_in_the_record(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixed file was chosen on val; a later call for a float file alone reads no image at all."""
    judged = analysing._judge

    def loses(*arguments: Any) -> Any:
        candidate, report = judged(*arguments)
        return replace(candidate, accuracy_drop=0.0625 if arguments[-1] else 0.0), report

    monkeypatch.setattr(analysing, "_judge", loses)
    first = (run / "quantize" / "calibration.json").read_bytes()
    mixed = QuantizeConfig(("int16x8",), calibration_images=20, seed=7, keep_float="1")
    assert any(
        "float the accuracy drop on val is +0.0625" in line for line in anew(run, quantize=mixed)
    )
    plain = QuantizeConfig(("float16",))
    anew(run, quantize=plain)
    record = RunDir(run).check_outputs("quantize")
    assert {name for name in record["inputs"] if ":" in name} == {"data:toy:train", "data:toy:val"}
    assert anew(run, quantize=plain) == [SKIPPED]
    (aside,) = (run / "quantize").glob("calibration-*.json")
    assert aside.read_bytes() == first
    named = {e["precision"]: e.get("calibration") for e in record["results"]["models"]}
    assert named["float32"] is None and named["float16"] is None
    assert (named["int8"]["manifest"], named["int8"]["count"]) == (aside.name, 32)
    for precision in ("int16x8", "mixed"):
        facts = named[precision]
        assert (facts["manifest"], facts["count"], facts["seed"]) == ("calibration.json", 20, 7)
    # Other runtimes get the images of the int8 file, not those of the newest call.
    target = resolve(run)
    dataset = load_dataset(target.config.data)
    assert len(calibration_images(target, target.config, dataset)) == toy_run.CALIBRATED_ON
    # Without the file that was chosen on val the record does not claim that any was.
    next((run / "quantize").glob("*-mixed.tflite")).unlink()
    anew(run, quantize=QuantizeConfig(("float32",)))
    assert "data:toy:val" not in RunDir(run).read_record("quantize")["inputs"]
    assert "data:toy:train" in RunDir(run).read_record("quantize")["inputs"]
