"""Does a file lose its ranking of several labels faster than its reference? With eyes that are seen through."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmarks.label_robustness import label_robustness
from benchmarks.robustness import conditions
from edgecell import corruptions
from edgecell.errors import DataError

NAMES = ("red", "green", "blue")
NONE = "no difference seen"


@dataclass
class Eye:
    """Ranks by the brightness of a channel for each label; ``jitter`` throws one label where it is rough."""

    name: str
    jitter: float = 0.0
    thrown: int = 0
    dulled: float = 0.0
    image_size: tuple[int, int] = (16, 16)
    class_count: int = 3
    output_scale: float | None = None

    def predict(self, images: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(len(images))
        seen = images.mean(axis=(1, 2), dtype=float)[:, : self.class_count]
        roughness = np.abs(np.diff(images.astype(float), axis=1)).mean(axis=(1, 2, 3))
        seen[:, self.thrown] += self.jitter * roughness * random.normal(size=len(images))
        seen += self.dulled * random.normal(size=seen.shape)
        return (1 / (1 + np.exp((128 - seen) / 40))).astype(np.float32)


class Constant(Eye):
    def predict(self, images: np.ndarray) -> np.ndarray:
        return np.full((len(images), self.class_count), 0.3, np.float32)


class Dark(Eye):
    """Sees nothing below a brightness of 100."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        found = super().predict(images)
        return np.full_like(found, 0.5) if images.mean() < 100 else found


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (240, 16, 16, 3), labels (240, 3): a label lightens its channel, by less than its spread."""
    random = np.random.default_rng(5)
    labels = (random.random((240, 3)) < (0.5, 0.3, 0.15)).astype(np.int64)
    shade = 120 + 22 * labels + random.normal(0, 12, labels.shape)
    images = np.broadcast_to(shade[:, None, None], (240, 16, 16, 3))
    return images.clip(0, 255).astype(np.uint8), labels


def run(scene, models, names=("noise", "warm"), **options):
    images, labels = scene
    found = label_robustness(
        models[0], models[1:], images, labels, names, label_names=NAMES, **options
    )
    json.dumps(found, allow_nan=False)
    return found


def test_every_condition_is_scikit_learn_s_mean_auc(scene):
    images, labels = scene
    done: list[int] = []
    models = [Eye("float"), Eye("int8", jitter=1.0, dulled=4.0)]
    found = run(scene, models, seed=3, advance=done.append)
    assert done == list(range(1, 12))
    keys = [(row["corruption"], row["strength"]) for row in found["conditions"]]
    assert keys == conditions(("noise", "warm"))
    for row in found["conditions"]:
        shown = images
        if row["strength"]:
            shown = corruptions.corrupt(images, row["corruption"], row["strength"], 3)
        scores = [roc_auc_score(labels, model.predict(shown)) for model in models]
        told = [entry["auc"] for entry in row["models"]]
        assert [each["value"] for each in told] == pytest.approx(scores)
        assert all(each["low"] < each["value"] < each["high"] for each in told)
        drop = row["models"][1]["drop"]
        assert drop["value"] == pytest.approx(scores[0] - scores[1])
        assert drop["low"] < drop["value"] < drop["high"] and "drop" not in row["models"][0]
    assert found["blind"] == [] and found["unranked"] == []
    assert (found["task"], found["n"]) == ("multi-label, binary-class", 240)


def test_the_extra_fall_of_one_label_is_delong_s(scene):
    """Against the kernel of all pairs, written out: variance of both kinds of placement over their counts."""
    images, labels = scene[0], scene[1][:, :1]
    models = [
        Eye("float", class_count=1),
        Eye("int8", jitter=1.0, dulled=3.0, class_count=1),
    ]
    found = label_robustness(
        models[0], models[1:], images, labels, ("noise",), label_names=("red",)
    )
    has = labels[:, 0] == 1

    def kernel(shown: np.ndarray) -> np.ndarray:
        """By pair, what the reference ranks rightly beyond the other."""
        ranked = []
        for model in models:
            scores = model.predict(shown)[:, 0]
            apart = scores[has][:, None] - scores[~has][None]
            ranked.append((apart > 0) + 0.5 * (apart == 0))
        return ranked[0] - ranked[1]

    worse = [kernel(corruptions.corrupt(images, "noise", each, 0)) for each in range(1, 6)]
    extra = np.mean(worse, axis=0) - kernel(images)
    with_it, without = extra.mean(axis=1), extra.mean(axis=0)
    m, n = extra.shape
    error = math.sqrt(with_it.var(ddof=1) / m + without.var(ddof=1) / n)
    parts = np.concatenate(
        [
            (with_it - extra.mean()) / math.sqrt(m * (m - 1)),
            (without - extra.mean()) / math.sqrt(n * (n - 1)),
        ]
    )
    freedom = error**4 / (parts**4).sum()
    for fall in (
        *found["falls"],
        *found["labels"],
    ):  # one corruption and one label: all are the same
        told = fall["extra_fall"]
        assert told["value"] == pytest.approx(extra.mean())
        reach = stats.t.isf(0.025, freedom) * error
        assert told["high"] - told["value"] == pytest.approx(reach)
        assert fall["p"] == pytest.approx(2 * stats.t.sf(abs(extra.mean()) / error, freedom))


def test_a_file_that_loses_a_label_s_order_is_told_and_its_twin_is_not(scene):
    found = run(scene, [Eye("float"), Eye("twin"), Eye("fragile", jitter=3.0, thrown=1)])
    verdicts = {(f["model"], f["corruption"]): f["verdict"] for f in found["falls"]}
    assert verdicts["fragile", "noise"] == verdicts["fragile", "all"] == "falls faster"
    assert verdicts["fragile", "warm"] == NONE
    assert {verdicts["twin", scope] for scope in ("noise", "warm", "all")} == {NONE}
    by_label = {(row["model"], row["label"]): row["verdict"] for row in found["labels"]}
    assert by_label["fragile", "green"] == "falls faster"
    assert {said for key, said in by_label.items() if key != ("fragile", "green")} == {NONE}
    assert len(by_label) == 6
    twin = [fall["extra_fall"]["value"] for fall in found["falls"] if fall["model"] == "twin"]
    assert twin == [0.0, 0.0, 0.0]


def test_a_constant_file_was_worse_all_along_and_does_not_fall_faster(scene):
    found = run(scene, [Eye("float", jitter=1.0), Constant("constant")])
    assert {entry["models"][1]["auc"]["value"] for entry in found["conditions"]} == {0.5}
    assert found["conditions"][0]["models"][1]["drop"]["value"] > 0.3
    falls = {fall["corruption"]: fall for fall in found["falls"]}
    # The reference falls with the noise, and the constant cannot: it falls slower.
    assert falls["noise"]["verdict"] == "falls slower"
    assert falls["noise"]["extra_fall"]["high"] < 0
    assert "falls faster" not in {row["verdict"] for row in (*found["falls"], *found["labels"])}


def test_conditions_that_blind_the_reference_are_left_out(scene):
    # 127 on average: a channel that lightens by a third of its light stays above 100, one that darkens
    # by 38 and more (strength 3 on) does not.
    found = run(scene, [Dark("float"), Eye("int8")], ("dark", "bright"))
    left_out = [(row["corruption"], row["strength"]) for row in found["blind"]]
    assert left_out == [("dark", 3), ("dark", 4), ("dark", 5)]
    assert [row["conditions"] for row in found["falls"]] == [2, 5, 7]
    assert {row["verdict"] for row in found["falls"]} == {NONE}
    blind = run(scene, [Constant("float"), Eye("int8")], ("noise",))
    assert len(blind["blind"]) == 5 and blind["labels"] == []
    assert "sees nothing" in blind["falls"][0]["extra_fall"]["reason"]
    assert {row["verdict"] for row in blind["falls"]} == {NONE}


def test_labels_that_too_few_images_have_are_left_out_and_named(scene):
    images, labels = scene
    rare = labels.copy()
    rare[:, 2] = 0
    rare[:2, 2] = 1
    models = [Eye("float"), Eye("int8", jitter=3.0, thrown=2)]
    found = run((images, rare), models, ("noise",))
    assert found["unranked"] == ["blue"]
    assert [row["label"] for row in found["labels"]] == ["red", "green"]
    # Only the label that is left out is thrown.
    assert {row["extra_fall"]["value"] for row in found["falls"]} == {0.0}
    shown = models[0].predict(images)[:, :2]
    value = found["conditions"][0]["models"][0]["auc"]["value"]
    assert value == pytest.approx(roc_auc_score(rare[:, :2], shown))
    with pytest.raises(DataError, match=r"none of the 3 labels has 3 images .* among 240 images"):
        run((images, np.zeros_like(labels)), models)
