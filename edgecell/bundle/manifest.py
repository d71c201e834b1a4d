"""``model.json``: all that an app has to know of the model, as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecell.bundle.preprocessing import describe, format_version, pixel_encoding
from edgecell.confidence import probability_floor
from edgecell.disk import sha256_bytes
from edgecell.graph import enlarging_operators
from edgecell.metrics.labels import THRESHOLD
from edgecell.preprocess import PreprocessSpec
from edgecell.record import of_our_form
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import Task
from edgecell.tflite_file import TFLiteFile

SCHEMA = "edgecell/bundle"
SCHEMA_VERSION = 2
"""The newest that is written and read; see :func:`edgecell.bundle.preprocessing.format_version`."""
MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden/golden.json"
NOTICE = "Not a medical device. Not for clinical use."
INTENDED_USE = (
    "Research and app development: a second look at images like those it was trained on, by people who"
    " can judge them. It must not decide about a patient."
)

Verdict = str
"""passed, failed or not verified."""


@dataclass(frozen=True)
class Subject:
    """The model of a bundle and what is known of it.

    ``source`` are the bytes that were verified and ``predictor`` runs. ``records`` are the run's, by stage
    name, each as read; ``calibration`` is this model's entry in the calibrate record.
    """

    name: str
    source: bytes
    predictor: TFLitePredictor
    spec: PreprocessSpec
    labels: tuple[str, ...]
    task: Task
    verdict: Verdict
    precision: str | None
    calibration: dict[str, Any] | None
    records: dict[str, dict[str, Any]]
    record_hashes: dict[str, str]
    licence: str | None = None
    intended_use: str | None = None


def model_json(subject: Subject, golden_count: int) -> dict[str, Any]:
    """``model.json`` without its list of files and the facts of the shipped file, see :func:`shipped`.

    Raises:
        ConvertError: an input that pixels do not enter as they are.
    """
    predictor = subject.predictor
    multiply, add = pixel_encoding(predictor)
    entry, leave = (
        predictor.file.tensors[ports[0]]
        for ports in (predictor.file.inputs, predictor.file.outputs)
    )
    integer_in = predictor.input_dtype.kind in "iu"
    integer_out = predictor.output_dtype.kind in "iu"
    return {
        "schema": SCHEMA,
        "schema_version": format_version(subject.spec),
        "name": subject.name,
        "notice": NOTICE,
        "intended_use": subject.intended_use or INTENDED_USE,
        "licence": licence(subject.licence),
        "verified": verified(subject.verdict),
        "model": {
            "file": MODEL_FILE,
            "precision": subject.precision,
            "architecture": architecture(subject.records),
            "verified_sha256": sha256_bytes(subject.source),
        },
        "input": {
            "name": entry.name,
            "dtype": predictor.input_dtype.name,
            "shape": list(entry.shape),
            "layout": "NHWC",
            "channels": "RGB",
            "scale": predictor.input_scale if integer_in else None,
            "zero_point": predictor.input_zero_point if integer_in else None,
            "multiply": multiply,
            "add": add,
            "enlarged_to": enlarged_to(predictor.file),
        },
        "output": {
            "name": leave.name,
            "dtype": predictor.output_dtype.name,
            "shape": list(leave.shape),
            "scale": predictor.output_scale if integer_out else None,
            "zero_point": predictor.output_zero_point if integer_out else None,
            "activation": subject.task.activation,
        },
        "preprocessing": describe(subject.spec),
        "task": {"name": subject.task.name, "kind": subject.task.kind},
        "labels": list(subject.labels),
        "labels_file": LABELS_FILE,
        "decision": decision(
            subject.calibration, subject.labels, subject.task, predictor.output_scale
        ),
        "golden": {"file": GOLDEN_FILE, "count": golden_count},
        "records": {
            stage: {
                "sha256": subject.record_hashes[stage],
                "created": record["created"],
            }
            for stage, record in subject.records.items()
        },
    }


def enlarged_to(file: TFLiteFile) -> list[int] | None:
    """[height, width] to which the graph itself enlarges its input; None where it does not."""
    found = enlarging_operators(file)
    return list(file.tensors[found[-1].outputs[0]].shape[1:3]) if found else None


def shipped(model: dict[str, Any], data: bytes) -> None:
    """Enter the file that is shipped, the verified graph with metadata, into model.json's content."""
    model["model"] |= {"sha256": sha256_bytes(data), "size_bytes": len(data)}


