"""Teachers and members of an ensemble: other classes, another order, another form, another part of an image."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tf_keras as keras
import toys

from edgecell.config import DataConfig, TeacherConfig
from edgecell.config_file import load_config, to_toml
from edgecell.data import load_dataset
from edgecell.disk import atomic_write_text
from edgecell.errors import DataError
from edgecell.pipeline.evaluation import evaluate_target
from edgecell.pipeline.teaching import load_teachers
from edgecell.progress import Silent
from edgecell.rundir import RunDir
from edgecell.tasks import MULTI_LABEL

TURNED = toys.CLASSES[::-1]
STRANGE = ("dark red", "bright red", "mauve", "pink")


class Told(Silent):
    """What is said, for the test to read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def another(run: Path, *, names=None, task: str | None = None, **model) -> Path:
    """A copy of ``run`` beside it whose record and configuration say that it was trained otherwise."""
    copy = Path(shutil.copytree(run, run.parent / "another"))
    config = load_config(copy / "config.toml")
    settings = replace(config, model=replace(config.model, **model))
    atomic_write_text(copy / "config.toml", to_toml(settings))
    found = RunDir(copy)
    results = found.read_record("train")["results"]
    results["class_names"] = list(names or toys.CLASSES)
    results["data"]["task"] = task or results["data"]["task"]
    trained = found.stage("train") / "model.keras"
    found.write_record("train", inputs=[], outputs=[trained], config={}, results=results)
    return copy


def sigmoid(path: Path) -> Path:
    inputs = keras.Input((toys.SIZE, toys.SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Dense(4, activation="sigmoid")(x)).save(path)
    return path


def taught(run: Path, teacher: Path, **model) -> list[str]:
    """What is said when ``teacher`` is to teach a student of the images of ``run``."""
    config = load_config(run / "config.toml")
    config = replace(config, model=replace(config.model, **model))
    config = replace(config, teacher=TeacherConfig(runs=(str(teacher),)))
    told = Told()
    [loaded] = load_teachers(config, load_dataset(config.data), told)
    assert loaded.model.output_shape[-1] == 4
    return told.lines


def averaged(run: Path, other: Path, data: DataConfig | None = None):
    told = evaluate_target(run, "val", data, None, threads=1, progress=Silent(), others=(other,))
    return told.results


def test_one_that_goes_with_the_images_teaches_and_is_averaged(toy_copy: Path) -> None:
    other = another(toy_copy)
    assert taught(toy_copy, other) == []
    assert averaged(toy_copy, other)["accuracy"]["value"] > 0.9
    file = other / "quantize/toy-int8.tflite"
    assert averaged(toy_copy, file)["accuracy"]["value"] > 0.9


@pytest.mark.parametrize("model", ["", "train/model.keras"])
def test_a_teacher_with_the_classes_in_another_order_is_refused(toy_copy: Path, model: str) -> None:
    other = another(toy_copy, names=TURNED)
    with pytest.raises(
        DataError, match=f"{', '.join(TURNED)}, not {', '.join(toys.CLASSES)}"
    ) as told:
        taught(toy_copy, other / model)
    assert str(told.value).startswith(f"the teacher {other}")
    assert f"--class-names '{','.join(TURNED)}', or give a teacher" in str(told.value)


def test_the_order_that_the_refusal_tells_to_type_is_one_to_learn_in(toy_copy: Path) -> None:
    other = another(toy_copy, names=TURNED)
    config = load_config(toy_copy / "config.toml")
    data = replace(config.data, class_names=",".join(TURNED))
    config = replace(config, data=data, teacher=TeacherConfig(runs=(str(other),)))
    [loaded] = load_teachers(config, load_dataset(data), Silent())
    assert loaded.facts["same_data"] is False


@pytest.mark.parametrize("model", ["", "train/model.keras", "quantize/toy-int8.tflite"])
def test_a_member_with_the_classes_in_another_order_is_refused(toy_copy: Path, model: str) -> None:
    other = another(toy_copy, names=TURNED)
    with pytest.raises(
        DataError, match=f"{', '.join(TURNED)}, not {', '.join(toys.CLASSES)}"
    ) as told:
        averaged(toy_copy, other / model)
    assert str(told.value).startswith(f"the ensemble's member {other}")
    assert f"train it again with --class-names '{','.join(toys.CLASSES)}'" in str(told.value)
    assert not list(toy_copy.glob("evaluate/model+1*"))


def test_as_many_other_classes_are_refused(toy_copy: Path) -> None:
    other = another(toy_copy, names=STRANGE)
    said = (
        r"2 of the 4 of 'toy' \(dark blue, bright blue\) are none of its own \(dark red, .*, pink\)"
    )
    with pytest.raises(DataError, match=f"{said}; give a teacher"):
        taught(toy_copy, other)
    with pytest.raises(DataError, match=f"{said}; leave it away"):
        averaged(toy_copy, other)


def test_numbers_are_no_names_that_could_differ(toy_copy: Path) -> None:
    assert taught(toy_copy, another(toy_copy, names="0123")) == []


def test_a_run_of_several_labels_does_not_teach_one(toy_copy: Path) -> None:
    other = another(toy_copy, task=MULTI_LABEL)
    with pytest.raises(DataError, match="the teacher .* ends in a sigmoid .*; give a teacher"):
        taught(toy_copy, other)


def test_a_sigmoid_without_a_run_is_known_by_its_last_layer(toy_copy: Path, tmp_path: Path) -> None:
    lone = sigmoid(tmp_path / "lone.keras")
    with pytest.raises(
        DataError, match="the teacher .*lone.keras ends in a sigmoid .* of 4 classes"
    ):
        taught(toy_copy, lone)
    with pytest.raises(DataError, match="the ensemble's member .*lone.keras ends in a sigmoid"):
        averaged(toy_copy, lone)


def test_a_file_without_a_run_has_no_names_and_no_view(toy_copy: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone.keras"
    toys.trained().save(lone)
    assert taught(toy_copy, lone, fit="crop") == []
    assert averaged(toy_copy, lone)["accuracy"]["value"] > 0.9


def test_a_teacher_of_another_part_of_the_image_is_said_in_one_line(toy_copy: Path) -> None:
    other = another(toy_copy, fit="crop", central_fraction=0.8)
    [line] = taught(toy_copy, other)
    assert line.startswith(f"note: the teacher {other}")
    assert "--fit crop --central-fraction 0.8, not --fit stretch --central-fraction 1.0" in line
    assert "shown the student's pixels" in line
    assert taught(toy_copy, other, fit="crop", central_fraction=0.8) == []


@pytest.mark.parametrize("view", [{"fit": "crop"}, {"central_fraction": 0.8}])
def test_a_member_of_another_part_of_the_image_is_refused(toy_copy: Path, view) -> None:
    other = another(toy_copy, **view)
    with pytest.raises(DataError, match=r"was trained with --fit .*, not --fit .* the same pixels"):
        averaged(toy_copy, other)


def test_beside_a_file_without_a_run_a_member_is_held_against_the_images(
    toy_copy: Path, tmp_path: Path
) -> None:
    lone = tmp_path / "lone.keras"
    toys.trained().save(lone)
    data = load_config(toy_copy / "config.toml").data
    other = another(toy_copy, names=TURNED)
    with pytest.raises(DataError, match="the ensemble's member .* in another order"):
        averaged(lone, other, data)
