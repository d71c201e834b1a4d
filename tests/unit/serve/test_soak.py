"""A short soak: some hundred requests to a server of its own; and that the soak would notice."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from asked import make_bundle, save_pictures

from edgecell.record import seal

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
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def test_three_hundred_requests(program, model, tmp_path):
    made, code = program.soak(model, save_pictures(tmp_path, 12), 300, 4, 300)
    assert made.faults == [] and code == 0
    assert sum(made.counts.values()) == 300 and made.counts["image"] > 150
    assert len(made.counts) == 15  # every kind of garbage was sent
    assert made.busy == 0 and made.answered == made.counts["image"]
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


def test_a_failing_self_test_would_be_seen(program, model, tmp_path):
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    output = broken / "golden" / "00.output"
    card = json.loads((broken / "model.json").read_text())
    output.write_bytes(bytes(len(output.read_bytes())))
    card["files"]["golden/00.output"] = hashlib.sha256(output.read_bytes()).hexdigest()
    (broken / "model.json").write_text(json.dumps(card | {"seal": seal(card)}))
    made, _ = program.soak(broken, save_pictures(tmp_path, 3), 150, 2, 300)
    assert made.counts["self-test"] > 0
    assert len(made.faults) == made.counts["self-test"] and "self-test: 200" in made.faults[0]


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
