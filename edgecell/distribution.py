"""Training on several devices, or on several machines, with tf.distribute.

All devices hold the same weights. Each gets an equal part of every batch, the gradients are added up,
and every device makes the same step: as if one device had seen the whole batch.
https://www.tensorflow.org/guide/distributed_training
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgecell.errors import ConfigError, WorkerError
from edgecell.share import WHOLE, Share

EXAMPLE = '{"cluster": {"worker": ["host-a:12345", "host-b:12345"]}, "task": {"type": "worker", "index": 0}}'

# What a collective operation ends with where a worker is gone.
_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is; the first is the chief, which writes the run."""

    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes."""
        return self.worker == 0


@dataclass(frozen=True)
class Devices:
    """What a training runs on; ``strategy`` None is one device, without tf.distribute."""

    strategy: tf.distribute.Strategy | None = None
    place: Place = Place()

    @property
    def count(self) -> int:
        """Devices that share a batch, over all workers."""
        return 1 if self.strategy is None else int(self.strategy.num_replicas_in_sync)

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made within are on all devices."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def batches(self, make: Callable[[Share], tf.data.Dataset]) -> Any:
        """What ``fit`` takes: of each batch, to each device its part, and to no worker those of others."""
        if self.strategy is None:
            return make(WHOLE)

        def mine(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = context.num_replicas_in_sync // context.num_input_pipelines
            first = context.input_pipeline_id * local
            return make(Share(context.num_replicas_in_sync, tuple(range(first, first + local))))

        return self.strategy.distribute_datasets_from_function(mine)

    def level(self, variables: Sequence[tf.Variable], values: Sequence[np.ndarray]) -> None:
        """Give all devices the ``values`` of what differs from device to device: BatchNorm's statistics.

        That is what a training that goes on from a file has, to the bit.
        """
        if self.strategy is None:
            return
        for variable, value in zip(variables, values, strict=True):
            if variable.synchronization == tf.VariableSynchronization.ON_READ:
                variable.assign(value)

    def from_chief(self, values: Sequence[float]) -> list[float]:
        """The chief's ``values`` on every worker, which calls this with as many."""
        if self.place.workers == 1:
            return list(values)
        kept = np.asarray(values, np.float64)
        return self._added(kept if self.place.chief else np.zeros_like(kept)).tolist()

    def agree(self, facts: dict[str, str]) -> None:
        """Check that all workers have the same ``facts`` (what, of whatever length, by name).

        Raises:
            ConfigError: on every worker, where one differs; it names the fact.
        """
        if self.place.workers == 1:
            return
        for name, fact in facts.items():
            digest = hashlib.sha256(fact.encode()).digest()
            # 32 bits are exact in a float64, and so is their sum over workers.
            own = np.frombuffer(digest, np.uint32).astype(np.float64)
            if not np.array_equal(self._added(own), own * self.place.workers):
                raise ConfigError(
                    f"the {self.place.workers} workers do not have the same {name}; start them with the"
                    " same command, the same data and versions, and one --output that all of them see"
                )

    def _added(self, values: np.ndarray) -> np.ndarray:
        """``values`` summed over the workers, float64 (N,)."""
        strategy = self.strategy
        assert strategy is not None

        @tf.function
        def add(given: tf.Tensor) -> Any:
            def each(given: tf.Tensor) -> tf.Tensor:
                context = tf.distribute.get_replica_context()
                # A worker with several devices says it once.
                local = self.count // self.place.workers
                first = tf.equal(context.replica_id_in_sync_group % local, 0)
                part = tf.where(first, given, tf.zeros_like(given))
                return context.all_reduce(tf.distribute.ReduceOp.SUM, part)

            return strategy.run(each, args=(given,))

        found = strategy.experimental_local_results(add(tf.constant(values, tf.float64)))
        return np.asarray(found[0].numpy())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Make a lost worker's many faces one error.

        Raises:
            WorkerError: another worker ended or cannot be reached.
        """
        try:
            yield
        except _GONE as error:
            if self.place.workers == 1:
                raise
            raise WorkerError(
                f"another of the {self.place.workers} workers ended or cannot be reached; look at what it"
                " said, then start all of them again with --resume and the run folder: the training goes"
                " on after its last whole epoch"
            ) from error


ONE = Devices()


def place_of(strategy: str) -> Place:
    """Which worker this process is, by TF_CONFIG for "multiworker", and the only one otherwise.

    Raises:
        ConfigError: TF_CONFIG is missing, no JSON, or does not name this task.
    """
    if strategy != "multiworker":
        return Place()
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        raise ConfigError(
            "--strategy multiworker needs the environment variable TF_CONFIG, on each machine with its"
            f" own index, such as {EXAMPLE}"
        )
    try:
        found = json.loads(text)
        cluster, kind, index = found["cluster"], found["task"]["type"], int(found["task"]["index"])
        order = [
            (name, i) for name in ("chief", "worker") for i in range(len(cluster.get(name, ())))
        ]
        others = sorted(set(cluster) - {"chief", "worker"})
        return _place(order, others, (kind, index))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"TF_CONFIG cannot be read ({type(error).__name__}: {error}); wanted is JSON such as"
            f" {EXAMPLE}"
        ) from error


def _place(order: list[tuple[str, int]], others: list[str], task: tuple[str, int]) -> Place:
    if others:
        raise ConfigError(
            f"TF_CONFIG has tasks of the kind {', '.join(others)}; allowed: chief and worker"
        )
    if task not in order:
        known = ", ".join(f"{kind} {index}" for kind, index in order) or "none"
        raise ConfigError(f"TF_CONFIG says that this is {task[0]} {task[1]}, of the tasks {known}")
    return Place(order.index(task), len(order))


def start(strategy: str) -> Devices:
    """What a training with ``strategy`` ("one", "mirrored" or "multiworker") runs on.

    To be called before TensorFlow computes anything; with several workers it waits for all of them.

    Raises:
        ConfigError: as :func:`place_of`; WorkerError: the workers do not come together.
    """
    if strategy == "one":
        return ONE
    if strategy == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        names = [each.name for each in tf.config.list_logical_devices(kind)]
        return Devices(tf.distribute.MirroredStrategy(names))
    return _joined(place_of(strategy))


@functools.cache
def _joined(place: Place) -> Devices:
    """Once in a process: its server cannot be started anew."""
    devices = Devices(None, place)
    with devices.watched():
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return Devices(strategy, place)


def assign_on_each(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> None:
    """Within a training step: give each device's copy of a variable that device's own value.

    The values are the same on all devices, or the variable one that differs by device; nothing is sent.
    """

    def each(strategy: tf.distribute.Strategy, *given: Any) -> None:
        for variable, value in zip(variables, given, strict=True):
            strategy.extended.update(variable, lambda copy, new: copy.assign(new), args=(value,))

    tf.distribute.get_replica_context().merge_call(each, args=tuple(values))
