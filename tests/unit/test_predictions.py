from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest
from medmnist import evaluator  # its __init__ needs torch, this module does not

from edgecell.errors import DataError
from edgecell.examples import examples
from edgecell.predictions import (
    Predictions,
    medmnist_file_name,
    medmnist_scores,
    number,
)
from edgecell.tasks import TASKS

NAMES = ("basophil", "=1+2", "immature, granulocyte")


def make(count=60, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes), random.integers(0, classes, count - classes)]
    logits = random.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1
    odds = np.exp(logits)
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    names = [f"val[{i}]" for i in range(count)]
    return Predictions((*NAMES, *map(str, range(9)))[:classes], names, labels, probabilities)


def several(count=60, classes=3, seed=0):
    """Several labels at once."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (count, classes))
    probabilities = (0.4 * labels + 0.6 * random.random((count, classes))).astype(np.float32)
    names = [f"val[{i}]" for i in range(count)]
    return Predictions((*NAMES, *map(str, range(9)))[:classes], names, labels, probabilities)


def test_csv_and_json_give_back_every_digit():
    told = make()
    rows = list(csv.reader(io.StringIO(told.to_csv())))
    assert rows[0] == [
        *("index", "image", "label", "predicted", "confidence", "right"),
        *(f"p({name})" for name in NAMES),
    ]
    back = np.array([row[6:] for row in rows[1:]], np.float32)
    np.testing.assert_array_equal(back, told.probabilities)
    data = json.loads(told.to_json())
    assert data["schema"] == "edgecell/predictions" and data["class_names"] == list(NAMES)
    np.testing.assert_array_equal(
        np.array([row["probabilities"] for row in data["images"]], np.float32), told.probabilities
    )
    for index, row in enumerate(data["images"]):
        best = int(told.probabilities[index].argmax())
        assert row["predicted"] == NAMES[best]
        assert row["label"] == NAMES[told.labels[index]]
        assert row["right"] == (best == told.labels[index]) == bool(int(rows[index + 1][5]))
        assert np.float32(row["confidence"]) == told.probabilities[index, best]


def test_no_cell_of_the_csv_is_a_formula():
    """The JSON keeps the names; the CSV is what somebody opens with a spreadsheet."""
    shares = np.array([[0.6, 0.4], [0.3, 0.7]], np.float32)
    names = ["=a/1.png", "b/2.png"]
    told = Predictions(("=HYPERLINK(1)", "-1.5"), names, np.array([0, 0]), shares)
    rows = list(csv.reader(io.StringIO(told.to_csv())))
    assert [row[1:4] for row in rows[1:]] == [
        ["./=a/1.png", "'=HYPERLINK(1)", "'=HYPERLINK(1)"],
        ["b/2.png", "'=HYPERLINK(1)", "-1.5"],
    ]
    assert json.loads(told.to_json())["images"][0]["label"] == "=HYPERLINK(1)"


def test_a_probability_of_one_quantum_keeps_its_value():
    assert number(np.float32(1 / 256)) == 1 / 256  # six decimals made 0.003906 of it
    assert repr(number(np.float32(0.1))) == "0.1"


def test_predictions_that_do_not_fit_together_are_refused():
    told = make()
    with pytest.raises(DataError, match="59 image names for 60 predictions"):
        Predictions(NAMES, told.names[:-1], told.labels, told.probabilities)
    with pytest.raises(DataError, match="2 class names for a model of 3 classes"):
        Predictions(NAMES[:2], told.names, told.labels, told.probabilities)


# --------------------------------------------------------------- MedMNIST's own evaluator reads it


@pytest.fixture
def official(tmp_path, monkeypatch):
    """Labels written as MedMNIST's file; an Evaluator that looks for it in ``tmp_path``."""

    class Here(evaluator.Evaluator):
        def __init__(self, flag, split, size=None, root=None):
            super().__init__(flag, split, size, tmp_path)

    def write(told, flag, size, split):
        suffix = "" if size == 28 else f"_{size}"
        labels = told.labels if told.multi_label else told.labels[:, None]
        np.savez(tmp_path / f"{flag}{suffix}.npz", **{f"{split}_labels": labels})
        return Here

    return write


@pytest.mark.parametrize(
    ("flag", "size", "split", "classes"),
    [
        ("bloodmnist", 28, "test", 8),
        ("bloodmnist", 64, "val", 8),
        ("breastmnist", 28, "val", 2),
        ("retinamnist", 224, "train", 5),
        ("chestmnist", 128, "test", 12),
    ],
)
def test_the_official_evaluator_parses_what_we_write(
    official, tmp_path, capsys, flag, size, split, classes
):
    told = several(120, classes) if flag == "chestmnist" else make(120, classes)
    auc, accuracy = medmnist_scores(told, TASKS[evaluator.INFO[flag]["task"]])
    name = medmnist_file_name(flag, size, split, auc, accuracy, "mobilenet_v2-0.35-96.int8")
    path = tmp_path / "mine" / name
    path.parent.mkdir()
    path.write_text(told.to_medmnist())
    found = official(told, flag, size, split).parse_and_evaluate(str(path))
    assert pytest.approx(auc, abs=1e-12) == found.AUC
    assert accuracy == found.ACC
    # It writes what it read under its own name: the same name, so one file is there and not two.
    assert [p.name for p in path.parent.iterdir()] == [name]
    # Its own writer's bytes, read as numbers, are ours.
    np.testing.assert_array_equal(
        np.loadtxt(path, delimiter=",", ndmin=2)[:, 1:].astype(np.float32), told.probabilities
    )


