"""The state of a training after its last whole epoch, so that a killed run can go on.

Weights and optimizer slots go to one .npz, the rest to a JSON file that names it and is replaced
last: whatever moment the process dies at, the JSON file names a complete .npz.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tensorflow as tf
import tf_keras as keras

from edgecell.averaging import WeightAverage
from edgecell.disk import atomic_write_bytes, atomic_write_json, read_json, sha256_bytes
from edgecell.errors import ArtifactError


@dataclass
class Progression:
    """How far a training is: epochs done, best epoch so far, learning-rate state, history.

    ``stage`` counts finished stages, ``stage_epochs`` the epochs of the current one: a stage that
    stopped early has fewer than were planned, so the total alone does not tell where to go on.
    ``changes``: what was set otherwise on the way, each with the epoch after which, see ``adopt``.
    """

    epochs_done: int = 0
    stage: int = 0
    stage_epochs: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    best_sha256: str = ""
    learning_rate_factor: float = 1.0
    epochs_since_best: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def is_best(self, accuracy: float, loss: float) -> bool:
        """Whether these validation figures beat the best: by accuracy, at a tie by loss."""
        return (accuracy, -loss) > (self.best_accuracy, -self.best_loss)

    def next_stage(self) -> None:
        """Begin the next stage: its patience and its learning rate start afresh."""
        self.stage += 1
        self.stage_epochs = 0
        self.epochs_since_best = 0
        self.learning_rate_factor = 1.0


@dataclass(frozen=True)
class Snapshot:
    """What a model, its optimizer and its weights' average hold, as arrays; ``average`` empty for none."""

    weights: list[np.ndarray]
    slots: list[np.ndarray]
    average: list[np.ndarray]

    @classmethod
    def of(
        cls,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        average: WeightAverage | None = None,
    ) -> Snapshot:
        """To be taken by all workers of a training together: reading what differs by device is a sum."""
        slots = [variable.numpy() for variable in optimizer.variables]
        return cls(model.get_weights(), slots, average.values() if average else [])

    @property
    def judged(self) -> list[np.ndarray]:
        """The weights that val sees, and that are kept of the best epoch: the average, if there is one."""
        return self.average or self.weights


class Checkpoint:
    """Reads and writes the state under one folder (``RUN/train/state``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_there(self) -> bool:
        """Whether an epoch was saved."""
        return (self.folder / "state.json").is_file()

    def save(
        self,
        progression: Progression,
        found: Snapshot,
        *,
        best_now: bool,
        key: str,
    ) -> None:
        """Write the state after an epoch; ``key`` names the configuration it belongs to."""
        epoch = progression.epochs_done
        state = _pack(found.weights, [*found.slots, *found.average])
        atomic_write_bytes(self.folder / f"epoch-{epoch}.npz", state)
        if best_now:
            best = _pack(found.judged, [])
            atomic_write_bytes(self.folder / f"best-{epoch}.npz", best)
            progression.best_sha256 = sha256_bytes(best)
        data = asdict(progression)
        # JSON has no infinity; a loss that was never measured is null.
        data["best_loss"] = None if progression.best_epoch == 0 else progression.best_loss
        atomic_write_json(
            self.folder / "state.json",
            {"key": key, "sha256": sha256_bytes(state), "progression": data},
        )
        keep = {f"epoch-{epoch}.npz", f"best-{progression.best_epoch}.npz", "state.json"}
        for old in self.folder.glob("*.npz"):
            if old.name not in keep:
                old.unlink()

    def load(self, key: str) -> Progression | None:
        """The saved progression, or None when nothing was saved.

        Raises:
            ArtifactError: the state is damaged or belongs to another configuration.
        """
        path = self.folder / "state.json"
        if not path.is_file():
            return None
        data = read_json(path)
        try:
            if data["key"] != key:
                raise ArtifactError(
                    f"{path} belongs to a training with other settings; resume with the run's own"
                    " config.toml or start anew with another --output"
                )
            saved = dict(data["progression"])
            saved["best_loss"] = float("inf") if saved["best_loss"] is None else saved["best_loss"]
            progression = Progression(**saved)
            for name, digest in (
                (f"epoch-{progression.epochs_done}.npz", data["sha256"]),
                (f"best-{progression.best_epoch}.npz", progression.best_sha256),
            ):
                if sha256_bytes((self.folder / name).read_bytes()) != digest:
                    raise ArtifactError(
                        f"{self.folder / name} was altered; start the training anew with another"
                        " --output"
                    )
        except (KeyError, TypeError, OSError) as error:
            raise ArtifactError(f"{path} is damaged ({error}); start the training anew") from error
        return progression

    def adopt(self, old: str, new: str, change: dict[str, Any]) -> None:
        """Let a training of the configuration ``new`` go on from the state of ``old``.

        ``change`` says what is different, in JSON types; it is kept with the progression. A state of
        ``new`` stays as it is.

        Raises:
            ArtifactError: no state there, a damaged one, or one of a third configuration.
        """
        path = self.folder / "state.json"
        if not path.is_file():
            raise ArtifactError(
                f"no epoch is kept in {self.folder}, so there is nothing to go on from; start the"
                " training anew with the rate you want"
            )
        if read_json(path).get("key") == new:
            return
        progression = self.load(old)
        assert progression is not None  # the file is there
        data = read_json(path) | {"key": new}
        data["progression"]["changes"] = [
            *progression.changes,
            {"after_epoch": progression.epochs_done} | change,
        ]
        atomic_write_json(path, data)

    def restore(
        self,
        progression: Progression,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None,
        average: WeightAverage | None = None,
    ) -> None:
        """Put the saved weights into ``model``, the rest into a built ``optimizer`` and ``average``."""
        weights, slots = self._unpack(self.folder / f"epoch-{progression.epochs_done}.npz")
        self._assign(model, weights)
        if optimizer is not None:
            variables = _slots(optimizer, average)
            if len(slots) != len(variables):
                raise ArtifactError(
                    f"the saved optimizer has {len(slots)} variables, this one"
                    f" {len(variables)}; start the training anew"
                )
            for variable, value in zip(variables, slots, strict=True):
                variable.assign(value)

    def load_best(self, progression: Progression, model: keras.Model) -> None:
        """Put the weights of the best epoch into ``model``."""
        weights, _ = self._unpack(self.folder / f"best-{progression.best_epoch}.npz")
        self._assign(model, weights)

    def clear(self) -> None:
        """Remove the state of a finished training, first the file that names the others."""
        for path in [self.folder / "state.json", *self.folder.glob("*.npz")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _assign(self, model: keras.Model, weights: list[np.ndarray]) -> None:
        try:
            model.set_weights(weights)
        except ValueError as error:
            raise ArtifactError(
                f"the saved weights in {self.folder} do not fit the model"
            ) from error

    def _unpack(self, path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
        try:
            with np.load(path, allow_pickle=False) as data:
                groups = [
                    [
                        data[f"{kind}{i:05d}"]
                        for i in range(sum(n.startswith(kind) for n in data.files))
                    ]
                    for kind in ("w", "o")
                ]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ArtifactError(f"{path} is damaged ({error}); start the training anew") from error
        return groups[0], groups[1]


def _slots(
    optimizer: keras.optimizers.Optimizer, average: WeightAverage | None
) -> list[tf.Variable]:
    return [*optimizer.variables, *(average.variables if average else ())]


def _pack(weights: list[np.ndarray], slots: list[np.ndarray]) -> bytes:
    arrays = {f"w{i:05d}": a for i, a in enumerate(weights)} | {
        f"o{i:05d}": a for i, a in enumerate(slots)
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
