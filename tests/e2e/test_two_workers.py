"""One training on several devices ends where one device ends: the same batches, gradients and steps.

Two processes meet on loopback, each with its own TensorFlow; two devices of one process are made of
the CPU. The network has neither BatchNorm nor dropout, which see a device's own images.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from edgecell.rundir import RunDir

pytestmark = pytest.mark.slow
EPOCHS = 3
# Sums of float32 in another order; Adam divides by roots of small numbers, which widens it.
TOLERANCE = 2e-4

TWO_CPUS = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from edgecell.cli import main
main()
"""


@pytest.fixture(scope="module")
def flags(easy_npz: Path) -> list[str]:
    return [
        *("--data", str(easy_npz), "--limit", "96", "--model", "simple_cnn", "--image-size", "28"),
        *("--weights", "none", "--dropout", "0", "--head-epochs", "0", "--epochs", str(EPOCHS)),
        *("--batch-size", "16", "--learning-rate", "2e-3", "--mixup", "0.2", "--ema", "0.9"),
        *("--seed", "3", "--deterministic"),
    ]


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory) -> RunDir:
    """The training on one device."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    command = [sys.executable, "-m", "edgecell", "train", *flags, "--output", str(folder)]
    subprocess.run(command, check=True, timeout=300)
    return RunDir(folder)


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def start(arguments: list[list[str]]) -> list[subprocess.Popen[str]]:
    """A worker for each list of arguments, on one cluster."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(len(arguments))]}
    workers = []
    for index, given in enumerate(arguments):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-m", "edgecell", "train", *given],
                env=os.environ | {"TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return workers


def finish(workers: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    try:
        ended = []
        for worker in workers:
            out, err = worker.communicate(timeout=300)
            ended.append((worker.returncode, out, err))
        return ended
    finally:
        for worker in workers:
            worker.kill()


def shared_by_two(flags: list[str], folder: Path) -> list[list[str]]:
    return [[*flags, "--strategy", "multiworker", "--output", str(folder)]] * 2


def weights(run: RunDir) -> list[np.ndarray]:
    return keras.models.load_model(run.stage("train") / "model.keras").get_weights()


def assert_same(found: RunDir, wanted: RunDir) -> None:
    for ours, theirs in zip(weights(found), weights(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    history = [
        json.loads((run.stage("train") / "history.json").read_text()) for run in (found, wanted)
    ]
    for ours, theirs in zip(*history, strict=True):
        for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-3), name


def test_two_workers_train_what_one_trains(flags, alone, tmp_path):
    folder = tmp_path / "run"
    (code, _, err), (code2, said, err2) = finish(start(shared_by_two(flags, folder)))
    assert (code, code2) == (0, 0), err + err2
    assert "worker 1 of 2 is done; worker 0 writes" in said
    results = RunDir(folder).read_record("train")["results"]
    assert {key: results[key] for key in ("strategy", "workers", "devices")} == {
        "strategy": "multiworker",
        "workers": 2,
        "devices": 2,
    }
    assert_same(RunDir(folder), alone)


def test_a_training_with_other_batches_is_not_the_same(flags, alone, tmp_path):
    """The tolerance is one that another order of the same images does not meet."""
    other = [*flags, "--seed", "4", "--output", str(tmp_path / "run")]
    subprocess.run([sys.executable, "-m", "edgecell", "train", *other], check=True, timeout=300)
    with pytest.raises(AssertionError):
        assert_same(RunDir(tmp_path / "run"), alone)


def test_two_devices_of_one_process_train_what_one_trains(flags, alone, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", TWO_CPUS, "train", *flags, "--strategy", "mirrored"]
    done = subprocess.run(
        [*command, "--output", str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "2 devices, 8 images of each batch of 16 to one" in done.stderr
    assert_same(RunDir(folder), alone)


def test_workers_with_other_data_do_not_begin(flags, tmp_path):
    folder = tmp_path / "run"
    first, second = shared_by_two(flags, folder)
    ended = finish(start([first, [*second, "--limit", "90"]]))
    assert [code for code, _, _ in ended] == [2, 2], ended
    assert all("workers do not have the same data and settings" in err for _, _, err in ended)
    assert not RunDir(folder).has("train")


def test_a_lost_worker_ends_the_other_and_both_go_on(flags, alone, tmp_path):
    folder = tmp_path / "run"
    workers = start(shared_by_two(flags, folder))
    state = folder / "train" / "state" / "state.json"
    deadline = time.monotonic() + 240
    while not state.is_file() and time.monotonic() < deadline and workers[0].poll() is None:
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGKILL)
    (code, _, err), _ = finish(workers)
    assert code == 6, err
    assert "another of the 2 workers ended or cannot be reached" in err
    again = finish(start([["--resume", str(folder)]] * 2))
    assert [code for code, _, _ in again] == [0, 0], again
    assert_same(RunDir(folder), alone)
