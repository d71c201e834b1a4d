"""The released files, bundled, in clients of other people; all test images: ``python tests/clients_agree.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import clients_agree
import numpy as np
import pytest
from clients_agree import MODEL_SIZED, ORIGINAL, Client, Given
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.needs_shared]

N = 60


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory, litertjs: Path) -> Iterator[list[Client]]:
    python = os.environ.get("EDGECELL_MEDIAPIPE_PYTHON")
    with clients_agree.clients(tmp_path_factory.mktemp("browser"), python) as found:
        yield found


FILES = [
    ("pbc128", "int8-search"),
    ("pbc128", "float16"),
    ("pbc28", "int8-search-28px"),
    ("pbc28", "float16-28px"),
]


@pytest.fixture(scope="module", params=FILES, ids="-".join)
def given(request, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Given:
    run, kind = request.param
    home = clients_agree.REPOSITORY / "artifacts" / run
    data = shared / "data" / clients_agree.RUNS[run]
    return clients_agree.prepared(home, kind, data, N, tmp_path_factory.mktemp("given"))


def test_they_answer_as_evaluate(clients, given):
    """Bit for bit where an int8 file gets the model's own pixels, whoever runs it."""
    assert len(set(given.probabilities.argmax(1))) == 8
    integer = "int8" in given.site.name
    for client in clients:
        found = clients_agree.compared(given, client.ask(given, MODEL_SIZED))
        assert (found["n"], found["agreement"]) == (N, 1.0), client.name
        assert found["largest_difference"] <= (0 if integer else 1e-5), client.name
        found = clients_agree.compared(given, client.ask(given, ORIGINAL))
        if (
            given.before is not None
        ):  # nobody is left to resize: the graph does, nearly as the training
            assert found["largest_difference"] <= (0 if integer else 1e-5), client.name
            assert found["before"]["agreement"] >= 0.95, client.name
            assert found["before"]["largest_difference"] > 0, client.name
        elif "sample" in client.name:  # its resize is the training's
            assert found["largest_difference"] <= (0 if integer else 1e-5), client.name
        else:
            assert found["agreement"] >= 0.95 and found["largest_difference"] > 0, client.name


def test_swapped_channels_would_show(clients, given, tmp_path):
    swapped = []
    for file in given.files[MODEL_SIZED]:
        swapped.append(given.site / f"swapped-{file.name}")
        Image.fromarray(np.asarray(Image.open(file))[..., ::-1]).save(swapped[-1])
    spoilt = replace(given, files={MODEL_SIZED: swapped})
    for client in clients:
        row = clients_agree.compared(spoilt, client.ask(spoilt, MODEL_SIZED))
        facts = {
            "client": client.name,
            "file": "b.tflite",
            "made_from": "a.tflite",
            "fed": MODEL_SIZED,
        }
        assert clients_agree.below([facts | row]) != [], client.name


def test_what_falls_short_is_told():
    row = {"client": "c", "file": "f", "fed": ORIGINAL, "agreement": 0.995}
    assert clients_agree.below([row]) == []
    assert clients_agree.below([row | {"agreement": 0.9949}]) == ["c, f, originals: 0.9949 < 0.995"]
    poor = row | {"agreement": 0.9}
    inside = row | {"file": "g", "made_from": "f", "agreement": 1.0, "before": {"agreement": 0.996}}
    assert clients_agree.below([poor, inside]) == []  # g is what gets the originals
    assert clients_agree.below([poor | {"fed": MODEL_SIZED}, inside]) != []
    astray = inside | {"before": {"agreement": 0.99}}
    assert clients_agree.below([poor, astray]) == ["c, g, originals, against f: 0.9900 < 0.995"]
    assert clients_agree.below([row | {"fed": MODEL_SIZED}]) == ["c, f, model-sized: 0.9950 < 1.0"]
