"""What a model answers, and how another one's probabilities compare: one class to an image, or several labels.

    how = scoring_of(labels)
    how.answers(probabilities)
    how.quality(labels, probabilities)
    how.error(expected, found)

Search, sensitivity and fine-tuning hold a file against its reference through this alone. Shapes: N images,
C classes or labels; probabilities float (N, C).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell import metrics
from edgecell.metrics.scores import FloatArray
from edgecell.tasks import several_labels

Answers = NDArray[Any]
"""Classes int64 (N,), or decisions about labels bool (N, C)."""


@dataclass(frozen=True)
class Quality:
    """Agreement with labels, fractions; ``f1`` (C,), and ``present`` (C,): whether an image has it.

    ``auc`` is the mean over labels, None for classes and where no label has an image with and one without.
    """

    accuracy: float
    macro_f1: float
    f1: FloatArray
    present: NDArray[np.bool_]
    auc: float | None = None


class Compared(Protocol):
    """A file against its reference."""

    @property
    def changed(self) -> int:
        """Answers that are other ones."""
        ...

    @property
    def lost(self) -> int:
        """Right answers that are wrong now."""
        ...

    @property
    def gained(self) -> int:
        """Wrong answers that are right now."""
        ...

    @property
    def probability_error(self) -> float:
        """:meth:`Scoring.error`."""
        ...

    @property
    def auc_drop(self) -> float | None:
        """Mean AUC lost, None without any."""
        ...


class Scoring(Protocol):
    """How answers of one form are compared."""

    rule: str
    """Which of several files is the best, in words: least :meth:`badness`."""
    layer_rule: str
    """Which of several layers costs most: largest :meth:`error`."""
    error_title: str
    """:meth:`error` in two short lines, for an axis."""

    def answers(self, probabilities: NDArray[Any]) -> Answers:
        """What is said of each image."""
        ...

    def quality(self, labels: NDArray[np.int64], probabilities: NDArray[Any]) -> Quality:
        """How right the answers are."""
        ...

    def error(self, expected: NDArray[Any], found: NDArray[Any]) -> float:
        """How far ``found`` is from the reference's ``expected``, 0 for the same."""
        ...

    def badness(self, file: Compared) -> tuple[float, float]:
        """What the best file has least of; the second decides where the first is equal."""
        ...

    def epoch_figures(self, before: Quality, after: Quality, error: float) -> dict[str, float]:
        """What an epoch's figures have beyond accuracy, agreement and F1."""
        ...

    def drop(self, figures: Mapping[str, Any]) -> str:
        """An epoch's loss of what the task is judged by, in words."""
        ...

    def epoch_score(self, figures: Mapping[str, Any]) -> float:
        """What the best epoch has most of, above -1: likeness to the reference, less any loss.

        Likeness alone would pay nothing for being right where the reference is wrong; quality alone
        would follow the luck of val. A gain does not count, so that it buys no unlikeness.
        """
        ...


class Classes:
    """One class to an image: the most probable one."""

    rule = (
        "fewest answers changed on val and on the unseen images of train, to which those add that val"
        " lost more than it gained; then the smallest mean squared difference of probabilities; then the"
        " simplest"
    )
    layer_rule = "largest mean squared change of the probabilities first"
    error_title = "mean squared change\nof probabilities"

    def answers(self, probabilities: NDArray[Any]) -> Answers:
        """int64 (N,)."""
        return np.asarray(probabilities.argmax(axis=1))

    def quality(self, labels: NDArray[np.int64], probabilities: NDArray[Any]) -> Quality:
        """Of labels (N,)."""
        confusion = metrics.confusion_matrix(
            labels, self.answers(probabilities), probabilities.shape[1]
        )
        table = metrics.per_class(confusion)
        return Quality(
            metrics.accuracy(confusion), metrics.macro_f1(confusion), table.f1, table.support > 0
        )

    def error(self, expected: NDArray[Any], found: NDArray[Any]) -> float:
        """Mean squared difference."""
        return float(((expected - found).astype(np.float64) ** 2).mean())

    def badness(self, file: Compared) -> tuple[float, float]:
        """Answers changed, and what val lost on balance once more; then the error.

        A file that happens to beat its reference on val by an image or two is not better than one that
        does what the reference does.
        """
        return file.changed + max(file.lost - file.gained, 0), file.probability_error

    def epoch_figures(self, before: Quality, after: Quality, error: float) -> dict[str, float]:
        """Nothing."""
        return {}

    def drop(self, figures: Mapping[str, Any]) -> str:
        """Of accuracy."""
        return f"accuracy drop {figures['val_accuracy_drop']:+.4f}"

    def epoch_score(self, figures: Mapping[str, Any]) -> float:
        """Agreement less any loss of accuracy."""
        return float(figures["val_agreement"] - max(0.0, figures["val_accuracy_drop"]))


