"""``edgecell tune`` as a whole, its trainings left out: who may join."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import separable

from edgecell.config import Config, DataConfig, ModelConfig, TrainConfig, load_config
from edgecell.errors import ConfigError
from edgecell.pipeline import tuning
from edgecell.progress import Silent
from edgecell.tuning.space import parse_space
from edgecell.tuning.study import PrunedError

RATES = '"train.learning_rate" = [2e-3, 5e-3]'


def plan(line: str = RATES, trials: int = 1) -> tuning.Plan:
    return tuning.Plan(parse_space(f"[space]\n{line}\n", "s.toml"), trials=trials)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    arrays = {}
    for seed, (name, count) in enumerate((("train", 48), ("val", 15), ("test", 15))):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = separable(count, seed)
    np.savez(tmp_path / "colours.npz", **arrays)
    return Config(
        name="toy",
        data=DataConfig(source=str(tmp_path / "colours.npz")),
        model=ModelConfig(alpha=0.35, image_size=32, weights="none"),
        train=TrainConfig(head_epochs=0, epochs=1, batch_size=24),
    )


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """What the trials would be trained with; each is given up instead, and no report is written."""
    seen: list[Config] = []

    def give_up(config: Config, *_: Any) -> None:
        seen.append(config)
        raise PrunedError("not in this test")

    monkeypatch.setattr(tuning, "train_run", give_up)
    monkeypatch.setattr(tuning, "_write", lambda *_: {})
    monkeypatch.setattr(tuning, "write_report", lambda _: None)
    return seen


def test_who_may_not_join_leaves_the_settings_of_the_search_alone(
    config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    tuning.tune_run(config, plan(), folder, Silent())
    written = (folder / "config.toml").read_bytes()
    other = replace(config, train=replace(config.train, epochs=5))
    with pytest.raises(ConfigError, match="was begun with another recipe"):
        tuning.tune_run(other, plan(trials=2), folder, Silent())
    assert (folder / "config.toml").read_bytes() == written
    # What the study does not depend on is that of whoever joined last.
    tuning.tune_run(replace(config, name="renamed"), plan(), folder, Silent())
    assert load_config(folder / "config.toml").name == "renamed"
