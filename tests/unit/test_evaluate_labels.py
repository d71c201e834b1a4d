"""The evaluation of several labels to an image, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from edgecell.errors import DataError
from edgecell.evaluate import evaluate
from edgecell.metrics.ordinal import quadratic_kappa
from edgecell.tasks import MULTI_LABEL

NAMES = ("mass", "nodule", "effusion", "hernia")


def told(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) that know something, and labels; the last label is rare and never above 0.5."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, 4)) < (0.5, 0.3, 0.2, 0.04)).astype(np.int64)
    probabilities = (0.35 * labels + random.uniform(0, 0.65, labels.shape)).astype(np.float32)
    probabilities[:, 3] *= 0.4
    return probabilities, labels


def test_figures_are_scikit_learn_s():
    probabilities, labels = told()
    found = evaluate(probabilities, labels, NAMES, resamples=200)
    said = probabilities > 0.5
    assert found["task"] == MULTI_LABEL and found["n"] == 400
    assert found["auc"]["value"] == pytest.approx(sk.roc_auc_score(labels, probabilities))
    assert found["average_precision"]["value"] == pytest.approx(
        sk.average_precision_score(labels, probabilities)
    )
    assert found["accuracy"]["value"] == pytest.approx((said == labels).mean())
    assert found["exact_match"]["value"] == pytest.approx(sk.accuracy_score(labels, said))
    assert found["macro_f1"]["value"] == pytest.approx(
        sk.f1_score(labels, said, average="macro", zero_division=0)
    )
    assert found["brier"]["value"] == pytest.approx(((probabilities - labels) ** 2).mean())
    for row, truth, p in zip(found["classes"], labels.T, probabilities.T, strict=True):
        tn, fp, fn, tp = sk.confusion_matrix(truth, p > 0.5).ravel()
        assert list(row["counts"].values()) == [tp, fp, fn, tn]
        assert row["auc"]["value"] == pytest.approx(sk.roc_auc_score(truth, p))
        assert row["specificity"]["value"] == pytest.approx(tn / (tn + fp))
        assert row["auc"]["low"] < row["auc"]["value"] < row["auc"]["high"]


def test_the_interval_of_the_mean_holds_what_images_drawn_anew_give():
    areas = [evaluate(*told(seed=seed), NAMES, resamples=1)["auc"]["value"] for seed in range(200)]
    found = evaluate(*told(), NAMES, resamples=500)["auc"]
    wide = np.quantile(areas, 0.975) - np.quantile(areas, 0.025)
    assert (found["high"] - found["low"]) == pytest.approx(wide, rel=0.35)


def test_a_rare_label_is_ranked_though_it_is_never_said():
    found = evaluate(*told(), NAMES, resamples=50)
    hernia = found["classes"][3]
    assert hernia["predicted"] == 0 and hernia["f1"]["value"] == 0.0
    assert "reason" in hernia["precision"] and hernia["auc"]["value"] > 0.8
    assert any("never above 0.5: hernia" in note for note in found["notes"])


def test_confidence_is_a_decision_s():
    probabilities, labels = told()
    found = evaluate(probabilities, labels, NAMES, resamples=10)
    histogram = found["confidence_histogram"]
    assert sum(histogram["right"]) + sum(histogram["wrong"]) == labels.size
    assert sum(histogram["right"]) == int(((probabilities > 0.5) == labels).sum())
    assert sum(found["reliability"]["count"][:7]) == 0  # no decision is less sure than a half


def test_labels_that_nobody_or_everybody_has_are_said():
    probabilities, labels = told()
    labels[:, 0], labels[:, 1] = 0, 1
    probabilities[:, 0] = 0.1
    found = evaluate(probabilities, labels, NAMES, resamples=20)
    assert [("value" in row["auc"]) for row in found["classes"]] == [False, False, True, True]
    expected = sk.roc_auc_score(labels[:, 2:], probabilities[:, 2:])
    assert found["auc"]["value"] == pytest.approx(expected)
    assert found["worst_class"]["name"] in NAMES[2:]
    assert any("no image of mass" in note for note in found["notes"])
    probabilities[0, 0] = 0.9  # said once of an image, and still no image has it
    said = evaluate(probabilities, labels, NAMES, resamples=20)
    assert said["classes"][0]["f1"]["reason"] == "no image of this label"
    assert said["macro_f1"]["value"] == found["macro_f1"]["value"]
    ranked = found["classes"][2]["auc"]
    assert 0 < ranked["low"] < ranked["value"] < ranked["high"] < 1
    assert any("every image has nodule" in note for note in found["notes"])
    labels[:] = 0
    none = evaluate(np.full((400, 4), 0.1), labels, NAMES, resamples=20)
    assert "reason" in none["auc"] and none["accuracy"]["value"] == 1.0
    assert "reason" in none["macro_f1"]


def test_a_label_that_is_always_said_is_named():
    probabilities, labels = told()
    assert not any(
        "for every image" in note
        for note in evaluate(probabilities, labels, NAMES, resamples=5)["notes"]
    )
    probabilities[:, 1] = 0.5 + probabilities[:, 1] / 2.01
    labels[:, 2], probabilities[:, 2] = 1, 0.9  # said of all, and all have it
    notes = evaluate(probabilities, labels, NAMES, resamples=5)["notes"]
    assert "above 0.5 for every image: nodule; AUC says how they are ranked" in notes


def test_names_and_values_must_fit():
    probabilities, labels = told()
    with pytest.raises(DataError, match="3 class names for a model of 4 classes"):
        evaluate(probabilities, labels, NAMES[:3])
    with pytest.raises(DataError, match="other values than 0 and 1"):
        evaluate(probabilities, labels * 2, NAMES)


def test_grades_have_a_kappa_with_its_interval():
    random = np.random.default_rng(1)
    labels = random.integers(0, 5, 300)
    near = np.clip(labels + random.integers(-1, 2, 300), 0, 4)
    found = evaluate(np.eye(5)[near] * 0.9 + 0.02, labels, tuple("abcde"), ordinal=True)
    kappa = found["kappa"]
    assert kappa["value"] == pytest.approx(sk.cohen_kappa_score(labels, near, weights="quadratic"))
    assert kappa["low"] < kappa["value"] < kappa["high"]
    assert "kappa" not in evaluate(np.eye(5)[near] * 0.9 + 0.02, labels, tuple("abcde"))
    assert quadratic_kappa(np.array(found["confusion"])) == pytest.approx(kappa["value"])


def test_the_interval_of_average_precision_is_about_its_value():
    """Ties of an image with itself raise resampled values; a rare label shows it most."""
    random = np.random.default_rng(3)
    labels = (random.random((600, 2)) < (0.3, 0.02)).astype(np.int64)
    probabilities = random.random((600, 2)) * 0.9 + 0.05 * labels
    found = evaluate(probabilities, labels, ("common", "rare"), resamples=400)
    for row in [
        *(each["average_precision"] for each in found["classes"]),
        found["average_precision"],
    ]:
        assert row["low"] < row["value"] < row["high"]
        assert (
            abs((row["low"] + row["high"]) / 2 - row["value"])
            < 0.6 * (row["high"] - row["low"]) / 2
        )
