"""Quality where an image can have several labels at once: each label is ranked and decided by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgecell import metrics, plots
from edgecell.errors import DataError
from edgecell.naming import listed
from edgecell.record import Measurement
from edgecell.tasks import MULTI_LABEL

_FEW = 30


def evaluate_labels(
    probabilities: NDArray,
    labels: NDArray,
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every quality figure of one set of predictions, as JSON; keys as :func:`edgecell.evaluate.evaluate`.

    Args:
        probabilities: (N, C), 0..1, each label's by itself.
        labels: int (N, C), 0 or 1.
        class_names: C names.
        resamples, seed: of the bootstrap over images.

    "auc" is the mean over labels and the primary figure, "accuracy" the mean share of right decisions
    (MedMNIST's AUC and ACC of the task), "exact_match" the share of images with all decisions right,
    "macro_f1" the mean over labels at the threshold 0.5. There is no confusion matrix; each entry of
    "classes" has the four "counts" of its label, and precision, recall, specificity, f1, auc and
    average_precision. Confidence is that of a decision, of which there are N · C.

    Raises:
        DataError: shapes or values that do not fit together.
    """
    labels, probabilities = metrics.check_label_inputs(labels, probabilities)
    n, count = probabilities.shape
    if len(class_names) != count:
        raise DataError(f"{len(class_names)} class names for a model of {count} classes")
    predicted = metrics.decide(probabilities)
    right = predicted == labels
    fewer = metrics.auc_resamples(n, 2 * count, resamples)
    drawn = metrics.bootstrap_labels(labels, probabilities, fewer, seed)
    classes = _classes(labels, probabilities, predicted, drawn, class_names)
    # A decision is a choice of two: its confidence is the larger of p and 1 - p.
    decisions = np.stack([1 - probabilities.ravel(), probabilities.ravel()], axis=1)
    asked = labels.ravel()
    edges, sure_right, sure_wrong = metrics.confidence_histogram(asked, decisions)
    exact = int(right.all(axis=1).sum())
    return {
        "schema": "edgecell/evaluation",
        "schema_version": 1,
        "task": MULTI_LABEL,
        "n": n,
        "class_names": list(class_names),
        "auc": _mean_auc(labels, probabilities, drawn, n),
        "accuracy": _resampled(float(right.mean()), "fraction", n, drawn.accuracy),
        "exact_match": _proportion(exact, n),
        "macro_f1": _macro(classes, drawn, n),
        "average_precision": _mean_precision(classes, drawn, n),
        "loss": _resampled(metrics.label_log_loss(labels, probabilities), "nat", n, drawn.loss),
        "brier": _resampled(float(((probabilities - labels) ** 2).mean()), "1", n, drawn.brier),
        "ece": Measurement(metrics.ece(asked, decisions), "fraction", n).to_json(),
        "ece_if_calibrated": by_chance(metrics.calibrated_eces(decisions.max(axis=1), seed), n),
        "worst_class": _worst(classes),
        "classes": classes,
        "reliability": {
            key: np.asarray(values).tolist()
            for key, values in vars(metrics.reliability(asked, decisions)).items()
        },
        "confidence_histogram": {
            "edges": edges.tolist(),
            "right": sure_right.tolist(),
            "wrong": sure_wrong.tolist(),
        },
        "method": {
            "level": 0.95,
            "proportions": "Wilson score interval",
            "f1": "Wilson score interval of the Jaccard index, as F1",
            "mean_f1": "percentile bootstrap joined with the variance recovered from the labels' intervals",
            "label_auc": "Newcombe's method 5",
            "others": f"percentile bootstrap over images, {fewer} resamples, seed {seed};"
            " average precision moved to its value, for resampling raises it",
            "ece_bins": metrics.ECE_BINS,
            "threshold": metrics.THRESHOLD,
        },
        "notes": _notes(classes, n),
    }


def label_figures(evaluation: dict[str, Any]) -> dict[str, Figure]:
    """The figures of an evaluation of several labels by the names of their files."""
    n, classes = evaluation["n"], evaluation["classes"]
    decisions = f"{n * len(classes):,} decisions on {n:,} images"
    return {
        "auc.png": plots.label_aucs(classes, evaluation["auc"], n),
        "labels.png": plots.label_decisions(classes),
        "confidence.png": plots.confidence_histogram(
            **evaluation["confidence_histogram"], of="decision"
        ),
        "reliability.png": plots.reliability_diagram(
            **evaluation["reliability"],
            caption=ece_caption(evaluation, decisions),
            of="decision",
        ),
    }


def ece_caption(evaluation: dict[str, Any], images: str) -> str:
    """The calibration error and what it would be by chance, for the reliability diagram."""
    chance = evaluation["ece_if_calibrated"]
    return (
        f"ECE {evaluation['ece']['value']:.3f} ({images}; if calibrated"
        f" {chance['low']:.3f} to {chance['high']:.3f})"
    )


def _resampled(value: float, unit: str, n: int, samples: NDArray[np.float64]) -> dict[str, Any]:
    # A resample without a label's images has no figure of it (NaN).
    interval = metrics.percentile_interval(samples[np.isfinite(samples)])
    return Measurement(value, unit, n, interval.low, interval.high).to_json()


def _proportion(hits: int, n: int, missing: str = "") -> dict[str, Any]:
    interval = metrics.wilson_interval(hits, n)
    if interval is None:
        return Measurement.missing("fraction", missing).to_json()
    return Measurement(hits / n, "fraction", n, interval.low, interval.high).to_json()


