"""Training, conversion, verification and evaluation as sections of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.naming import owner_of, short_names
from edgecell.report.elements import (
    Html,
    Pictures,
    badge,
    card,
    details,
    element,
    facts,
    join,
    long_table,
    measurement,
    note_list,
    section,
    table,
    value,
    words,
)
from edgecell.report.labels import label_lead, label_tables, named_scores, weakest_label
from edgecell.report.quantization import mixed_part, slim_part, tuning_part
from edgecell.report.trust import gate_part
from edgecell.tasks import task_of_record

_TITLES = {
    "confusion": "Confusion matrix: rows are labels, columns predictions",
    "confusion_normalized": "Confusion matrix as a share of each class",
    "classes": "Precision, recall and F1 per class",
    "auc": "How each label is ranked, the best first: AUC and average precision",
    "labels": "What is decided about each label at 0.5, and in how many images",
    "reliability": "Confidence against the share that is right",
    "confidence": "How sure the model was when it was right and when it was wrong",
    "mistakes": "The most confident mistakes: label → prediction, confidence",
    "examples": "Each class: the surest and the least sure right answers, the most confident mistakes",
    "curves": "Learning curves; backgrounds mark the stages",
    "samples": "Images of the training set",
    "sizes": "Bytes of each file, stored and packed",
}
Verdicts = dict[str, bool]

_OF_VAL = ("val_accuracy", "val_auc", "val_kappa")
_DRAWN = (
    "confusion",
    "answers",
    "images",
    "reliability",
    "confidence_histogram",
    "examples",
    "classes",
    "class_names",
    "notes",
    "method",
)


def _figures(record: dict[str, Any], folder: Path, pictures: Pictures, *, about: str = "") -> Html:
    """The stage's pictures; one without a caption of its own is ``about`` what its name says."""
    names = [Path(name) for name in record["outputs"] if name.endswith(".png")]
    names.sort(
        key=lambda path: list(_TITLES).index(path.stem) if path.stem in _TITLES else len(_TITLES)
    )
    return element(
        "div",
        *(
            pictures.figure(folder / path.name, _TITLES.get(path.stem, about + words(path.stem)))
            for path in names
        ),
        cls="figures",
    )


def train_headline(results: dict[str, Any]) -> Html:
    """The card of a run that was only trained."""
    (name, first), *others = task_of_record(results["data"]).trained_figures(results)
    beside = "".join(f"{title} {figure['value']:.3f}, " for title, figure in others)
    return card(
        f"Validation {name}",
        f"{first['value']:.3f}",
        f"{beside}Keras model, n={first.get('n', '?')}",
    )


def train_section(record: dict[str, Any], folder: Path, pictures: Pictures, _: Verdicts) -> Html:
    """Curves and every result of training."""
    results = record["results"]
    found = task_of_record(results["data"]).trained_figures(results)
    first = {f"val {name}": figure for name, figure in found}
    rest = {key: entry for key, entry in results.items() if key not in _OF_VAL}
    return section(
        "Training",
        "train",
        facts(first | rest),
        _figures(record, folder, pictures),
        lead="The model is fitted on train; val chooses the epoch and stops it.",
    )


def quantize_section(record: dict[str, Any], folder: Path, pictures: Pictures, _: Verdicts) -> Html:
    """The files, what the audit found in each, and the calibration set."""
    results = record["results"]
    columns = ["File", "Precision", "Size", "Packed", "Audit", "Conversion"]
    rows = []
    for model in results["models"]:
        audit = model["audit"]
        passed = audit.get("passed")
        rows.append(
            [
                model["file"],
                model["precision"],
                f"{model['size_bytes'] / 1000:,.1f} kB",
                f"{model['packed_bytes'] / 1000:,.1f} kB" if "packed_bytes" in model else "–",
                badge("passed" if passed else "not judged" if passed is None else "failed", passed),
                f"{model['seconds']:.1f} s",
            ]
        )
    parts = [table(columns, rows, numeric=(2, 3, 5))]
    parts += [part(results["models"]) for part in (tuning_part, slim_part, mixed_part)]
    if "calibration" in results:
        parts += [element("h3", "Calibration"), facts(results["calibration"])]
    shown = ("file", "precision", "size_bytes", "audit", "seconds")
    for model in results["models"]:
        rest = {key: entry for key, entry in model.items() if key not in shown}
        parts.append(details(f"Audit of {model['file']}", facts(rest), facts(model["audit"])))
    others = {key: entry for key, entry in results.items() if key not in ("models", "calibration")}
    return section(
        "Conversion",
        "quantize",
        *parts,
        facts(others) if others else "",
        _figures(record, folder, pictures, about="Fine-tuning by epoch: "),
        lead="Each written file is opened again and its operators and tensors are checked. Packed: after "
        "DEFLATE, the method of zip, gzip and app packages.",
    )


