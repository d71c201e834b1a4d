"""Quality of a model on labelled images: one dict of measurements, and the files that show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgecell import metrics, plots
from edgecell.disk import atomic_write_json, atomic_write_text
from edgecell.errors import DataError
from edgecell.evaluate_labels import by_chance, ece_caption, evaluate_labels, label_figures
from edgecell.naming import listed
from edgecell.predictions import Predictions, answers
from edgecell.record import Measurement
from edgecell.tasks import ORDINAL, several_labels, task_of_record

SCHEMA = "edgecell/evaluation"
SCHEMA_VERSION = 1
LEVEL = 0.95


def evaluate(
    probabilities: NDArray,
    labels: NDArray,
    class_names: Sequence[str],
    *,
    ordinal: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every quality figure of one set of predictions, as JSON.

    Args:
        probabilities: (N, C), 0..1.
        labels: int (N,) or (N, 1), 0..C-1; where an image can have several labels (N, C) of 0 and 1,
            for which :func:`edgecell.evaluate_labels.evaluate_labels` answers.
        ordinal: the classes are grades of one scale: adds "task" and "kappa", with quadratic weights.
        class_names: C names.
        resamples, seed: of the bootstrap.

    Proportions (accuracy, precision, recall) carry Wilson intervals, a class's F1 that of its Jaccard
    index, a mean F1 :func:`edgecell.metrics.mean_f1_interval`, kappa a smoothed bootstrap, the area of
    one ROC curve Newcombe's; the mean of several areas, loss and Brier score percentile bootstrap
    intervals over images. ECE carries none (resampling inflates it); "ece_if_calibrated" is what it
    would be by chance. Intervals speak of this set of images alone: not of other hospitals, stains or
    microscopes.

    Raises:
        DataError: shapes or values that do not fit together.
    """
    if several_labels(labels):
        return evaluate_labels(probabilities, labels, class_names, resamples=resamples, seed=seed)
    labels, probabilities = metrics.check_inputs(labels, probabilities)
    n, class_count = probabilities.shape
    if len(class_names) != class_count:
        raise DataError(f"{len(class_names)} class names for a model of {class_count} classes")
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, class_count)
    draws = metrics.bootstrap_confusion(confusion, resamples, seed)
    classes = _classes(confusion, class_names)

    fewer = metrics.auc_resamples(n, class_count, resamples)

    def by_images(name: str, value: float, unit: str) -> dict[str, Any]:
        interval = metrics.bootstrap_interval(
            name, labels, probabilities, n=resamples, seed=seed, level=LEVEL
        )
        return _measured(value, unit, n, interval)

    def mean_f1(name: str, value: float, shares: NDArray | None = None) -> dict[str, Any]:
        interval = metrics.mean_f1_interval(
            *metrics.margins(confusion), draws["f1"], draws[name], shares, LEVEL
        )
        return _measured(value, "fraction", n, interval)

    grades = {"kappa": _kappa(confusion, n, resamples, seed)} if ordinal else {}
    asked = {"task": ORDINAL} if ordinal else {}
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **asked,
        "n": n,
        "class_names": list(class_names),
        "accuracy": _measured(
            metrics.accuracy(confusion),
            "fraction",
            n,
            metrics.wilson_interval(np.trace(confusion), n),
        ),
        "macro_f1": mean_f1("macro_f1", metrics.macro_f1(confusion)),
        "weighted_f1": mean_f1(
            "weighted_f1", metrics.weighted_f1(confusion), confusion.sum(axis=1)
        ),
        **grades,
        "auc": _area(labels, probabilities, fewer, seed),
        "loss": by_images("log_loss", metrics.log_loss(labels, probabilities), "nat"),
        "brier": by_images("brier", metrics.brier(labels, probabilities), "1"),
        "ece": _measured(metrics.ece(labels, probabilities), "fraction", n, None),
        "ece_if_calibrated": by_chance(metrics.calibrated_eces(probabilities.max(axis=1), seed), n),
        "worst_class": _worst(classes),
        "classes": classes,
        "confusion": confusion.tolist(),
        "answers": answers(labels, predicted),
        "reliability": _arrays(metrics.reliability(labels, probabilities).__dict__),
        "confidence_histogram": _arrays(
            dict(
                zip(
                    ("edges", "right", "wrong"),
                    metrics.confidence_histogram(labels, probabilities),
                    strict=True,
                )
            )
        ),
        "method": {
            "level": LEVEL,
            "proportions": "Wilson score interval",
            "f1": "Wilson score interval of the Jaccard index, as F1",
            "mean_f1": "percentile bootstrap joined with the variance recovered from the classes' intervals",
            "quadratic_kappa": "percentile bootstrap with two images added",
            "auc": "Newcombe's method 5"
            if class_count == 2
            else f"percentile bootstrap over images, {fewer} resamples",
            "others": f"percentile bootstrap over images, {resamples} resamples, seed {seed}",
            "ece_bins": metrics.ECE_BINS,
        },
        "notes": _notes(confusion, class_names),
    }