def _mean_auc(
    labels: NDArray, probabilities: NDArray, drawn: metrics.LabelDraws, n: int
) -> dict[str, Any]:
    area = metrics.mean_auc(labels, probabilities)
    if area is None:
        reason = "no label has both images with it and images without it"
        return Measurement.missing("fraction", reason).to_json()
    return _resampled(area, "fraction", n, drawn.mean_auc)


def _mean_precision(
    classes: list[dict[str, Any]], drawn: metrics.LabelDraws, n: int
) -> dict[str, Any]:
    found = [row["average_precision"].get("value") for row in classes]
    defined = [value for value in found if value is not None]
    if not defined:
        return Measurement.missing("fraction", "no image has any of the labels").to_json()
    mean = float(np.mean(defined))
    return _resampled(mean, "fraction", n, _unflattered(drawn.mean_precision, mean))


def _macro(classes: list[dict[str, Any]], drawn: metrics.LabelDraws, n: int) -> dict[str, Any]:
    """Mean F1 of the labels that an image has."""
    found = [row["f1"]["value"] for row in classes if "value" in row["f1"]]
    if not found:
        return Measurement.missing("fraction", "no image has any of the labels").to_json()
    hits, support, called = (
        np.array([row["counts"]["hits"] if key == "hits" else row[key] for row in classes])
        for key in ("hits", "support", "predicted")
    )
    ends = metrics.mean_f1_interval(hits, support, called, drawn.f1, drawn.macro_f1)
    return Measurement.within(float(np.mean(found)), "fraction", n, ends).to_json()


def by_chance(drawn: NDArray[np.float64], n: int) -> dict[str, Any]:
    """The mean of calibration errors (B,) that are none, and what 95 of 100 such sets show."""
    ends = metrics.percentile_interval(drawn)
    return Measurement.within(float(drawn.mean()), "fraction", n, ends).to_json()


def _classes(
    labels: NDArray,
    probabilities: NDArray,
    predicted: NDArray[np.bool_],
    drawn: metrics.LabelDraws,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    areas = metrics.label_aucs(labels, probabilities)
    precisions = metrics.average_precisions(labels, probabilities)
    n, rows = len(labels), []
    for i, name in enumerate(class_names):
        has, said = labels[:, i] == 1, predicted[:, i]
        hits, support, called = int((has & said).sum()), int(has.sum()), int(said.sum())
        rejected = int((~has & ~said).sum())
        never = "no image of this label" if support == 0 else "never predicted"
        f1 = _measured(
            2 * hits / (support + called) if support else None,
            support,
            metrics.f1_interval(hits, support, called),
            never,
        )
        rows.append(
            {
                "name": name,
                "support": support,
                "predicted": called,
                "counts": {
                    "hits": hits,
                    "false_alarms": called - hits,
                    "missed": support - hits,
                    "rejected": rejected,
                },
                "precision": _proportion(hits, called, never),
                "recall": _proportion(hits, support, never),
                "specificity": _proportion(rejected, n - support, "every image has this label"),
                "f1": f1,
                "auc": _measured(
                    areas[i],
                    support,
                    metrics.auc_interval(areas[i] or 0.0, support, n - support),
                    _unranked(support),
                ),
                "average_precision": _by_label(
                    precisions[i],
                    support,
                    _unflattered(drawn.precision[:, i], precisions[i]),
                    "no image of this label",
                ),
            }
        )
    return rows


def _unflattered(samples: NDArray[np.float64], value: float | None) -> NDArray[np.float64]:
    """Resampled average precisions about ``value``: an image drawn twice ranks with itself, which
    raises all of them."""
    if value is None:
        return samples
    return np.asarray((samples + value - np.nanmean(samples)).clip(0, 1))


def _unranked(support: int) -> str:
    return "every image has this label" if support else "no image of this label"


def _measured(
    value: float | None, n: int, interval: metrics.Interval | None, missing: str
) -> dict[str, Any]:
    if value is None:
        return Measurement.missing("fraction", missing).to_json()
    return Measurement.within(value, "fraction", n, interval).to_json()


def _by_label(
    value: float | None, support: int, samples: NDArray[np.float64], reason: str
) -> dict[str, Any]:
    if value is None:
        return Measurement.missing("fraction", reason).to_json()
    return _resampled(value, "fraction", support, samples)


def _worst(classes: list[dict[str, Any]]) -> dict[str, Any]:
    """The label that is ranked worst; where none can be ranked, the first."""
    worst = min(classes, key=lambda row: row["auc"].get("value", 2.0))
    return {key: worst[key] for key in ("name", "support", "f1", "auc")}


def _notes(classes: list[dict[str, Any]], n: int) -> list[str]:
    def named(rows: list[dict[str, Any]]) -> str:
        return listed([row["name"] for row in rows])

    notes = []
    absent = [row for row in classes if row["support"] == 0]
    if absent:
        notes.append(f"no image of {named(absent)}: left out of AUC and average precision")
    always = [row for row in classes if row["support"] == n]
    if always:
        notes.append(f"every image has {named(always)}: left out of AUC")
    silent = [row for row in classes if row["support"] and not row["predicted"]]
    if silent:
        notes.append(
            f"never above {metrics.THRESHOLD:g}: {named(silent)}; AUC says how they are ranked, F1 is 0"
        )
    loud = [row for row in classes if row["predicted"] == n > row["support"]]
    if loud:
        notes.append(
            f"above {metrics.THRESHOLD:g} for every image: {named(loud)}; AUC says how they are ranked"
        )
    few = [row for row in classes if 0 < row["support"] < _FEW]
    if few:
        notes.append(f"fewer than {_FEW} images of {named(few)}: read the interval, not the value")
    return notes
