"""A loss that is no longer a number ends a training at that step; it can go on with a lower rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import separable

from edgecell import stepping
from edgecell.config import AugmentConfig, Config, DataConfig, ModelConfig, TrainConfig
from edgecell.config_file import load_config, to_toml
from edgecell.errors import ArtifactError, ConfigError, DivergedError
from edgecell.pipeline import train_settings, training
from edgecell.progress import Silent
from edgecell.rundir import RunDir
from edgecell.stepping import Watch

PLAIN = AugmentConfig(
    flip=False, quarter_turns=False, brightness=0.0, contrast=0.0, saturation=0.0, shift=0.0
)
TRAIN = TrainConfig(head_epochs=0, epochs=3, batch_size=24, learning_rate=0.01)


def watch(**changes) -> Watch:
    return Watch(
        Silent(), **{"epoch": 4, "steps": 9, "flag": "--learning-rate", "rate": 0.01} | changes
    )


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_the_first_step_without_a_number_is_named(loss: float) -> None:
    with pytest.raises(DivergedError) as caught:
        watch().on_train_batch_end(2, {"loss": np.float32(loss)})
    assert str(caught.value) == (
        f"the loss is {loss} in epoch 4, step 3 of 9: the training diverged; lower --learning-rate"
        " (now 0.01); epoch 3 is kept: go on from it with 'edgecell train --resume RUN"
        " --learning-rate 0.001'"
    )


def test_before_the_first_epoch_nothing_is_kept_and_the_head_has_its_own_flag() -> None:
    with pytest.raises(DivergedError, match=r"lower --head-learning-rate .* no epoch is kept yet"):
        watch(epoch=1, flag="--head-learning-rate").on_train_batch_end(0, {"loss": float("nan")})


def test_a_large_loss_is_a_number() -> None:
    watch().on_train_batch_end(2, {"loss": np.float32(3e38)})


@pytest.fixture
def config(colours: Path, toy_network: None) -> Config:
    return Config(
        name="toy",
        data=DataConfig(source=str(colours)),
        model=ModelConfig(alpha=0.35, image_size=32, weights="none", dropout=0.3),
        augment=PLAIN,
        train=TRAIN,
    )


def diverge(config: Config, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the second epoch, whose second step has no finite loss."""
    seen = Watch.on_train_batch_end

    def spoilt(self: Watch, batch: int, logs: dict | None = None) -> None:
        broken = self._epoch == 2 and batch == 1
        seen(self, batch, {"loss": float("nan")} if broken else logs)

    with monkeypatch.context() as patched:
        patched.setattr(stepping.Watch, "on_train_batch_end", spoilt)
        with pytest.raises(DivergedError, match="epoch 2, step 2 of 2.*epoch 1 is kept"):
            training.train_run(config, run, Silent())


def test_it_goes_on_from_the_last_good_epoch_with_a_lower_rate(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir.at(tmp_path / "run")
    diverge(config, run, monkeypatch)
    before, _ = training.resume_config(run.path)
    lower = train_settings.with_rates(before, {"learning_rate": 0.001})
    record = training.train_run(lower, run, Silent(), before=before)
    assert record["results"]["epochs"] == 3
    assert record["results"]["changes"] == [{"after_epoch": 1, "learning_rate": [0.01, 0.001]}]
    assert load_config(run.path / "config.toml").train.learning_rate == 0.001


def test_other_settings_without_saying_so_are_still_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir.at(tmp_path / "run")
    diverge(config, run, monkeypatch)
    written = (run.path / "config.toml").read_bytes()
    lower = train_settings.with_rates(config, {"learning_rate": 0.001})
    with pytest.raises(ArtifactError, match="other settings"):
        training.train_run(lower, run, Silent())
    assert (run.path / "config.toml").read_bytes() == written
    assert training.train_run(config, run, Silent())["results"]["epochs"] == 3


def test_a_stopped_training_is_no_place_for_other_settings(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir.at(tmp_path / "run")
    diverge(config, run, monkeypatch)
    written = (run.path / "config.toml").read_bytes()
    lower = train_settings.with_rates(config, {"learning_rate": 0.002})
    with pytest.raises(ConfigError) as caught:
        training.start_run(lower, run.path)
    assert str(caught.value) == (
        f"{run.path} holds a stopped training with other settings (train.learning_rate was 0.01, now"
        f" 0.002); go on with it by 'edgecell train --resume {run.path}', or choose a new folder with"
        " --output"
    )
    for changes in ({"limit": 30}, {"class_names": "a,b,c"}):
        with pytest.raises(ConfigError, match=f"data.{next(iter(changes))} was"):
            training.start_run(replace(config, data=replace(config.data, **changes)), run.path)
    assert (run.path / "config.toml").read_bytes() == written
    resumed, folder = training.resume_config(run.path)
    assert training.train_run(resumed, folder, Silent())["results"]["epochs"] == 3


def test_its_images_may_have_moved_but_not_changed(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir.at(tmp_path / "run")
    diverge(config, run, monkeypatch)
    written = (run.path / "config.toml").read_bytes()
    images, labels = separable(48, 9)
    arrays = dict(np.load(config.data.source)) | {"train_images": images, "train_labels": labels}
    np.savez(tmp_path / "others.npz", **arrays)
    others = replace(config, data=DataConfig(source=str(tmp_path / "others.npz")))
    training.start_run(others, run.path)
    with pytest.raises(ArtifactError, match="other settings"):
        training.train_run(others, run, Silent())
    assert (run.path / "config.toml").read_bytes() == written
    moved = Path(config.data.source).rename(tmp_path / "moved.npz")
    elsewhere = replace(config, data=DataConfig(source=str(moved)))
    again = training.start_run(elsewhere, run.path)
    assert training.train_run(elsewhere, again, Silent())["results"]["epochs"] == 3


def test_what_was_stopped_before_its_first_epoch_may_begin_otherwise(
    config: Config, tmp_path: Path
) -> None:
    run = RunDir.at(tmp_path / "run")
    (run.path / "config.toml").write_text(to_toml(config))
    training.start_run(train_settings.with_rates(config, {"learning_rate": 0.002}), run.path)


def test_without_a_kept_epoch_there_is_nothing_to_go_on_from(
    config: Config, tmp_path: Path
) -> None:
    lower = train_settings.with_rates(config, {"learning_rate": 0.001})
    with pytest.raises(ArtifactError, match="no epoch is kept"):
        training.train_run(lower, RunDir.at(tmp_path / "run"), Silent(), before=config)
