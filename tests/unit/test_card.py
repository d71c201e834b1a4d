"""The model card: every figure with its n, what is missing said, and the same in Markdown and HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from edgecell.record import Measurement
from edgecell.report.card import card
from edgecell.report.card_text import html, markdown
from edgecell.tasks import MULTI_LABEL

DIGEST = "ab" * 32
LABELS = ["red", "a | b <i>"]


def measured(
    value: float, n: int = 40, low: float | None = None, high: float | None = None
) -> dict:
    return Measurement(value, "fraction", n, low, high).to_json()


def model(status: str = "passed") -> dict:
    return {
        "name": "toy-int8",
        "notice": "Not a medical device.",
        "intended_use": "Trying it.",
        "licence": {"model": None, "reason": "none was stated"},
        "verified": {"status": status, "sentence": f"It {status}."},
        "model": {
            "sha256": "cd" * 32,
            "size_bytes": 12345,
            "precision": "int8",
            "architecture": None,
            "verified_sha256": DIGEST,
        },
        "input": {"shape": [1, 16, 24, 3], "dtype": "uint8", "scale": 1 / 128, "zero_point": 128},
        "output": {"dtype": "float32", "scale": None, "zero_point": None},
        "preprocessing": {"fit": {"mode": "crop"}},
        "task": {"kind": "single-label", "name": "multi-class"},
        "labels": LABELS,
        "records": {"verify": {"created": "2026-01-02T03:04:05Z", "sha256": "ef" * 32}},
    }


def evaluation(accuracy: float, split: str) -> dict:
    classes = [
        {"name": name, "support": 20, "f1": measured(accuracy, 20, 0.5, 0.99)} for name in LABELS
    ]
    return {
        "split": split,
        "n": 40,
        "accuracy": measured(accuracy, 40, 0.6, 0.95),
        "macro_f1": measured(accuracy),
        "classes": classes,
        "notes": ["few images"],
    }


def evaluate(digest: str, accuracy: float, split: str) -> dict:
    return {
        "inputs": {"x.tflite": digest},
        "config": {"split": split},
        "results": evaluation(accuracy, split),
    }


def bench() -> dict:
    timing = {
        "threads": 1,
        "delegate": {"label": "XNNPACK 64 of 67"},
        **{key: Measurement(0.2, "ms", 1024, 0.1, 0.3).to_json() for key in ("p50", "p90", "p99")},
    }
    entry = {"sha256": DIGEST, "quality": evaluation(0.81, "test"), "latency": [timing]}
    return {"results": {"host": {"cpu": "A CPU"}, "models": [entry]}}


def verify() -> dict:
    entry = {
        "sha256": DIGEST,
        "verdict": "passed",
        "measurements": {"agreement": measured(0.98, 40, 0.9, 1.0)},
        "gate": {"sentence": "cannot tell with 40 images"},
        "notes": ["chosen on val: a verdict on val is optimistic; --split test is not"],
    }
    return {"results": {"models": [entry]}}


def calibrate() -> dict:
    found = {
        "answered": {"share": measured(0.7), "accuracy": measured(0.99)},
        "sets": {"coverage": measured(0.91), "mean_size": 1.25},
        "scores": {"converted": {"ece": measured(0.04)}},
    }
    entry = {
        "sha256": DIGEST,
        "abstention": {"threshold": 0.75, "target_accuracy": 0.95, "certainty": 0.9, "n": 40},
        "conformal": {"coverage": 0.9},
        "val": found,
    }
    return {"results": {"splits": ["val"], "models": [entry]}}


def robustness() -> dict:
    def condition(name: str, strength: int, accuracy: float) -> dict:
        models = [{"accuracy": measured(0.111)}, {"accuracy": measured(accuracy)}]
        return {"corruption": name, "strength": strength, "models": models}

    results = {
        "n": 40,
        "of": 50,
        "split": "val",
        "models": ["model.keras", "x.tflite"],
        "conditions": [
            condition("clean", 0, 0.9),
            condition("blur", 1, 0.8),
            condition("blur", 2, 0.7),
        ],
        "falls": [
            {
                "model": "x.tflite",
                "corruption": "blur",
                "extra_fall": measured(0.02),
                "verdict": "no difference seen",
            }
        ],
    }
    return {"inputs": {"quantize/x.tflite": DIGEST}, "results": results}


def train() -> dict:
    data = {"name": "cells", "kind": "folder", "fingerprint": "0" * 64, "notes": ["made splits"]}
    return {"results": {"data": data, "images": {"train": 1600, "val": 40, "test": 40}}}


ALL = {
    "train": train(),
    "verify": verify(),
    "bench": bench(),
    "calibrate": calibrate(),
    "robustness": robustness(),
}


class Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.skipping = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.skipping = tag == "style"
        assert not [value for name, value in attrs if name in ("src", "onclick")]

    def handle_data(self, data):
        if not self.skipping:
            self.found.append(data)

    def handle_endtag(self, tag):
        self.skipping = False


def both(records: dict, **changes) -> tuple[str, str]:
    made = card(model(**changes), records)
    page = Text(html(made))
    assert page.scripts == 0
    return markdown(made), " ".join(page.found)


@pytest.mark.parametrize(
    "words",
    [
        "0.810 [0.600, 0.950] (n=40)",  # accuracy with interval and n
        "this file on test",
        "0.810 [0.500, 0.990]",  # of a class
        "few images",
        "cannot tell with 40 images",
        "chosen on val: a verdict on val is optimistic; --split test is not",
        "0.980 [0.900, 1.000] (n=40)",
        "It answers from 0.7500 on, for an accuracy of 0.95 with certainty 0.9 (n=40).",
        "0.990 (n=40)",
        "40 of 50 images of val",
        "As they are: 0.900.",
        "0.020 (n=40)",
        "0.200 ms [0.100, 0.300] (n=1024)",
        "On A CPU.",
        "XNNPACK 64 of 67",
        "1,600",
        "24 × 16 RGB, uint8, scale 0.0078125, zero point 128",
        "Not a medical device.",
        "none was stated",
        "12,345 bytes",
        "2026-01-02T03:04:05Z",
    ],
)
def test_what_is_recorded_is_shown(words):
    for text in both(ALL):
        assert words in text
        assert "Not measured" not in text


def test_the_reference_s_figures_are_not_this_file_s():
    """A robustness record holds the trained model's accuracies too."""
    for text in both(ALL):
        assert "0.111" not in text


