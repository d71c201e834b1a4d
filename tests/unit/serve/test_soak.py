"""A short soak: some hundred requests to a server of its own; and that the soak would notice."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from asked import calibration, make_run, save_pictures

PROGRAM = Path(__file__).resolve().parents[2] / "soak" / "serve_soak.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("serve_soak", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve_soak"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "toy"
    return make_run(folder, toys.converted("int8"), calibrated=calibration())


def test_three_hundred_requests(program, model, tmp_path):
    made, code = program.soak(model, save_pictures(tmp_path, 12), 300, 4, 300)
    assert made.faults == [] and code == 0
    assert sum(made.counts.values()) == 300 and made.counts["image"] > 150
    assert len(made.counts) == 14  # every kind of garbage was sent
    assert all(size > 10_000_000 for _, size in made.memory)


def test_a_wrong_answer_would_be_seen(program, model, tmp_path, monkeypatch):
    right = program.predicted

    def wrong(model, images):
        found = right(model, images)
        found[images[0]]["top"][0]["probability"] += 1e-6
        return found

    monkeypatch.setattr(program, "predicted", wrong)
    pictures = save_pictures(tmp_path, 3)
    made, _ = program.soak(model, pictures, 40, 2, 300)
    assert made.faults and all(
        f"{pictures[0].name} is answered otherwise" in f for f in made.faults
    )


def test_a_leak_would_be_seen(program):
    made = program.Soak(0, 0, {}, 1000, 1)
    made._next = 1000
    made.memory = [(n, 100_000_000 + 100_000 * n) for n in range(0, 1000, 5)]
    assert made.growth() > program.GROWTH
    made.memory = [(n, 100_000_000 + 200_000 * min(n, 200)) for n in range(0, 1000, 5)]
    assert abs(made.growth()) < 0.001  # what grows while it warms up is no leak


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_0_when_it_is_told_to(model, number):
    command = [sys.executable, "-m", "edgecell", "serve", "--model", str(model), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.send_signal(number)
        out, err = server.communicate(timeout=60)
    assert server.returncode == 0 and out == "" and "Traceback" not in err


def test_a_model_that_is_none_ends_with_6(tmp_path):
    (tmp_path / "x.tflite").write_bytes(json.dumps({}).encode())
    command = [sys.executable, "-m", "edgecell", "serve", "--model", tmp_path / "x.tflite"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 6 and "is not a TFLite file" in done.stderr
