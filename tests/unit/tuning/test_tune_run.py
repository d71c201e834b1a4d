"""``edgecell tune`` as a whole, its trainings left out: who may join, teachers, where trials start."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tf_keras as keras
from click.testing import CliRunner

from edgecell import disk
from edgecell.cli.tuning import tune
from edgecell.config import Config, DataConfig, ModelConfig, TeacherConfig, TrainConfig
from edgecell.config_file import load_config
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.pipeline import tuning, tuning_output
from edgecell.progress import Silent
from edgecell.rundir import RunDir
from edgecell.tuning.space import parse_space
from edgecell.tuning.study import PrunedError

RATES = '"train.learning_rate" = [2e-3, 5e-3]'
SHARES = '"teacher.distillation" = {low = 0.1, high = 0.9}'


def plan(line: str = RATES, trials: int = 1) -> tuning.Plan:
    return tuning.Plan(parse_space(f"[space]\n{line}\n", "s.toml"), trials=trials)


@pytest.fixture
def config(colours: Path) -> Config:
    return Config(
        name="toy",
        data=DataConfig(source=str(colours)),
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
    monkeypatch.setattr(tuning, "write_study", lambda *_: {})
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


def test_a_folder_keeps_to_the_study_whose_trials_it_holds(config: Config, tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path}/shared.db"
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"

    def search(folder: Path, study: str, storage: str = shared, lines: str = RATES) -> None:
        asked = replace(plan(lines), storage=storage, study=study)
        tuning.tune_run(config, asked, folder, Silent())

    search(mine, "a")
    search(theirs, "b")
    written = (mine / "config.toml").read_bytes()
    with pytest.raises(
        ConfigError, match="mine holds trials of another study, 'a'; give --study a, or"
    ):
        search(mine, "b")  # which the storage holds as well
    other = f"sqlite:///{tmp_path}/other.db"
    wider = '"train.learning_rate" = [2e-3, 7e-3]'
    search(tmp_path / "elsewhere", "a", other, wider)
    with pytest.raises(ConfigError, match="holds trials of another study of this name, with other"):
        search(mine, "a", other, wider)
    assert (mine / "config.toml").read_bytes() == written
    search(mine, "a")


def test_a_folder_of_before_there_was_a_note_goes_on_and_gets_one(
    config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    tuning.tune_run(config, plan(), folder, Silent())
    noted = (folder / ".study").read_bytes()
    (folder / ".study").unlink()
    tuning.tune_run(config, plan(trials=2), folder, Silent())
    assert (folder / ".study").read_bytes() == noted


def test_a_folder_without_trials_takes_another_study(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    tuning.tune_run(config, plan(), folder, Silent())
    shutil.rmtree(folder / "trials")
    tuning.tune_run(config, replace(plan(), study="b"), folder, Silent())
    assert disk.read_json(folder / ".study")["study"] == "b"


def test_trials_learn_from_a_teacher_as_much_as_the_space_says(
    config: Config, tmp_path: Path, trained: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "teacher.keras"
    teacher.write_bytes(b"a model")
    monkeypatch.setattr(tuning, "teacher_files", lambda _: [teacher])  # not looked into here
    monkeypatch.setattr(tuning, "load_teachers", lambda *_: [])
    taught = replace(config, teacher=TeacherConfig(runs=(str(teacher),)))
    tuning.tune_run(taught, plan(SHARES, trials=3), tmp_path / "search", Silent())
    assert [each.teacher.runs for each in trained] == [(str(teacher),)] * 3
    assert len({each.teacher.distillation for each in trained}) == 3


def test_a_teacher_s_settings_are_not_searched_without_a_teacher(
    config: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        tuning.tune_run(config, plan(SHARES), tmp_path / "search", Silent())
    assert str(caught.value) == (
        "the space searches 'teacher.distillation', and there is no teacher, without which it does"
        " nothing; name one with --teacher RUN, or take it out of the space"
    )
    assert not (tmp_path / "search").exists()


def test_the_verb_takes_a_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TeacherConfig] = []

    def see(config: Config, *_: Any) -> None:
        seen.append(config.teacher)
        raise ConfigError("seen")

    monkeypatch.setattr(tuning, "tune_run", see)
    flags = ["--teacher", "runs/a", "--teacher", "runs/b", "--distillation", "0.4", "--teacher-tta"]
    done = CliRunner().invoke(tune, [*flags, "--temperature", "3"])
    assert seen == [TeacherConfig(("runs/a", "runs/b"), 0.4, 3.0, True)], done.output


def test_trials_may_start_from_a_run(config: Config, tmp_path: Path, trained: list[Config]) -> None:
    run = tmp_path / "before"
    (run / "train").mkdir(parents=True)
    line = f'"model.weights" = ["none", "{run}"]'
    with pytest.raises(ArtifactError, match=f"no weights file at {run}/train/model.keras, which"):
        tuning.tune_run(config, plan(line), tmp_path / "search", Silent())
    assert not (tmp_path / "search").exists()
    (run / "train" / "model.keras").write_bytes(b"a model")
    tuning.tune_run(config, plan(line, trials=6), tmp_path / "search", Silent())
    assert {each.model.weights for each in trained} == {"none", str(run)}


def test_a_teacher_of_other_classes_is_refused_before_the_first_trial(
    config: Config, tmp_path: Path, trained: list[Config]
) -> None:
    frame = [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D()]
    teacher = keras.Sequential([*frame, keras.layers.Dense(4, "softmax")])
    teacher.save(tmp_path / "teacher.keras")
    taught = replace(config, teacher=TeacherConfig(runs=(str(tmp_path / "teacher.keras"),)))
    with pytest.raises(DataError, match="knows 4 classes, 'colours' has 3"):
        tuning.tune_run(taught, plan(), tmp_path / "search", Silent())
    assert not trained and not (tmp_path / "search").exists()


def test_a_storage_that_cannot_be_leaves_nothing(config: Config, tmp_path: Path) -> None:
    bad = replace(plan(), storage="nonsense://x")
    with pytest.raises(ConfigError, match="is no storage"):
        tuning.tune_run(config, bad, tmp_path / "search", Silent())
    assert not (tmp_path / "search").exists()


def test_a_state_is_found_behind_an_attempt_that_died_before_it_took_it_over(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = tmp_path / "search", []

    def die(config: Config, run: RunDir, *_: Any) -> None:
        state = run.stage("train") / "state"
        found.append(sorted(path.name for path in state.glob("*")))
        if len(found) == 1:
            disk.atomic_write_bytes(state / "state.json", b"{}")
            raise KeyboardInterrupt
        raise PrunedError("not in this test")

    def too_early(old: Path, new: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "train_run", die)
    with pytest.raises(KeyboardInterrupt):
        tuning.tune_run(config, plan(), folder, Silent())
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tuning, "_take_over", too_early)
        tuning.tune_run(config, plan(), folder, Silent())
    tuning.tune_run(config, plan(), folder, Silent())
    assert found == [[], ["state.json"]]


def test_a_reason_is_no_formula():
    row = {"number": 0, "state": "failed", "score": {}, "values": {}, "reason": "@x is not there"}
    judge = SimpleNamespace(task=SimpleNamespace(metric="accuracy"))
    assert tuning_output._csv([row], [], judge).splitlines()[1] == "0,failed,,,,,'@x is not there"
