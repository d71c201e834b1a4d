"""One prediction per image, as files for people and programs, and in MedMNIST's own format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell import metrics
from edgecell.csv_cells import path_cell, text_cell
from edgecell.errors import ArtifactError, DataError
from edgecell.tasks import Task, several_labels

SCHEMA = "edgecell/predictions"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Predictions:
    """What a model said about each image of a split.

    ``probabilities`` (N, C) in 0…1, ``names`` of the N images, ``labels`` int (N,) or (N, 1); or
    (N, C) of 0 and 1 where several labels can hold at once: then an image is right when all its
    labels are decided rightly, and its confidence is that of the least sure decision.

    Raises:
        DataError: shapes that do not fit together.
    """

    class_names: Sequence[str]
    names: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def __post_init__(self) -> None:
        check = metrics.check_label_inputs if several_labels(self.labels) else metrics.check_inputs
        labels, _ = check(self.labels, self.probabilities)
        object.__setattr__(self, "labels", labels)
        if len(self.names) != len(labels):
            raise DataError(f"{len(self.names)} image names for {len(labels)} predictions")
        if len(self.class_names) != self.probabilities.shape[1]:
            raise DataError(
                f"{len(self.class_names)} class names for a model of"
                f" {self.probabilities.shape[1]} classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels at once."""
        return several_labels(self.labels)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class of the largest probability (N,), or which labels were said (N, C)."""
        if self.multi_label:
            return metrics.decide(self.probabilities).astype(np.int64)
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """The largest probability, or that of the least sure of several decisions, (N,)."""
        if self.multi_label:
            return np.maximum(self.probabilities, 1 - self.probabilities).min(axis=1)
        return self.probabilities.max(axis=1)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether the label, or all labels of an image, were said, (N,)."""
        same = self.predicted == self.labels
        return same.all(axis=1) if self.multi_label else same

    def row(self, index: int) -> dict[str, Any]:
        """One image: index, image, label, predicted, confidence, right."""
        return {
            "index": index,
            "image": self.names[index],
            "label": self._words(self.labels[index]),
            "predicted": self._words(self.predicted[index]),
            "confidence": number(self.confidence[index]),
            "right": bool(self.right[index]),
        }

    def cells(self, index: int) -> dict[str, Any]:
        """The same for a CSV: no text that a spreadsheet would take for a formula, right as 0 or 1."""
        row = self.row(index)
        return row | {
            "image": path_cell(row["image"]),
            "label": text_cell(row["label"]),
            "predicted": text_cell(row["predicted"]),
            "right": int(row["right"]),
        }

    def _words(self, label: Any) -> str:
        if not self.multi_label:
            return self.class_names[int(label)]
        return "; ".join(self.class_names[int(i)] for i in np.flatnonzero(label)) or "none"

    def to_csv(self) -> str:
        """A table with a header; probabilities with all their digits, so that nothing is lost."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"p({name})" for name in self.class_names)])
        for index, probabilities in enumerate(self.probabilities):
            writer.writerow([*self.cells(index).values(), *map(number, probabilities)])
        return out.getvalue()

    def to_json(self) -> str:
        """A JSON document with one line per image."""
        head = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "class_names": list(self.class_names),
        }
        lines = [
            json.dumps(
                self.row(index) | {"probabilities": [number(p) for p in probabilities]},
                ensure_ascii=False,
                allow_nan=False,
            )
            for index, probabilities in enumerate(self.probabilities)
        ]
        opening = json.dumps(head, ensure_ascii=False)[:-1]
        return f'{opening}, "images": [\n' + ",\n".join(lines) + "\n]}\n"

    def to_medmnist(self) -> str:
        """The body of MedMNIST's result file: no header, the index, then the score of each class.

        As ``medmnist.evaluator.Evaluator.evaluate`` writes it and ``parse_and_evaluate`` reads it.
        """
        return "".join(
            ",".join((str(index), *(str(number(p)) for p in row))) + "\n"
            for index, row in enumerate(self.probabilities)
        )


def answers(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, str]:
    """Labels and predictions (N,) for a JSON file, as class numbers with spaces between: two bytes an image."""
    return {
        key: " ".join(map(str, np.asarray(numbers).tolist()))
        for key, numbers in (("labels", labels), ("predicted", predicted))
    }


def read_answers(told: Mapping[str, str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The inverse of :func:`answers`: labels (N,) and predictions (N,).

    Raises:
        ArtifactError: not what :func:`answers` writes.
    """
    try:
        labels, predicted = (
            np.array([int(number) for number in told[key].split(" ")], np.int64)
            for key in ("labels", "predicted")
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactError(f"answers that cannot be read ({error}); measure again") from error
    if len(labels) != len(predicted) or min(labels.min(), predicted.min()) < 0:
        raise ArtifactError(
            f"answers that cannot be: {len(labels)} labels, {len(predicted)} predictions; measure again"
        )
    return labels, predicted


COLUMNS = ("index", "image", "label", "predicted", "confidence", "right")


def number(value: Any) -> float:
    """A float that prints as shortly as a float32 can be told from its neighbours."""
    return float(str(np.float32(value)))


def medmnist_scores(predictions: Predictions, task: Task) -> tuple[float, float]:
    """(AUC, ACC) as MedMNIST's evaluator defines them; AUC is NaN where nothing can be ranked.

    With two classes MedMNIST says class 1 above 0.5, where this project takes the larger of the two:
    they differ on a tie alone. With several labels both are means over the labels.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    if task.multi_label:
        area = metrics.mean_auc(labels, probabilities)
        accuracy = metrics.label_accuracy(labels, probabilities)
    else:
        area = metrics.auc(labels, probabilities)
        said = probabilities[:, -1] > 0.5 if task.binary else predictions.predicted
        accuracy = float((said == labels).mean())
    return float("nan") if area is None else area, accuracy


def medmnist_file_name(
    flag: str, size: int, split: str, auc: float, accuracy: float, run: str
) -> str:
    """``{flag}{size_flag}_{split}_[AUC]{auc:.3f}_[ACC]{acc:.3f}@{run}.csv``, MedMNIST's standard name.

    ``flag`` is the name of the set, ``size`` its images' side (28 has no size flag). The evaluator
    cuts a name at ``_``, ``@`` and ``.``; in ``flag`` and ``run`` other signs than letters and
    digits become ``-``, so that it reads back what was written.
    """
    size_flag = "" if size == 28 else f"_{size}"
    return f"{_plain(flag)}{size_flag}_{split}_[AUC]{auc:.3f}_[ACC]{accuracy:.3f}@{_plain(run)}.csv"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "run"