class Labels:
    """Several labels to an image: an answer is the decision about one label, yes above 0.5.

    A rare label that was trained without class weights may never reach 0.5. Its decisions are all no,
    whatever a file does to it, yet it ranks images, and ranking (the mean AUC) is what this task is
    judged by. So the best file is the one whose probabilities are nearest, and "near" is asked of every
    label on its own scale: probabilities between 0 and 0.02 can lose their order in errors that are
    nothing between 0 and 1.
    """

    rule = (
        "least noise in the probabilities on val and on the unseen images of train (squared difference"
        " over itself and the label's own variance, mean over labels), to which any loss of mean AUC on"
        " val adds; then the fewest decisions changed; then the simplest"
    )
    layer_rule = (
        "most noise in the probabilities first (its share in a label's variance, mean over labels)"
    )
    error_title = "noise in the\nprobabilities, share"

    def answers(self, probabilities: NDArray[Any]) -> Answers:
        """bool (N, C)."""
        return metrics.decide(probabilities)

    def quality(self, labels: NDArray[np.int64], probabilities: NDArray[Any]) -> Quality:
        """Of labels (N, C): accuracy of decisions, F1 at 0.5.

        macro_f1 is the mean over labels that an image has, 0 without any.
        """
        said, has = self.answers(probabilities), labels == 1
        support, given = has.sum(axis=0), has.sum(axis=0) + said.sum(axis=0)
        f1 = 2 * (said & has).sum(axis=0) / np.maximum(given, 1)
        return Quality(
            metrics.label_accuracy(labels, probabilities),
            float(f1[support > 0].sum() / max(1, (support > 0).sum())),
            f1,
            support > 0,
            metrics.mean_auc(labels, probabilities),
        )

    def error(self, expected: NDArray[Any], found: NDArray[Any]) -> float:
        """Noise over noise and signal, 0 to 1, the mean over labels.

        Noise: the mean squared difference of a label's probabilities; signal: the variance of
        ``expected``. A label of one probability throughout has no signal and does not count.
        """
        wanted, got = expected.astype(np.float64), found.astype(np.float64)
        noise, signal = ((wanted - got) ** 2).mean(axis=0), wanted.var(axis=0)
        told = signal > 0
        return float((noise[told] / (noise + signal)[told]).mean()) if told.any() else 0.0

    def badness(self, file: Compared) -> tuple[float, float]:
        """Noise and any loss of AUC; then the decisions changed."""
        return file.probability_error + max(file.auc_drop or 0.0, 0.0), file.changed

    def epoch_figures(self, before: Quality, after: Quality, error: float) -> dict[str, float]:
        """AUC, its drop, and the error."""
        found, drop = {"val_probability_error": error}, auc_drop(before, after)
        if after.auc is not None and drop is not None:
            found |= {"val_auc": after.auc, "val_auc_drop": drop}
        return found

    def drop(self, figures: Mapping[str, Any]) -> str:
        """Of the mean AUC, where there is one, else of accuracy."""
        if "val_auc_drop" not in figures:
            return f"accuracy drop {figures['val_accuracy_drop']:+.4f}"
        return f"AUC drop {figures['val_auc_drop']:+.4f}"

    def epoch_score(self, figures: Mapping[str, Any]) -> float:
        """What is not noise, less any loss of AUC."""
        lost = max(0.0, figures.get("val_auc_drop", 0.0))
        return float(1.0 - figures["val_probability_error"] - lost)


CLASSES, LABELS = Classes(), Labels()


def scoring_of(labels: NDArray[np.int64]) -> Scoring:
    """How answers to these labels are compared: (N,) classes, or (N, C) labels of 0 and 1."""
    return LABELS if several_labels(labels) else CLASSES


def auc_drop(before: Quality, after: Quality) -> float | None:
    """Mean AUC lost; None where there is none."""
    return None if before.auc is None or after.auc is None else before.auc - after.auc
