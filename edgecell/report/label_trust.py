"""Confidence where an image can have several labels, as a part of the report and words for the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecell.metrics import THRESHOLD
from edgecell.report.elements import Html, details, element, join, measurement, table

LEAD = (
    "Everything is fitted on val and the thresholds apply to the file's own output. A label's threshold finds a"
    " new image with it as often as wanted, on average over validation sets like this one (split conformal within"
    " the label); 'at least' is what this one promises with certainty. On val, decisions are judged by"
    " cross-validation."
)
DECIDED = ("sensitivity", "specificity", "precision")
_KEYS = ("ece", "log_loss", "brier")


def label_confidence(model: Mapping[str, Any], split: str) -> Html:
    """Of one file on one split: scores of confidence, and what each label's threshold finds."""
    found, wanted = model[split], model["sensitivity"]
    names = {"reference": "trained model", "converted": "converted"}
    if model["scaling"]["kept"] != "none":
        names["scaled"] = f"converted, {scaling_words(model['scaling'])}"
    scores = [
        [said, *(measurement(found["scores"][kind][key]) for key in _KEYS)]
        for kind, said in names.items()
    ]
    rows = [
        [
            name,
            label["positives"],
            threshold_words(wanted["labels"][name]),
            *(measurement(label[key], count=False) for key in DECIDED),
            at_least(wanted["labels"][name]),
        ]
        for name, label in found["labels"].items()
    ]
    single = [
        [name, said, *(measurement(label["scores"][kind][key], count=False) for key in _KEYS)]
        for name, label in found["labels"].items()
        for kind, said in names.items()
    ]
    columns = ["Label", "Images with it", "Present from", "Sensitivity", "Specificity", "Precision"]
    sure = f"At least, with {wanted['certainty']:g}"
    return join(
        element("h4", f"On {split}"),
        table(["Mean over labels", "ECE", "Log loss", "Brier"], scores, numeric=(1, 2, 3)),
        element("p", f"Thresholds for a sensitivity of {wanted['wanted']:g}:"),
        table([*columns, sure], rows, numeric=range(1, 7)),
        details(
            f"Confidence of each label on {split}",
            table(["Label", "Model", "ECE", "Log loss", "Brier"], single, numeric=(2, 3, 4)),
        ),
    )


def scaling_words(scaling: Mapping[str, Any]) -> str:
    """What was kept, in words."""
    if scaling["kept"] == "labels":
        return "a slope and an offset for each label"
    if scaling["kept"] == "temperature":
        return f"temperature {scaling['temperature']['value']:.2f}"
    return "as it is"


def threshold_words(label: Mapping[str, Any]) -> str:
    """From where on a label is called, or why that stays at 0.5."""
    if label["threshold"] is None:
        return f"above {THRESHOLD:g}: {label['reason']}"
    return f"{label['threshold']:.4g}"


def at_least(label: Mapping[str, Any]) -> str:
    """The sensitivity that is promised with certainty."""
    return "–" if label["threshold"] is None else f"{label['sensitivity_at_least']:.3f}"