def test_several_labels_on_worse_images_are_ranked():
    record = robustness()
    record["results"]["task"] = MULTI_LABEL
    for condition in record["results"]["conditions"]:
        for entry in condition["models"]:
            entry["auc"] = entry.pop("accuracy")
    for text in both(ALL | {"robustness": record}):
        assert "mean AUC with" in text and "As they are: 0.900." in text
        assert "accuracy with" not in text
    for text in both(ALL):
        assert "accuracy with" in text and "mean AUC with" not in text


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("train", "Not known: there is no record of the training."),
        ("bench", "Not measured: this file was not benched."),
        ("calibrate", "Not calibrated: there are no thresholds, and it always answers."),
        ("robustness", "Not measured: blur, noise, JPEG"),
    ],
)
def test_what_is_missing_is_said(stage, said):
    for text in both({name: record for name, record in ALL.items() if name != stage}):
        assert said in text


def test_without_any_record_nothing_is_made_up():
    for text in both({}, status="not verified"):
        assert "Not measured: no evaluation of this file" in text
        assert "It not verified." in text
        assert not re.search(r"\(n=\d", text)


@pytest.mark.parametrize(
    ("records", "whose"),
    [
        ({"evaluate/x-val": evaluate(DIGEST, 0.5, "val")}, "this file on val"),
        (
            {
                "evaluate/x-val": evaluate(DIGEST, 0.5, "val"),
                "evaluate/x-test": evaluate(DIGEST, 0.6, "test"),
            },
            "this file on test",
        ),
        (
            {"evaluate/model-val": evaluate("00" * 32, 0.5, "val")},
            "the trained model, before conversion, on val",
        ),
        ({"evaluate/other-val": evaluate("00" * 32, 0.5, "val")}, "not measured"),
    ],
)
def test_whose_figures_they_are(records, whose):
    for text in both(records):
        assert whose in text


def test_another_file_s_entries_are_not_taken():
    def other(record: dict) -> dict:
        models = [entry | {"sha256": "00" * 32} for entry in record["results"]["models"]]
        return record | {"results": record["results"] | {"models": models}}

    records = {name: other(ALL[name]) for name in ("verify", "bench", "calibrate")}
    for text in both(records):
        assert "0.810" not in text and "0.980" not in text and "0.7500" not in text


def test_names_are_only_names():
    text, page = both(ALL)
    assert "a \\| b &lt;i>" in text
    assert "a | b <i>" in page
    assert "<i>" not in html(card(model(), ALL)).replace("&lt;i>", "")


def test_failed_is_not_green():
    page = html(card(model(status="failed"), ALL))
    assert 'badge bad">✗ It failed.' in page
    assert 'badge good">✓ It passed.' in html(card(model(), ALL))
