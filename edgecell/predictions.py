"""One prediction per image, as files for people and programs, and in MedMNIST's own format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell import metrics
from edgecell.errors import DataError

SCHEMA = "edgecell/predictions"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Predictions:
    """What a model said about each image of a split.

    ``probabilities`` (N, C) in 0…1, ``labels`` int (N,) or (N, 1), ``names`` of the N images.

    Raises:
        DataError: shapes that do not fit together.
    """

    class_names: Sequence[str]
    names: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def __post_init__(self) -> None:
        labels, _ = metrics.check_inputs(self.labels, self.probabilities)
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
    def predicted(self) -> NDArray[np.int64]:
        """The class of the largest probability, int64 (N,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The largest probability, (N,)."""
        return self.probabilities.max(axis=1)

    def row(self, index: int) -> dict[str, Any]:
        """One image: index, image, label, predicted, confidence, right."""
        predicted = int(self.probabilities[index].argmax())
        label = int(self.labels[index])
        return {
            "index": index,
            "image": self.names[index],
            "label": self.class_names[label],
            "predicted": self.class_names[predicted],
            "confidence": number(self.probabilities[index, predicted]),
            "right": predicted == label,
        }

    def to_csv(self) -> str:
        """A table with a header; probabilities with all their digits, so that nothing is lost."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"p({name})" for name in self.class_names)])
        for index, probabilities in enumerate(self.probabilities):
            row = self.row(index)
            writer.writerow(
                [*(row | {"right": int(row["right"])}).values(), *map(number, probabilities)]
            )
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


COLUMNS = ("index", "image", "label", "predicted", "confidence", "right")


def number(value: Any) -> float:
    """A float that prints as shortly as a float32 can be told from its neighbours."""
    return float(str(np.float32(value)))


def medmnist_scores(
    labels: NDArray, probabilities: NDArray, *, two_classes: bool
) -> tuple[float, float]:
    """(AUC, ACC) as MedMNIST's evaluator defines them; AUC is NaN where one class only is there.

    With two classes MedMNIST says class 1 above 0.5, where this project takes the larger of the two:
    they differ on a tie alone.
    """
    labels, probabilities = metrics.check_inputs(labels, probabilities)
    area = metrics.auc(labels, probabilities)
    said = probabilities[:, -1] > 0.5 if two_classes else probabilities.argmax(axis=1)
    return float("nan") if area is None else area, float((said == labels).mean())


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
