from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from edgecell.errors import ArtifactError, DataError
from edgecell.evaluate import evaluate, write_artefacts
from edgecell.examples import examples
from edgecell.predictions import Predictions
from edgecell.record import Measurement

NAMES = ["basophil", "a, quoted name", "platelet"]


@pytest.fixture()
def predictions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3))
    logits[np.arange(200), labels] += 2
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True), labels


def test_every_measurement_encloses_its_value(predictions):
    probabilities, labels = predictions
    result = evaluate(probabilities, labels[:, None], NAMES, resamples=300)
    for key in ("accuracy", "macro_f1", "weighted_f1", "auc", "loss", "brier"):
        found = Measurement.from_json(result[key])
        assert found.n == 200
        assert found.low < found.value < found.high
    assert "low" not in result["ece"]
    assert result["macro_f1"]["value"] == pytest.approx(
        f1_score(labels, probabilities.argmax(1), average="macro")
    )
    for row in result["classes"]:
        for key in ("precision", "recall", "f1"):
            assert row[key]["low"] < row[key]["value"] < row[key]["high"]
    assert sum(row["support"] for row in result["classes"]) == 200
    worst = min(result["classes"], key=lambda row: row["f1"]["value"])
    assert result["worst_class"]["name"] == worst["name"]
    assert result["notes"] == []
    json.dumps(result, allow_nan=False)


def test_absent_and_silent_classes_have_reasons(predictions):
    probabilities, _ = predictions
    constant = np.tile([0.9, 0.1, 0.0], (20, 1))
    result = evaluate(constant, np.r_[np.zeros(15, int), np.ones(5, int)], NAMES, resamples=50)
    _, silent, absent = result["classes"]
    assert silent["precision"]["reason"] == "never predicted"
    assert silent["f1"]["value"] == silent["f1"]["low"] == 0.0
    assert 0.2 < silent["f1"]["high"] < 0.8  # five images say little
    assert absent["f1"]["reason"] == "no image of this class"
    assert result["worst_class"]["name"] == NAMES[1]
    assert any("never predicted: a, quoted name" in note for note in result["notes"])
    assert any("no image of platelet" in note for note in result["notes"])
    one_label = evaluate(constant, np.zeros(20, int), NAMES, resamples=50)
    assert one_label["auc"]["reason"] == "all images have the same label"


def test_an_image_that_is_called_an_absent_class_is_one_mistake_like_another():
    labels = np.r_[np.zeros(15, int), np.ones(15, int)]
    answered = np.eye(3)[labels]
    answered[0] = [0, 1, 0]
    usual = evaluate(answered, labels, NAMES, resamples=50)
    answered[0] = [0, 0, 1]
    absent = evaluate(answered, labels, NAMES, resamples=50)
    assert absent["classes"][2]["f1"]["reason"] == "no image of this class"
    assert absent["macro_f1"]["value"] == pytest.approx(usual["macro_f1"]["value"], abs=0.02)


def test_what_is_faultless_on_few_images_is_not_certain():
    labels = np.arange(30) % 3
    result = evaluate(np.eye(3)[labels], labels, NAMES, ordinal=True, resamples=50)
    for found in (*(row["f1"] for row in result["classes"]), result["macro_f1"], result["kappa"]):
        assert found["value"] == found["high"] == 1.0 and found["low"] < 0.99
    assert result["auc"]["value"] == 1.0 and "low" not in result["auc"]
    two = evaluate(np.eye(2)[labels % 2], labels % 2, NAMES[:2], resamples=50)
    assert two["auc"]["high"] == 1.0 and two["auc"]["low"] < 0.99


def test_the_calibration_error_stands_beside_what_chance_gives(predictions):
    result = evaluate(*predictions, NAMES, resamples=50)
    chance = result["ece_if_calibrated"]
    assert 0 < chance["low"] < chance["value"] < chance["high"] < 0.3


def test_wrong_number_of_names(predictions):
    with pytest.raises(DataError, match="2 class names for a model of 3 classes"):
        evaluate(*predictions, NAMES[:2])


def as_predictions(probabilities, labels):
    names = [f"val[{i}]" for i in range(len(labels))]
    return Predictions(NAMES, names, labels, probabilities)


DRAWN = {
    "confusion.png",
    "confusion_normalized.png",
    "classes.png",
    "confidence.png",
    "reliability.png",
}


def test_artefacts(predictions, tmp_path):
    probabilities, labels = predictions
    result = evaluate(probabilities, labels, NAMES, resamples=50)
    told = as_predictions(probabilities, labels)
    written = write_artefacts(tmp_path / "evaluate", result, told)
    names = {path.name for path in written}
    assert names == DRAWN | {"evaluation.json", "predictions.csv", "predictions.json"}
    assert {path.name for path in (tmp_path / "evaluate").iterdir()} == {p.name for p in written}
    assert json.loads((tmp_path / "evaluate/evaluation.json").read_text()) == result
    with (tmp_path / "evaluate/predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    right = [row["label"] == row["predicted"] for row in rows]
    assert np.mean(right) == pytest.approx(result["accuracy"]["value"])
    assert [row["right"] == "1" for row in rows] == right


def test_images_add_the_answers_worth_a_look(predictions, tmp_path):
    probabilities, labels = predictions
    told = as_predictions(probabilities, labels)
    result = evaluate(probabilities, labels, NAMES, resamples=50) | {"examples": examples(told)}
    images = np.random.default_rng(0).integers(0, 255, (200, 8, 8, 3)).astype(np.uint8)
    written = {path.name for path in write_artefacts(tmp_path, result, told, images)}
    assert written - DRAWN == {
        *("evaluation.json", "predictions.csv", "predictions.json"),
        *("mistakes.png", "examples.png"),
    }


def test_unwritable_folder(predictions, tmp_path):
    (tmp_path / "file").write_text("")
    result = evaluate(*predictions, NAMES, resamples=20)
    with pytest.raises(ArtifactError, match="cannot write"):
        write_artefacts(tmp_path / "file", result, as_predictions(*predictions))
