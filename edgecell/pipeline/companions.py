"""Models beside the one that a verb is about, teachers and members of an ensemble: do they mean the same?

Their answers are averaged class by class with others, so that another order of the classes, or another
form of the answer, would come out as a figure without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgecell.config import ModelConfig
from edgecell.data import Dataset
from edgecell.errors import DataError
from edgecell.naming import listed
from edgecell.pipeline.last_layer import ends_in_sigmoid
from edgecell.pipeline.targets import Target, strangers, trained_names
from edgecell.runtime import Predictor
from edgecell.tasks import check_form, task_named, task_of_record


@dataclass(frozen=True)
class Role:
    """What a model is beside another one; what to do where it is none, or has the classes in other order."""

    name: str
    instead: str
    reorder: str


TEACHER = Role(
    "the teacher",
    "give a teacher trained on these classes",
    "train with its order, --class-names '{its}', or give a teacher trained with this one",
)
MEMBER = Role(
    "the ensemble's member",
    "leave it away from --ensemble",
    "train it again with --class-names '{here}', or leave it away from --ensemble",
)


def check_member(target: Target, other: Target, predictor: Predictor, dataset: Dataset) -> None:
    """Refuse a member of an ensemble whose answers cannot be averaged with those of ``target``.

    ``predictor`` is the model of ``other``.

    Raises:
        DataError: other classes or another order of them, another form of answer, another part of an image.
    """
    check_record(MEMBER, other, dataset)
    check_ending(MEMBER, other, ends_in_sigmoid(predictor), dataset)
    view = other_view(other, target.config.model)
    if view:
        raise DataError(
            f"{MEMBER.name} {other.model} was trained with {view} as {target.model}, and all are shown"
            f" the same pixels; {MEMBER.instead}"
        )


def check_record(role: Role, target: Target, dataset: Dataset) -> None:
    """Refuse a run that was trained for other answers, or on other classes, or on them in another order.

    Of a file without a run neither is known.

    Raises:
        DataError: the model of ``target`` does not go with ``dataset``.
    """
    if target.run is not None and target.run.has("train"):
        data = target.run.read_record("train")["results"].get("data", {})
        check_ending(role, target, task_of_record(data).multi_label, dataset)
    known, given = trained_names(target), dataset.class_names
    strange = strangers(known, given)
    if strange is None:
        return
    called = f"{role.name} {target.model}"
    if not strange:
        reorder = role.reorder.format(its=",".join(known), here=",".join(given))
        raise DataError(
            f"{called} has the classes of '{dataset.name}' in another order: {listed(known)}, not"
            f" {listed(given)}; {reorder}"
        )
    raise DataError(
        f"{called} knows other classes: {len(strange)} of the {len(given)} of '{dataset.name}'"
        f" ({listed(strange)}) are none of its own ({listed(known)}); {role.instead}"
    )


def check_ending(role: Role, target: Target, decides_labels: bool | None, dataset: Dataset) -> None:
    """Refuse a softmax for several labels to an image, and a sigmoid for one; None lets pass.

    Raises:
        DataError: the model of ``target`` answers in the other form.
    """
    if decides_labels is None:
        return
    check_form(
        f"{role.name} {target.model}",
        decides_labels,
        several=task_named(dataset.task).multi_label,
        count=len(dataset.class_names),
        images=f"'{dataset.name}'",
        instead=role.instead,
    )


def other_view(target: Target, model: ModelConfig) -> str:
    """What part of an image ``target`` was trained on and what ``model`` sees; "" where both are the same.

    Of a file without a run it is not known.
    """
    if target.run is None or _view(target.config.model) == _view(model):
        return ""
    return f"{_view(target.config.model)}, not {_view(model)}"


def _view(model: ModelConfig) -> str:
    return f"--fit {model.fit} --central-fraction {model.central_fraction}"
