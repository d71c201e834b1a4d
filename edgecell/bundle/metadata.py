"""The TFLite Metadata of a bundled model, so that MediaPipe Tasks takes the file as it is."""

from __future__ import annotations

from typing import Any

from edgecell import __version__
from edgecell.bundle.manifest import LABELS_FILE, Subject
from edgecell.tflite_metadata import Metadata

CALIBRATION_FILE = "score_calibration.txt"
# Metadata of this kind are understood from this version of the format on.
_MIN_PARSER = "1.0.0"


def metadata(subject: Subject, model: dict[str, Any]) -> Metadata:
    """Metadata from model.json's content.

    The normalisation is ``(pixel - mean) / std``: 0 and 1 where the graph scales by itself, 128 and 128
    where the input tensor's scale says so (a reader of uint8 inputs applies none). A temperature is the
    format's sigmoid of the logit only for two classes; elsewhere scores are the model's own.
    """
    files = {LABELS_FILE: ("\n".join(subject.labels) + "\n").encode()}
    outputs: dict[str, Any] = {
        "name": "probability",
        "description": f"Probability of each of {len(subject.labels)} labels.",
        "content": {
            "content_properties": {"table": "FeatureProperties"},
            "range": {"min": 2, "max": 2},
        },
        "stats": {"max": [1.0], "min": [0.0]},
        "associated_files": [
            {
                "name": LABELS_FILE,
                "description": "Labels in the order of the outputs.",
                "type": "TENSOR_AXIS_LABELS",
            }
        ],
    }
    temperature = model["decision"]["temperature"]
    if temperature["use"] and len(subject.labels) == 2 and not subject.task.multi_label:
        files[CALIBRATION_FILE] = _sigmoids(temperature["value"], 2)
        outputs["associated_files"].append(
            {
                "name": CALIBRATION_FILE,
                "description": "Scale, slope and offset of each label's sigmoid.",
                "type": "TENSOR_AXIS_SCORE_CALIBRATION",
            }
        )
        options = {
            "table": "ScoreCalibrationOptions",
            "score_transformation": "INVERSE_LOGISTIC",
            "default_score": 0.0,
        }
        outputs["process_units"] = [{"options": options}]
    return Metadata(
        {
            "name": subject.name,
            "description": f"{model['notice']} {model['intended_use']}",
            "version": f"edgecell {__version__}",
            "license": model["licence"]["model"] or model["licence"]["reason"],
            "min_parser_version": _MIN_PARSER,
            "subgraph_metadata": [
                {
                    "name": "classifier",
                    "input_tensor_metadata": [_input(model)],
                    "output_tensor_metadata": [outputs],
                }
            ],
        },
        files,
    )


def _input(model: dict[str, Any]) -> dict[str, Any]:
    entry = model["input"]
    mean, std = normalization(entry)
    height, width = entry["shape"][1:3]
    return {
        "name": "image",
        "description": f"RGB image of {width} × {height} pixels{_enlarged(entry)}; model.json states the"
        " resize.",
        "content": {"content_properties": {"table": "ImageProperties", "color_space": "RGB"}},
        "process_units": [
            {"options": {"table": "NormalizationOptions", "mean": [mean], "std": [std]}}
        ],
        "stats": {"max": [(255 - mean) / std], "min": [-mean / std]},
    }


def _enlarged(entry: dict[str, Any]) -> str:
    if entry["enlarged_to"] is None:
        return ""
    rows, columns = entry["enlarged_to"]
    return f", enlarged to {columns} × {rows} by the model"


def normalization(entry: dict[str, Any]) -> tuple[float, float]:
    """(mean, std) of ``input`` in model.json: the real number a pixel stands for is (u - mean) / std."""
    step = entry["multiply"] * (entry["scale"] or 1.0)
    low = (entry["add"] - (entry["zero_point"] or 0)) * (entry["scale"] or 1.0)
    return -low / step + 0.0, 1 / step  # + 0.0: a zero without a sign


def _sigmoids(temperature: float, count: int) -> bytes:
    """A line "scale,slope,offset" for each label: sigmoid(logit(p) / temperature)."""
    return (f"1.0,{1 / temperature!r},0.0\n" * count).encode()
