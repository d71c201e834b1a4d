from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgecell import train as train_module
from edgecell.config import Config, TrainConfig
from edgecell.config_file import load_config
from edgecell.distribution import ONE, Devices, Place, place_of
from edgecell.errors import ConfigError
from edgecell.pipeline import running, seeds, sweeping, tuning
from edgecell.pipeline.train_settings import settings_of
from edgecell.progress import Silent


def told(monkeypatch, cluster: dict, kind: str, index: object) -> Place:
    task = {"type": kind, "index": index}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    return place_of("multiworker")


def test_a_process_finds_its_place_and_the_first_is_the_chief(monkeypatch):
    workers = {"worker": ["a:1", "b:1", "c:1"]}
    assert told(monkeypatch, workers, "worker", 0) == Place(0, 3)
    assert told(monkeypatch, workers, "worker", "2") == Place(2, 3)
    assert told(monkeypatch, workers, "worker", 0).chief
    assert not told(monkeypatch, workers, "worker", 2).chief
    led = {"worker": ["a:1"], "chief": ["b:1"]}
    assert told(monkeypatch, led, "chief", 0) == Place(0, 2)
    assert told(monkeypatch, led, "worker", 0) == Place(1, 2)


def test_other_strategies_do_not_look_at_the_environment(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "nonsense")
    assert place_of("one") == place_of("mirrored") == Place()
    with pytest.raises(ConfigError, match="TF_CONFIG cannot be read"):
        place_of("multiworker")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs the environment variable TF_CONFIG"),
        ("[1]", "cannot be read"),
        ('{"cluster": {"worker": ["a:1"]}}', "cannot be read"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "this is worker 1, of the tasks worker 0",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "tasks of the kind ps; allowed: chief and worker",
        ),
    ],
)
def test_a_place_that_cannot_be_told_is_refused(monkeypatch, text, said):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=said):
        place_of("multiworker")


def test_one_device_shares_nothing():
    assert (ONE.count, ONE.place.chief) == (1, True)
    assert ONE.from_chief([1.0, 2.0]) == [1.0, 2.0]
    ONE.agree({"data": "whatever"})


def test_a_batch_has_to_have_equal_parts():
    class Six(Devices):
        count = 6

    train_module._check_shares(96, Six())
    with pytest.raises(
        ConfigError, match="a batch of 64 images has no 6 equal parts.*--batch-size 60"
    ):
        train_module._check_shares(64, Six())
    with pytest.raises(ConfigError, match="--batch-size 6,"):
        train_module._check_shares(4, Six())


def test_the_saved_state_does_not_depend_on_how_many_share_the_work(tiny_dataset):
    alone = Config(train=TrainConfig(batch_size=12))
    shared = replace(alone, train=replace(alone.train, strategy="mirrored"))
    other = replace(alone, train=replace(alone.train, batch_size=24))
    key = train_module.state_key
    assert key(alone, tiny_dataset) == key(shared, tiny_dataset) != key(other, tiny_dataset)


@pytest.mark.parametrize("name", ["pbc28", "pbc128"])
def test_runs_made_before_there_were_strategies_are_still_finished(name):
    run = Path(__file__).parents[2] / "artifacts" / name
    config = load_config(run / "config.toml")
    recorded = json.loads((run / "train" / "record.json").read_text())["config"]
    assert json.loads(json.dumps(settings_of(config))) == recorded
    other = replace(config, train=replace(config.train, seed=config.train.seed + 1))
    assert json.loads(json.dumps(settings_of(other))) != recorded


SHARED = Config(train=TrainConfig(strategy="multiworker"))
NO_PLAN = SimpleNamespace(space={})


@pytest.mark.parametrize(
    ("what", "begin"),
    [
        ("a whole run", lambda folder: running.run_all(SHARED, folder, Silent())),
        ("several seeds", lambda folder: seeds.train_seeds(SHARED, 2, folder, Silent())),
        ("a search", lambda folder: tuning.tune_run(SHARED, NO_PLAN, folder, Silent())),
        ("a sweep", lambda folder: sweeping.sweep_run(SHARED, NO_PLAN, folder, Silent())),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_one_process_has_to_do_refuses_several(tmp_path, what, begin):
    with pytest.raises(ConfigError, match=f"{what} cannot be shared by several workers"):
        begin(tmp_path / "new")
    assert not (tmp_path / "new").exists()