def write_artefacts(
    stage_dir: Path,
    evaluation: dict[str, Any],
    predictions: Predictions,
    images: plots.Images | None = None,
) -> list[Path]:
    """Write evaluation.json, the predictions and the figures; returns their paths.

    ``images``: those of ``predictions``, uint8 (N, h, w, 3); with them, and "examples" in the
    evaluation, the answers worth a look are drawn too.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    several = task_of_record(evaluation).multi_label
    figures = label_figures(evaluation) if several else _class_figures(evaluation)
    if images is not None and "examples" in evaluation:
        figures["mistakes.png"] = plots.confident_mistakes(images, evaluation["examples"])
        figures["examples.png"] = plots.examples_by_class(
            images, evaluation["examples"], of="label" if several else "class"
        )
    written = [plots.save(figure, stage_dir / name) for name, figure in figures.items()]
    texts = {"predictions.csv": predictions.to_csv(), "predictions.json": predictions.to_json()}
    for name, text in texts.items():
        atomic_write_text(stage_dir / name, text)
    report = stage_dir / "evaluation.json"
    atomic_write_json(report, evaluation)
    return [report, *(stage_dir / name for name in texts), *written]


def _class_figures(evaluation: dict[str, Any]) -> dict[str, Figure]:
    names = evaluation["class_names"]
    confusion = np.array(evaluation["confusion"])
    return {
        "confusion.png": plots.confusion_matrix(confusion, names),
        "confusion_normalized.png": plots.confusion_matrix(
            metrics.normalize_rows(confusion), names, normalized=True
        ),
        "classes.png": plots.per_class_bars(evaluation["classes"]),
        "confidence.png": plots.confidence_histogram(**evaluation["confidence_histogram"]),
        "reliability.png": plots.reliability_diagram(
            **evaluation["reliability"],
            caption=ece_caption(evaluation, f"n={evaluation['n']}"),
        ),
    }


def _measured(value: float, unit: str, n: int, interval: metrics.Interval | None) -> dict[str, Any]:
    return Measurement.within(value, unit, n, interval).to_json()


def _kappa(confusion: NDArray, n: int, resamples: int, seed: int) -> dict[str, Any]:
    value = metrics.quadratic_kappa(confusion)
    if value is None:
        reason = "labels and predictions are one class throughout"
        return Measurement.missing("1", reason).to_json()
    return _measured(value, "1", n, metrics.kappa_interval(confusion, resamples, seed))


def _area(labels: NDArray, probabilities: NDArray, resamples: int, seed: int) -> dict[str, Any]:
    """The AUC: of two classes one ROC curve, of more the mean of several."""
    area, n = metrics.auc(labels, probabilities), len(labels)
    if area is None:
        return Measurement.missing("fraction", "all images have the same label").to_json()
    if probabilities.shape[1] == 2:
        positives = int(labels.sum())
        return _measured(area, "fraction", n, metrics.auc_interval(area, positives, n - positives))
    found = metrics.bootstrap_interval(
        "auc", labels, probabilities, n=resamples, seed=seed, level=LEVEL
    )
    return _measured(area, "fraction", n, metrics.with_width(found))


def _classes(confusion: NDArray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    scores, rows = metrics.per_class(confusion), []
    for i, name in enumerate(class_names):
        support, predicted, hits = int(scores.support[i]), int(scores.predicted[i]), confusion[i, i]
        never = "no image of this class" if support == 0 else "never predicted"
        rows.append(
            {
                "name": name,
                "support": support,
                "predicted": predicted,
                "precision": Measurement.missing("fraction", never).to_json()
                if scores.precision_undefined[i]
                else _measured(
                    float(scores.precision[i]),
                    "fraction",
                    predicted,
                    metrics.wilson_interval(hits, predicted),
                ),
                "recall": Measurement.missing("fraction", never).to_json()
                if scores.recall_undefined[i]
                else _measured(
                    float(scores.recall[i]),
                    "fraction",
                    support,
                    metrics.wilson_interval(hits, support),
                ),
                "f1": Measurement.missing("fraction", never).to_json()
                if scores.recall_undefined[i]
                else _measured(
                    float(scores.f1[i]),
                    "fraction",
                    support,
                    metrics.f1_interval(hits, support, predicted),
                ),
            }
        )
    return rows


def _worst(classes: list[dict[str, Any]]) -> dict[str, Any]:
    scored = [row for row in classes if row["support"] > 0]
    worst = min(scored, key=lambda row: row["f1"]["value"])
    return {"name": worst["name"], "support": worst["support"], "f1": worst["f1"]}


def _arrays(table: dict[str, Any]) -> dict[str, list]:
    return {key: np.asarray(values).tolist() for key, values in table.items()}


def _notes(confusion: NDArray, class_names: Sequence[str]) -> list[str]:
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    moved = metrics.find_moved(confusion)
    notes = [metrics.moved_line(moved, class_names, "these images")] if moved else []
    absent = [name for name, count in zip(class_names, support, strict=True) if count == 0]
    if absent:
        notes.append(f"no image of {listed(absent)}: left out of AUC and of macro F1")
    silent = [
        name for name, s, p in zip(class_names, support, predicted, strict=True) if s > 0 and p == 0
    ]
    if silent:
        notes.append(f"never predicted: {listed(silent)}")
    few = [name for name, count in zip(class_names, support, strict=True) if 0 < count < 30]
    if few:
        notes.append(f"fewer than 30 images of {listed(few)}: read the interval, not the value")
    return notes
