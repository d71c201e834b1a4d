from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import stats

from benchmarks.robustness import conditions, robustness


@dataclass
class Eye:
    """Tells dark from light images at a limit; it is thrown by noise of its own, if it has any."""

    name: str
    limit: float = 128.0
    jitter: float = 0.0
    image_size: tuple[int, int] = (16, 16)
    class_count: int = 2
    output_scale: float | None = None
    calls: list[int] = field(default_factory=list)

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.calls.append(len(images))
        roughness = np.abs(np.diff(images.astype(float), axis=1)).mean(axis=(1, 2, 3))
        random = np.random.default_rng(len(images))
        seen = images.mean(axis=(1, 2, 3)) + self.jitter * roughness * random.normal(
            size=len(images)
        )
        light = (seen > self.limit).astype(np.float32)
        return np.stack([1 - light, light], axis=1)


@pytest.fixture(scope="module")
def scene():
    """Half the images dark, a quarter light and a quarter very light."""
    labels = np.arange(200) % 2
    shade = np.array([106, 150, 106, 250])[np.arange(200) % 4][:, None, None, None]
    images = np.broadcast_to(shade, (200, 16, 16, 3)).astype(np.uint8)
    return images, labels.astype(np.int64)


def test_every_condition_is_measured_once(scene):
    done: list[int] = []
    eye = Eye("float")
    found = robustness(eye, [Eye("int8")], *scene, ("dark", "noise"), advance=done.append)
    keys = [(c["corruption"], c["strength"]) for c in found["conditions"]]
    assert keys == conditions(("dark", "noise")) and len(keys) == 11
    assert done == list(range(1, 12)) and eye.calls == [200] * 11
    json.dumps(found, allow_nan=False)


def test_the_numbers_of_a_shift_that_crosses_the_limit(scene):
    found = robustness(Eye("float"), [Eye("int8", limit=120.0)], *scene, ("dark",))
    by_strength = {c["strength"]: c["models"] for c in found["conditions"]}
    # Light images of 150 lose 13, 26, 38, 51, 77: below 128 from the second strength on, below 120
    # from the third. Very light ones stay light.
    accuracies = [[m["accuracy"]["value"] for m in by_strength[s]] for s in range(6)]
    assert accuracies == [[1, 1], [1, 1], [0.75, 1], [0.75, 0.75], [0.75, 0.75], [0.75, 0.75]]
    drop = by_strength[2][1]["drop"]
    assert drop["value"] == -0.25 and drop["low"] < -0.25 < drop["high"] < 0
    assert "drop" not in by_strength[2][0]
    fall = found["falls"][0]
    assert fall["corruption"] == "dark" and fall["verdict"] == "falls slower"
    assert fall["extra_fall"]["value"] == pytest.approx(-0.25 / 5)
    # t of the mean of 50 ones and 150 zeros: 0.25 / (0.4341 / sqrt(200)) = 8.14; one corruption: Holm changes nothing.
    assert fall["p"] == pytest.approx(2 * stats.t.sf(8.144, 199), rel=0.01)
    assert found["blind"] == []


def test_a_file_that_falls_faster_is_told_and_its_twin_is_not(scene):
    models = [Eye("twin"), Eye("fragile", jitter=3.0)]
    found = robustness(Eye("float"), models, *scene, ("noise", "warm"))
    verdicts = {(f["model"], f["corruption"]): f["verdict"] for f in found["falls"]}
    assert verdicts["fragile", "noise"] == verdicts["fragile", "all"] == "falls faster"
    assert verdicts["fragile", "warm"] == "no difference seen"
    assert {verdicts["twin", scope] for scope in ("noise", "warm", "all")} == {"no difference seen"}


def test_a_model_that_was_worse_all_along_does_not_fall_faster(scene):
    found = robustness(Eye("float"), [Eye("blind", limit=0.0)], *scene, ("jpeg",))
    fall, _ = found["falls"]
    assert fall["extra_fall"]["value"] == 0.0 and fall["verdict"] == "no difference seen"
    assert found["conditions"][1]["models"][1]["drop"]["value"] == 0.5


def test_conditions_that_blind_the_reference_are_left_out(scene):
    images, labels = scene
    light = images.max(axis=(1, 2, 3)) == 150
    shown, truth = images[light | (labels == 0)], labels[light | (labels == 0)]
    # 100 dark and 50 light images: from strength 2 on every image is called dark, 100 of 150 right,
    # which is what naming the commonest class gives.
    found = robustness(Eye("float"), [Eye("int8", limit=0.0)], shown, truth, ("dark",))
    assert [row["strength"] for row in found["blind"]] == [2, 3, 4, 5]
    assert [row["conditions"] for row in found["falls"]] == [1, 1]
    none = robustness(Eye("float", limit=300.0), [Eye("int8")], shown, truth, ("jpeg",))
    assert len(none["blind"]) == 5
    assert "sees nothing" in none["falls"][0]["extra_fall"]["reason"]
    assert none["falls"][0]["verdict"] == "no difference seen"