def verify_headline(results: dict[str, Any]) -> Html:
    """How many files passed."""
    models = results["models"]
    passed = sum(model["passed"] for model in models)
    refused = [
        name for name, model in zip(_names(models), models, strict=True) if not model["passed"]
    ]
    gates = [model["gate"]["verdict"] for model in models if "gate" in model]
    note = "no loss beyond the budgets, against the trained model"
    if refused:
        note = f"refused: {', '.join(refused)}"
    elif gates:
        undecided = gates.count("cannot tell")
        note = f"{gates.count('equivalent')} equivalent to the trained model" + (
            f", {undecided} within budget but too few images to tell" if undecided else ""
        )
    return card("Verified", f"{passed} of {len(models)}", note)


def verify_section(record: dict[str, Any], folder: Path, pictures: Pictures, _: Verdicts) -> Html:
    """Per file: verdict, checks, and what happened to each class."""
    parts: list[Html] = []
    models = record["results"]["models"]
    stems = [Path(model["file"]).stem for model in models]
    drawn = [folder / Path(name).name for name in record["outputs"] if name.endswith(".png")]
    shown = {
        "file",
        "precision",
        "verdict",
        "passed",
        "checks",
        "classes",
        "reference",
        "converted",
        "gate",
        "notes",
    }
    for name, stem, model in zip(_names(models), stems, models, strict=True):
        # Where the gate spoke, its sentence follows in a colour of its own.
        label = (
            model["verdict"] if "gate" not in model else "passed" if model["passed"] else "refused"
        )
        title = join(model["file"], " ", badge(label, model["passed"]))
        parts.append(element("h3", title))
        if "gate" in model:
            parts.append(gate_part(model["gate"]))
        parts.append(note_list(model.get("notes", ())))
        parts.append(_checks(model["checks"]))
        own = [path for path in drawn if owner_of(path.stem, stems) == stem]
        parts.append(
            element(
                "div",
                *(pictures.figure(path, f"{_drawn(path)}, {name}") for path in own),
                cls="figures",
            )
        )
        rest = {key: entry for key, entry in model.items() if key not in shown}
        parts.append(
            details(
                f"Classes and measurements of {model['file']}", value(model["classes"]), facts(rest)
            )
        )
    return section(
        "Verification",
        "verify",
        *parts,
        note_list(record["results"].get("notes", ())),
        lead="Each file against the trained model it came from, on the same images"
        f" ({record['results'].get('split', 'val')}). Agreement is between "
        "the two models; accuracy is against the labels. A drop is trained minus converted: positive is worse.",
    )


def _names(models: list[dict[str, Any]]) -> list[str]:
    return short_names([m["precision"] for m in models], [Path(m["file"]).stem for m in models])


def _drawn(path: Path) -> str:
    if path.stem.endswith("-gate"):
        return "Drops with their intervals"
    return "AUC lost per label" if path.stem.endswith("-auc-drop") else "F1 lost per class"


def _checks(checks: list[dict[str, Any]]) -> Html:
    labels = {True: "passed", False: "failed", None: "not judged"}
    rows = [
        [
            check["name"],
            badge(labels[check["passed"]], check["passed"]),
            value(check["measured"]),
            value(check["allowed"]),
            check.get("detail", ""),
        ]
        for check in checks
    ]
    columns = ["Check", "Result", "Measured", "Allowed", ""]
    if not any(row[4] for row in rows):
        columns, rows = columns[:4], [row[:4] for row in rows]
    return table(columns, rows)


def evaluate_section(record: dict[str, Any], folder: Path, pictures: Pictures, _: Verdicts) -> Html:
    """Scores, figures and the per-class table of one model on one split."""
    results = record["results"]
    scores = {key: entry for key, entry in results.items() if key not in _DRAWN}
    for key in ("schema", "schema_version", "worst_class"):
        scores.pop(key, None)
    task, worst = task_of_record(results), results["worst_class"]
    scores = named_scores(scores, task)
    if task.multi_label:
        scores["weakest_label"] = weakest_label(worst)
    else:
        scores["weakest_class"] = f"{worst['name']}, F1 {measurement(worst['f1'])}"
    name = " on ".join(str(results[key]) for key in ("model", "split") if key in results)
    return section(
        f"Evaluation of {name}" if name else "Evaluation",
        "evaluate" if folder.name == "evaluate" else f"evaluate-{folder.name}",
        facts(scores),
        label_tables(results["classes"]) if task.multi_label else _class_table(results["classes"]),
        _figures(record, folder, pictures),
        note_list(results["notes"]),
        details("How the figures were made", facts(results["method"])),
        lead=label_lead(results) if task.multi_label else "",
    )


def _class_table(classes: list[dict[str, Any]]) -> Html:
    rows = [
        [
            row["name"],
            row["support"],
            *(measurement(row[key], count=False) for key in ("precision", "recall", "f1")),
        ]
        for row in classes
    ]
    return long_table(
        ["Class", "Images", "Precision", "Recall", "F1"],
        rows,
        [row["f1"].get("value", 2.0) for row in classes],
        numeric=(1, 2, 3, 4),
    )
