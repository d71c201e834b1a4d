"""``edgecell calibrate`` where an image can have several labels: scaling, and a threshold for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgecell import confidence, metrics, plots
from edgecell import label_confidence as trust
from edgecell.config import ConfidenceConfig
from edgecell.naming import listed
from edgecell.pipeline.measured import Seen, mean_of, share_of
from edgecell.record import Measurement

Floats = NDArray[np.float64]

SETTINGS: tuple[str, ...] = ("sensitivity", "certainty", "seed")
"""The settings that matter here, as they are recorded."""
_MISSING = {
    "sensitivity": "no image of this label",
    "specificity": "every image has this label",
    "precision": "never called",
}


def _calibrate(
    seen: dict[str, Seen],
    class_names: tuple[str, ...],
    settings: ConfidenceConfig,
    scale: float | None,
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Results in JSON types, and figures by name. Val chooses everything; test is only counted."""
    val = seen["val"]
    kinds = {split: _floored(rows, scale) for split, rows in seen.items()}
    scaling = trust.choose_scaling(val.labels, kinds["val"]["converted"], settings.seed)
    for each in kinds.values():
        each["scaled"] = trust.scaled(each["converted"], scaling.slopes, scaling.offsets)
    found = trust.choose_label_thresholds(
        val.labels, val.converted, settings.sensitivity, settings.certainty
    )
    called = {
        "val": trust.cross_present(
            val.labels, val.converted, found, settings.sensitivity, settings.seed
        )
    }
    if "test" in seen:
        called["test"] = trust.present(seen["test"].converted, [each.threshold for each in found])
    results: dict[str, Any] = {
        "scaling": _scaling(scaling),
        "sensitivity": {
            "wanted": settings.sensitivity,
            "certainty": settings.certainty,
            "fewest": trust.fewest(settings.sensitivity),
            "labels": {
                name: _threshold(each, scale) for name, each in zip(class_names, found, strict=True)
            },
        },
    }
    for split, rows in seen.items():
        scores, by_label = _scores(rows.labels, kinds[split])
        results[split] = {
            "scores": scores,
            "labels": {
                name: _decided(quality) | {"scores": own}
                for name, quality, own in zip(
                    class_names,
                    trust.judge_labels(rows.labels, called[split]),
                    by_label,
                    strict=True,
                )
            },
        }
    last = list(seen)[-1]
    return results, _figures(seen[last].labels, kinds[last], last, results, class_names)


def _scaling(found: trust.LabelScaling) -> dict[str, Any]:
    def gained(gain: trust.Gain) -> dict[str, Any]:
        return Measurement(gain.value, "nat", gain.n, *gain.interval).to_json()

    return {
        "kept": found.kind,
        "temperature": {"value": found.temperature, "gain": gained(found.gain_temperature)},
        "labels": {"gain": gained(found.gain_labels)},
        "slopes": list(found.slopes),
        "offsets": list(found.offsets),
    }


def _threshold(found: trust.LabelThreshold, scale: float | None) -> dict[str, Any]:
    out = {"threshold": found.threshold, "positives": found.positives}
    if found.threshold is None:
        return out | {"threshold_quanta": None, "reason": found.reason}
    return out | {
        "threshold_quanta": confidence.quanta(found.threshold, scale),
        "sensitivity_at_least": found.at_least,
    }


def _floored(rows: Seen, scale: float | None) -> dict[str, Floats]:
    return {
        "reference": trust.floored_labels(rows.reference, None),
        "converted": trust.floored_labels(rows.converted, scale),
    }


def _scores(
    labels: NDArray[np.int64], kinds: dict[str, Floats]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """ECE, log loss and Brier of every kind: means over the labels with what changed, and label by label."""
    n, count = labels.shape
    means: dict[str, Any] = {}
    by_label: list[dict[str, Any]] = [{} for _ in range(count)]
    losses, squares = {}, {}
    for kind, p in kinds.items():
        eces = metrics.label_eces(labels, p)
        losses[kind], squares[kind] = metrics.label_losses(labels, p), (p - labels) ** 2
        means[kind] = {
            "ece": Measurement(float(np.mean(eces)), "fraction", n).to_json(),
            "log_loss": mean_of(losses[kind].mean(axis=1), "nat"),
            "brier": mean_of(squares[kind].mean(axis=1), "1"),
        }
        for i, mine in enumerate(by_label):
            mine[kind] = {
                "ece": Measurement(eces[i], "fraction", n).to_json(),
                "log_loss": mean_of(losses[kind][:, i], "nat"),
                "brier": mean_of(squares[kind][:, i], "1"),
            }
    means["change"] = {
        "log_loss": mean_of((losses["converted"] - losses["reference"]).mean(axis=1), "nat"),
        "brier": mean_of((squares["converted"] - squares["reference"]).mean(axis=1), "1"),
    }
    return means, by_label


def _decided(quality: trust.LabelQuality) -> dict[str, Any]:
    shares = {
        name: share_of(right, of, _MISSING[name]) for name, (right, of) in quality.shares.items()
    }
    return {"positives": quality.positives, "called": quality.called} | shares


def _figures(
    labels: NDArray[np.int64],
    kinds: dict[str, Floats],
    split: str,
    results: dict[str, Any],
    class_names: tuple[str, ...],
) -> dict[str, Figure]:
    words = {"reference": "trained model", "converted": "converted", "scaled": "converted, scaled"}
    if results["scaling"]["kept"] == "none":
        del words["scaled"]
    tables = {
        said: [vars(table) for table in metrics.label_reliabilities(labels, kinds[kind])]
        for kind, said in words.items()
    }
    wanted = results["sensitivity"]
    decided = [
        {"name": name, "threshold": wanted["labels"][name]["threshold"]} | found
        for name, found in results[split]["labels"].items()
    ]
    return {
        "reliability": plots.label_reliability(
            class_names,
            tables,
            off=[found["scores"]["converted"]["ece"]["value"] for found in decided],
            title=f"Probability against the share of images that have it, {split}",
        ),
        "sensitivity": plots.label_sensitivity(
            decided,
            wanted=wanted["wanted"],
            title=f"What each label's threshold finds, {split}",
        ),
    }


def _summary(found: dict[str, Any]) -> str:
    labels = found["sensitivity"]["labels"]
    without = [name for name, entry in labels.items() if entry["threshold"] is None]
    kept = {
        "none": "no scaling",
        "temperature": "one temperature",
        "labels": "a scale for each label",
    }
    said = f"{kept[found['scaling']['kept']]}, {len(labels) - len(without)} thresholds"
    return f"{said}; too few images of {listed(without)}" if without else said


CALIBRATION = (_calibrate, _summary, SETTINGS)
"""What :func:`edgecell.pipeline.confidence.calibrate_target` does with a file, and says and records of it."""
