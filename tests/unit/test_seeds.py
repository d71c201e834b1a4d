"""Several seeds of one recipe differ by chance alone: not in the batch size that "auto" turns out to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgecell import autobatch
from edgecell.config import Config, DataConfig, ModelConfig, TrainConfig
from edgecell.config_file import load_config
from edgecell.errors import ConfigError, DataError
from edgecell.pipeline.seeds import train_seeds
from edgecell.progress import Silent


@pytest.fixture
def config(colours: Path, toy_network: None) -> Config:
    return Config(
        name="toy",
        data=DataConfig(source=str(colours)),
        model=ModelConfig(alpha=0.35, image_size=32, weights="none"),
        train=TrainConfig(head_epochs=0, epochs=1, batch_size=0, seed=5),
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What "auto" was found to be, time after time: another size each time."""
    found: list[int] = []

    def choose(*_: object) -> int:
        found.append(24 - 8 * len(found))
        return found[-1]

    monkeypatch.setattr(autobatch, "choose", choose)
    return found


def sizes(folder: Path) -> dict[str, int]:
    return {
        path.parent.name: load_config(path).train.batch_size
        for path in folder.glob("seed-*/config.toml")
    }


def test_the_batch_size_is_measured_once_for_all_seeds(
    config: Config, tmp_path: Path, measured: list[int]
) -> None:
    folder, seeds, _ = train_seeds(config, 2, tmp_path / "seeds", Silent())
    assert seeds == [5, 6]
    assert sizes(folder) == {"seed-5": 24, "seed-6": 24}
    # A third seed has the batch of those that are there, also where an earlier one is asked for first.
    earlier = replace(config, train=replace(config.train, seed=4))
    train_seeds(earlier, 3, folder, Silent())
    assert sizes(folder) == {"seed-4": 24, "seed-5": 24, "seed-6": 24}
    assert measured == [24]


def test_seeds_that_were_trained_with_different_ones_are_not_averaged(
    config: Config, tmp_path: Path, measured: list[int]
) -> None:
    for seed, size in ((5, 24), (6, 16)):
        one = replace(config, train=replace(config.train, seed=seed, batch_size=size))
        train_seeds(one, 1, tmp_path / "seeds", Silent())
    with pytest.raises(ConfigError, match="seed-6 holds a run with other settings"):
        train_seeds(config, 2, tmp_path / "seeds", Silent())
    assert not measured


def test_seeds_of_images_that_are_not_there_leave_no_folder(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gone = replace(config, data=DataConfig(source="gone.npz"))
    for output in (None, tmp_path / "seeds"):
        with pytest.raises(DataError, match="no file or folder at gone.npz"):
            train_seeds(gone, 2, output, Silent())
    assert not (tmp_path / "seeds").exists()
    assert not list(tmp_path.glob("artifacts/runs/*"))
