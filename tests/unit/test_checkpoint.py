from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from edgecell import checkpoint as checkpoint_module
from edgecell.checkpoint import Checkpoint, Progression, Snapshot
from edgecell.errors import ArtifactError


def a_model(units: int = 3) -> tuple[keras.Model, keras.optimizers.Optimizer]:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def step(model, optimizer) -> None:
    """One optimizer step, so that weights and slots move."""
    gradients = [np.ones(v.shape, np.float32) for v in model.trainable_variables]
    optimizer.apply_gradients(
        [
            (keras.backend.constant(g), v)
            for g, v in zip(gradients, model.trainable_variables, strict=True)
        ]
    )


def saved(folder: Path, epochs: int = 2, best: int = 1):
    """A state after ``epochs`` epochs whose epoch ``best`` was the best."""
    model, optimizer = a_model()
    checkpoint, progression = Checkpoint(folder), Progression()
    kept = {}
    for epoch in range(1, epochs + 1):
        step(model, optimizer)
        kept[epoch] = [w.copy() for w in model.get_weights()]
        progression.epochs_done = progression.stage_epochs = epoch
        if epoch == best:
            progression.best_epoch, progression.best_accuracy = epoch, 0.5
            progression.best_loss = 0.7
        progression.history.append({"epoch": epoch})
        found = Snapshot.of(model, optimizer)
        checkpoint.save(progression, found, best_now=epoch == best, key="k")
    return checkpoint, progression, model, optimizer, kept


def same(one: list, two: list) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_state_comes_back_with_weights_slots_and_history(tmp_path):
    checkpoint, progression, model, optimizer, kept = saved(tmp_path / "state")
    found = Checkpoint(tmp_path / "state").load("k")
    assert found == progression
    other, its_optimizer = a_model()
    checkpoint.restore(found, other, its_optimizer)
    assert same(other.get_weights(), kept[2])
    slots = [v.numpy() for v in optimizer.variables]
    assert same([v.numpy() for v in its_optimizer.variables], slots)
    assert len(slots) > 4  # moments of each weight and the step count, not nothing
    checkpoint.load_best(found, other)
    assert same(other.get_weights(), kept[1])
    assert not same(kept[1], kept[2])


def test_only_the_last_and_the_best_are_kept_until_all_is_cleared(tmp_path):
    folder = tmp_path / "state"
    checkpoint, *_ = saved(folder, epochs=4, best=2)
    assert {p.name for p in folder.iterdir()} == {"epoch-4.npz", "best-2.npz", "state.json"}
    checkpoint.clear()
    assert not folder.exists()
    checkpoint.clear()
    assert checkpoint.load("k") is None


def test_the_state_of_other_settings_is_refused(tmp_path):
    checkpoint, *_ = saved(tmp_path)
    with pytest.raises(ArtifactError, match="belongs to a training with other settings"):
        checkpoint.load("another key")


@pytest.mark.parametrize("name", ["epoch-2.npz", "best-1.npz"])
@pytest.mark.parametrize("harm", ["alter", "cut", "remove"])
def test_altered_weights_are_refused(tmp_path, name, harm):
    checkpoint, *_ = saved(tmp_path)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if harm == "alter":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[:-10])
    else:
        path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} was altered|is damaged .*{name}"):
        checkpoint.load("k")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [],
        lambda state: state | {"progression": {}},
        lambda state: state | {"progression": state["progression"] | {"novelty": 1}},
        lambda state: {key: state[key] for key in ("key", "progression")},
    ],
)
def test_a_damaged_state_file_is_refused(tmp_path, change):
    checkpoint, *_ = saved(tmp_path)
    path = tmp_path / "state.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ArtifactError, match="is damaged"):
        checkpoint.load("k")


@pytest.mark.parametrize("survivors", [0, 1])
def test_a_death_before_the_state_file_leaves_the_older_state(tmp_path, monkeypatch, survivors):
    """The process dies after 0 or 1 of the two .npz files of epoch 3, which is a new best."""
    checkpoint, before, model, optimizer, kept = saved(tmp_path)
    before = Progression(**vars(before))
    real, written = checkpoint_module.atomic_write_bytes, []

    def dies(path: Path, data: bytes) -> None:
        if len(written) > survivors:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, data)

    monkeypatch.setattr(checkpoint_module, "atomic_write_bytes", dies)
    monkeypatch.setattr(checkpoint_module, "atomic_write_json", dies)
    step(model, optimizer)
    after = Progression(**vars(before) | {"epochs_done": 3, "best_epoch": 3})
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(after, Snapshot.of(model, optimizer), best_now=True, key="k")
    assert written == ["epoch-3.npz", "best-3.npz"][: survivors + 1]
    found = checkpoint.load("k")
    assert found == before
    checkpoint.restore(found, model, None)
    assert same(model.get_weights(), kept[2])
    checkpoint.load_best(found, model)
    assert same(model.get_weights(), kept[1])


def test_a_state_of_another_network_is_refused(tmp_path):
    checkpoint, progression, *_ = saved(tmp_path)
    larger, _ = a_model(units=5)
    with pytest.raises(ArtifactError, match="do not fit the model"):
        checkpoint.restore(progression, larger, None)
    same_model, _ = a_model()
    sgd = keras.optimizers.SGD(0.1)
    sgd.build(same_model.trainable_variables)
    with pytest.raises(ArtifactError, match="the saved optimizer has .* variables, this one"):
        checkpoint.restore(progression, same_model, sgd)


def test_the_best_is_by_accuracy_and_at_a_tie_by_loss():
    progression = Progression(best_accuracy=0.8, best_loss=0.5)
    assert progression.is_best(0.81, 9.0)
    assert progression.is_best(0.8, 0.4)
    assert not progression.is_best(0.8, 0.5)
    assert not progression.is_best(0.79, 0.1)
    assert Progression().is_best(0.0, 100.0)


def test_a_new_stage_starts_with_fresh_patience_and_rate():
    progression = Progression(
        epochs_done=7, stage_epochs=7, epochs_since_best=3, learning_rate_factor=0.25
    )
    progression.next_stage()
    assert (progression.stage, progression.stage_epochs, progression.epochs_done) == (1, 0, 7)
    assert (progression.epochs_since_best, progression.learning_rate_factor) == (0, 1.0)