def verified(verdict: Verdict) -> dict[str, str]:
    """What ``verify`` found, with the sentence that is repeated in the README and the card."""
    sentences = {
        "passed": "This file passed verify: it stayed within the budgets against the trained model, class by class.",
        "failed": "UNVERIFIED: this file FAILED verify against the trained model, and was bundled all"
        " the same because --unverified was given. Do not ship it.",
        "not verified": "UNVERIFIED: this file was never compared with the trained model, and was bundled"
        " all the same because --unverified was given. Do not ship it.",
    }
    return {"status": verdict, "sentence": sentences[verdict]}


def licence(text: str | None) -> dict[str, str | None]:
    """The licence of the model, or why there is none."""
    if text:
        return {"model": text}
    return {
        "model": None,
        "reason": "none was stated (edgecell bundle --licence): ask who trained it, and mind the licence"
        " of the training images",
    }


def architecture(records: dict[str, dict[str, Any]]) -> str | None:
    """The network's name and width as the training recorded it.

    Raises:
        ArtifactError: its record does not say.
    """
    if "train" not in records:
        return None
    with of_our_form("the record of train"):
        model = records["train"]["config"]["model"]
        width = f" {model['alpha']}" if model["name"] == "mobilenet_v2" else ""
        return f"{model['name']}{width}"


def decision(
    calibration: dict[str, Any] | None,
    labels: Sequence[str],
    task: Task,
    output_scale: float | None,
) -> dict[str, Any]:
    """Thresholds, temperature and conformal sets as ``edgecell calibrate`` recorded them.

    ``calibration`` is the file's entry in that record, None where it has none.
    """
    floor = probability_floor(output_scale)
    label_threshold = THRESHOLD if task.multi_label else None
    if calibration is None or task.multi_label:
        reason = "not calibrated; 'edgecell calibrate' before 'edgecell bundle' finds it"
        if task.multi_label:
            reason = f"each label is decided by itself, above {THRESHOLD:g}; there is no one answer"
        if calibration is not None:
            reason = "each label is decided by itself; there is no one answer"
        return {
            "label_threshold": label_threshold,
            **({} if calibration is None else {"labels": _label_decisions(calibration, labels)}),
            "abstention": {"threshold": None, "threshold_quanta": None, "reason": reason},
            "temperature": {"use": False, "value": 1.0, "floor": floor, "reason": reason},
            "conformal": {"threshold": None, "threshold_quanta": None, "reason": reason},
        }
    conformal = calibration["conformal"]
    return {
        "label_threshold": label_threshold,
        "abstention": calibration["abstention"],
        "temperature": {
            "use": calibration["temperature"]["kept"],
            "value": calibration["temperature"]["value"],
            "floor": floor,
        },
        "conformal": {
            "coverage": conformal["coverage"],
            "threshold": conformal["threshold"],
            "threshold_quanta": conformal["threshold_quanta"],
            "class_thresholds": [conformal["class_thresholds"][name] for name in labels],
        },
    }


def _label_decisions(calibration: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """From where on each label is present, and how to show its probability; lists in the order of ``labels``."""
    found, scaling = calibration["sensitivity"], calibration["scaling"]
    rows = [found["labels"][name] for name in labels]
    return {
        "sensitivity": found["wanted"],
        "thresholds": [row["threshold"] for row in rows],
        "threshold_quanta": [row["threshold_quanta"] for row in rows],
        "positives": [row["positives"] for row in rows],
        "scaling": None
        if scaling["kept"] == "none"
        else {"slopes": scaling["slopes"], "offsets": scaling["offsets"]},
    }