def test_the_oracle_notices_another_order_of_images(official, tmp_path, capsys):
    told = make(120, 8)
    auc, accuracy = medmnist_scores(told, TASKS["multi-class"])
    path = tmp_path / medmnist_file_name("bloodmnist", 28, "val", auc, accuracy, "x")
    lines = told.to_medmnist().splitlines()
    turned = [f"{119 - i}," + line.split(",", 1)[1] for i, line in enumerate(lines)]
    path.write_text("\n".join(turned) + "\n")
    found = official(told, "bloodmnist", 28, "val").parse_and_evaluate(str(path))
    assert accuracy != found.ACC


def test_a_name_keeps_the_signs_the_evaluator_cuts_at_for_itself():
    assert medmnist_file_name("bloodmnist", 28, "test", 0.9984, 0.9557, "run 1.5@x_y") == (
        "bloodmnist_test_[AUC]0.998_[ACC]0.956@run-1-5-x-y.csv"
    )
    assert medmnist_file_name("my_own set", 64, "val", float("nan"), 1, "..").startswith(
        "my-own-set_64_val_[AUC]nan_[ACC]1.000@run"
    )
    assert "torch" not in sys.modules


def test_a_tie_of_two_classes_is_class_0_for_both():
    labels, tie = np.array([0, 1]), np.full((2, 2), 0.5, np.float32)
    told = Predictions(("a", "b"), ("x", "y"), labels, tie)
    assert medmnist_scores(told, TASKS["binary-class"])[1] == 0.5
    assert evaluator.getACC(labels[:, None], tie, "binary-class") == 0.5


# ------------------------------------------------------------------------- which images to look at


def test_examples_are_the_extremes_of_their_kind():
    told = make(300)
    found = examples(told, mistakes=10, per_class=4)
    confidence, right = told.confidence, told.predicted == told.labels
    assert found["wrong"] == int((~right).sum())
    shown = [row["index"] for row in found["mistakes"]]
    hidden = set(np.flatnonzero(~right)) - set(shown)
    assert len(shown) == 10 and not right[shown].any()
    assert min(confidence[shown]) >= max(confidence[list(hidden)])
    for label, row in enumerate(found["classes"]):
        mine = told.labels == label
        assert (row["right"], row["wrong"]) == ((mine & right).sum(), (mine & ~right).sum())
        for kind, pick in (("surest", np.max), ("least_sure", np.min)):
            first = row[kind][0]["index"]
            assert confidence[first] == pick(confidence[mine & right]), kind
            assert all(r["right"] and r["label"] == NAMES[label] for r in row[kind])
        assert row["mistakes"][0]["confidence"] == number(confidence[mine & ~right].max())


def test_no_image_is_both_sure_and_unsure():
    labels = np.array([0, 0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.8, 0.2]])
    found = examples(Predictions(("a", "b"), list("vwxyz"), labels, probabilities), per_class=3)
    first, second = found["classes"]
    assert [row["image"] for row in first["surest"]] == ["v", "w", "x"]
    assert [row["image"] for row in first["least_sure"]] == ["y"]
    assert (second["surest"], second["least_sure"]) == ([], [])
    assert second["mistakes"][0] == found["mistakes"][0]
    assert found["mistakes"][0]["predicted"] == "a" and found["wrong"] == 1


def test_with_several_labels_an_image_is_right_when_all_of_them_are():
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]])
    said = np.array([[0.9, 0.2, 0.6], [0.1, 0.3, 0.7], [0.8, 0.5, 0.1]], np.float32)
    told = Predictions(("a", "b", "c"), ("x", "y", "z"), labels, said)
    rows = [told.row(i) for i in range(3)]
    assert [row["label"] for row in rows] == ["a; c", "none", "a; b"]
    assert [row["predicted"] for row in rows] == ["a; c", "c", "a"]  # 0.5 is not above 0.5
    assert [row["right"] for row in rows] == [True, False, False]
    assert [row["confidence"] for row in rows] == [0.6, 0.7, 0.5]
    assert json.loads(told.to_json())["images"][2]["probabilities"] == [0.8, 0.5, 0.1]


def test_with_several_labels_an_example_is_a_decision_about_one():
    told = several(100)
    found = examples(told, mistakes=1000)
    wrong = (told.probabilities > 0.5) != (told.labels == 1)
    assert found["wrong"] == wrong.sum() == len(found["mistakes"])
    assert {row["label"] for row in found["mistakes"]} <= {
        *NAMES,
        *(f"no {name}" for name in NAMES),
    }
    for row in found["mistakes"]:
        assert {row["label"], row["predicted"]} in [{name, f"no {name}"} for name in NAMES]
    for label, row in enumerate(found["classes"]):
        assert row["wrong"] == wrong[:, label].sum()
        assert row["right"] + row["wrong"] == 100
        assert all(told.labels[shown["index"], label] == 1 for shown in row["surest"])
        best = told.probabilities[told.labels[:, label] == 1, label].max()
        assert row["surest"][0]["confidence"] == number(best)


def test_examples_of_one_class_are_those_it_is_part_of():
    labels = np.array([0, 1, 2, 1])
    probabilities = np.array([[0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.1, 0.9, 0.0]])
    told = Predictions(("a", "b", "c"), list("wxyz"), labels, probabilities.astype(np.float32))
    assert [row["image"] for row in examples(told, only=1)["mistakes"]] == ["w", "x"]
    assert [row["image"] for row in examples(told, only=0)["mistakes"]] == ["w", "y"]
    found = examples(told, only=1)
    assert [(row["name"], row["right"], row["wrong"]) for row in found["classes"]] == [("b", 1, 1)]
    assert found["wrong"] == 2 and examples(told)["wrong"] == 3
