"""What a classifier is asked: one class of several, a grade of a scale, or each label by itself.

``Dataset.task`` names a :class:`Task`; whoever needs the head's activation, the form of the labels or
the figure that chooses an epoch asks it. Labels are int64 (N,) class numbers, or, where several labels
can hold for one image, int64 (N, C) of 0 and 1. The loss is in :mod:`edgecell.losses`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgecell.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

MULTI_LABEL = "multi-label, binary-class"
MULTI_CLASS = "multi-class"
BINARY = "binary-class"
ORDINAL = "ordinal-regression"


@dataclass(frozen=True)
class Task:
    """A task by MedMNIST's name.

    ``metric`` is the primary figure, a key of the evaluation and, as ``val_…``, of the training
    history, where it chooses the epoch; ``metric_name`` is how people write it. ``headline`` lists
    further (title, key) of the evaluation that belong beside it in a table.
    """

    name: str
    activation: Literal["softmax", "sigmoid"] = "softmax"
    metric: Literal["accuracy", "auc"] = "accuracy"
    metric_name: str = "accuracy"
    headline: tuple[tuple[str, str], ...] = ()

    @property
    def multi_label(self) -> bool:
        """Whether several labels can hold for one image: labels are (N, C) then."""
        return self.name == MULTI_LABEL

    @property
    def kind(self) -> str:
        """How an app has to read the output: single-label, ordinal or multi-label."""
        return "multi-label" if self.multi_label else "ordinal" if self.ordinal else "single-label"

    @property
    def ordinal(self) -> bool:
        """Whether the classes are grades of one scale."""
        return self.name == ORDINAL

    @property
    def binary(self) -> bool:
        """Whether there are two classes, of which one is being looked for."""
        return self.name == BINARY

    @property
    def names(self) -> dict[str, str]:
        """How people write those keys of an evaluation that need more than their own words."""
        if self.multi_label:
            return {
                "auc": "mean AUC",
                "accuracy": "label accuracy",
                "average_precision": "mean average precision",
            }
        return {"kappa": "quadratic kappa"} if self.ordinal else {}

    @property
    def file_scores(self) -> tuple[tuple[str, str], ...]:
        """(name, key) of the scores that stand beside each of many files, the one that decides first."""
        if self.multi_label:
            return ((self.metric_name, self.metric), *self.headline)
        return (("macro-F1", "macro_f1"), ("accuracy", "accuracy"))

    @property
    def choosing_scores(self) -> tuple[tuple[str, str], ...]:
        """Those of them that a file can be chosen by. Label accuracy is ruled by what is absent."""
        return self.file_scores[:1] if self.multi_label else self.file_scores

    def trained_figures(self, results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """(name, measurement on val) of a training's results: what chose the epoch, then what belongs beside it.

        Records that were written before a figure was kept are without it.
        """
        asked = ((self.metric_name, self.metric), *self.headline)
        return [(name, results[f"val_{key}"]) for name, key in asked if f"val_{key}" in results]

    @property
    def figure_names(self) -> tuple[str, ...]:
        """The keys of :meth:`figures`."""
        more = {"auc"} if self.multi_label else {"kappa"} if self.ordinal else set()
        return ("loss", "accuracy", *sorted(more))

    def figures(
        self, labels: NDArray[np.int64], probabilities: NDArray[np.float32]
    ) -> dict[str, float]:
        """What an epoch is judged by on val: loss in nats without smoothing or weights, accuracy, and
        for multi-label sets auc (mean over the labels), for ordinal ones kappa (quadratic weights). All
        NaN where a probability is: a training that diverged.

        Raises:
            DataError: no label of a multi-label set has both positive and negative images.
        """
        # Here, not above: the command line knows tasks by name and starts without SciPy.
        import numpy as np

        from edgecell import metrics

        if not np.isfinite(probabilities).all():
            return dict.fromkeys(self.figure_names, math.nan)
        if self.multi_label:
            return _label_figures(labels, probabilities)
        picked = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0)
        found = {
            "loss": float(-np.log(picked).mean()),
            "accuracy": float((probabilities.argmax(1) == labels).mean()),
        }
        if self.ordinal:
            confusion = metrics.confusion_matrix(
                labels, probabilities.argmax(1), probabilities.shape[1]
            )
            kappa = metrics.quadratic_kappa(confusion)
            found["kappa"] = 0.0 if kappa is None else kappa
        return found


TASKS: dict[str, Task] = {
    MULTI_CLASS: Task(MULTI_CLASS),
    BINARY: Task(BINARY, headline=(("AUC", "auc"),)),
    ORDINAL: Task(ORDINAL, headline=(("quadratic kappa", "kappa"),)),
    MULTI_LABEL: Task(
        MULTI_LABEL,
        activation="sigmoid",
        metric="auc",
        metric_name="mean AUC",
        headline=(("label accuracy", "accuracy"),),
    ),
}


def task_named(name: str) -> Task:
    """The task called ``name`` in MedMNIST's words; DataError where there is none."""
    if name not in TASKS:
        raise DataError(f"unknown task '{name}'; allowed: {', '.join(TASKS)}")
    return TASKS[name]


def task_of_record(results: Mapping[str, Any]) -> Task:
    """The task that a record's results name; records of one label per image need not name one."""
    return task_named(results.get("task", MULTI_CLASS))


def several_labels(labels: ArrayLike) -> bool:
    """Whether these labels are several to an image, (N, C) with C above 1; else (N,) or (N, 1)."""
    import numpy as np

    shape = np.shape(labels)
    return len(shape) == 2 and shape[1] > 1


def check_form(
    model: str,
    decides_labels: bool,
    *,
    several: bool,
    count: int,
    images: str = "this data set",
    instead: str = "",
) -> None:
    """Refuse a softmax for ``several`` labels to an image, and a sigmoid for one.

    The outputs (N, C) of both have the same shape, and every figure would come out wrong without a word.

    Args:
        model: its name; decides_labels: whether it ends in a sigmoid.
        count: classes or labels; images: how the data set is called.
        instead: what to do where it is the model that has to go, not the data set.

    Raises:
        DataError: ``model`` answers in the other form.
    """
    if decides_labels == several:
        return
    said = f"a sigmoid and decides each label by itself, an image of {images} has one of {count} classes"
    wanted = "labels (N, C) of 0 and 1"
    if several:
        said = f"a softmax and finds one class, an image of {images} can have several of {count} labels"
        wanted = "one class to an image, (N,)"
    known = f"allowed: a data set with {wanted}; name the one it was trained on with --data"
    raise DataError(f"{model} ends in {said}; {instead or known}")


def one_label(class_names: tuple[str, ...]) -> str:
    """The task of unordered classes, one to an image."""
    return BINARY if len(class_names) == 2 else MULTI_CLASS


def _label_figures(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> dict[str, float]:
    from edgecell import metrics

    area = metrics.mean_auc(labels, probabilities)
    if area is None:
        raise DataError(
            "no label has both images with it and images without it, so there is no AUC to choose an"
            " epoch by; give a val split that has some"
        )
    return {
        "loss": metrics.label_log_loss(labels, probabilities),
        "accuracy": metrics.label_accuracy(labels, probabilities),
        "auc": area,
    }
