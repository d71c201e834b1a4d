"""Two commands at one run: one writer to a stage, and no record of a file that was replaced meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecell.config import BenchConfig, Config
from edgecell.errors import ArtifactError, BusyError
from edgecell.lock import claimed
from edgecell.pipeline.benching import bench_models
from edgecell.pipeline.confidence import calibrate_target
from edgecell.pipeline.conversion import analyze_target, quantize_target
from edgecell.pipeline.embedding import Wish as Embed
from edgecell.pipeline.embedding import embed_target
from edgecell.pipeline.evaluation import evaluate_target
from edgecell.pipeline.explaining import Wish as Explain
from edgecell.pipeline.explaining import explain_target
from edgecell.pipeline.robustness import robustness_target
from edgecell.pipeline.verification import verify_target
from edgecell.progress import Silent
from edgecell.rundir import RunDir


def same(config: Config) -> Config:
    return config


CALLS: dict[str, Callable[[Path, Silent], object]] = {
    "verify": lambda run, told: verify_target(run, None, same, None, None, told),
    "calibrate": lambda run, told: calibrate_target(run, None, same, None, "val", None, told),
    "robustness": lambda run, told: robustness_target(run, None, same, None, "val", None, told),
    "evaluate/model-val": lambda run, told: evaluate_target(
        run, "val", None, None, threads=1, progress=told
    ),
    "explain/model-val": lambda run, told: explain_target(run, Explain(), None, None, told),
    "embed/model-val": lambda run, told: embed_target(run, Embed(), None, None, told),
    "bench": lambda run, told: bench_models(
        [next((run / "quantize").glob("*-float32.tflite"))],
        lambda config: replace(config, bench=BenchConfig(runs=10, seconds=0.0, warmup_runs=1)),
        None,
        None,
        told,
        allow_unverified=True,
    ),
    "analyze": lambda run, told: analyze_target(run, same, None, None, told),
    "quantize": lambda run, told: quantize_target(run, same, None, None, told),
}


@pytest.fixture
def run(toy_copy: Path) -> Path:
    return toy_copy


def files(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verb", CALLS)
def test_every_stage_has_one_writer(run, verb):
    with claimed(run, verb):
        before = files(run)
        with pytest.raises(BusyError, match=f"another process is at '{verb}' in .*; wait"):
            CALLS[verb](run, Silent())
        assert files(run) == before


class Replacing(Silent):
    """Puts another file in the place of one that was opened, once the work goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def advance(self, done: int, note: str = "") -> None:
        """As another process would."""
        other = self.path.with_name("other")  # as rundir does it: an open file is not touched
        other.write_bytes(self.path.read_bytes() + b"\0")
        other.replace(self.path)


@pytest.mark.parametrize("verb", ["verify", "calibrate", "robustness", "bench"])
def test_nothing_is_recorded_of_a_file_that_was_replaced_meanwhile(run, verb):
    path = next((run / "quantize").glob("*-float32.tflite"))
    with pytest.raises(
        ArtifactError, match=rf"float32\.tflite was replaced while '{verb}' was at it"
    ):
        CALLS[verb](run, Replacing(path))
    assert not RunDir(run).has(verb)


@pytest.mark.parametrize("verb", ["evaluate/model-val", "explain/model-val", "embed/model-val"])
def test_nor_of_a_model_that_was_trained_anew(run, verb):
    with pytest.raises(ArtifactError, match=r"model\.keras was replaced while"):
        CALLS[verb](run, Replacing(run / "train" / "model.keras"))
    assert not RunDir(run).has(verb)
