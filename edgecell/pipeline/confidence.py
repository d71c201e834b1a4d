"""``edgecell calibrate``: temperature, abstention threshold and conformal sets of each file.

Where an image can have several labels: what :mod:`edgecell.pipeline.label_confidence` finds instead.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgecell import confidence as trust
from edgecell import metrics, plots
from edgecell.config import ConfidenceConfig, DataConfig
from edgecell.lock import claimed
from edgecell.metrics.scores import sample_brier, sample_loss
from edgecell.pipeline import label_confidence
from edgecell.pipeline.conversion import Adjust
from edgecell.pipeline.last_layer import check_last_layer
from edgecell.pipeline.measured import Seen, mean_of, share_of
from edgecell.pipeline.pairing import Pair, find_pair
from edgecell.pipeline.plausible import doubts
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.retained import write_beside
from edgecell.pipeline.targets import check_classes, load_data
from edgecell.pipeline.verification import shown_to, verify_images
from edgecell.progress import Progress
from edgecell.record import Measurement
from edgecell.runtime import KerasPredictor, TFLitePredictor
from edgecell.tasks import task_named

SETTINGS: tuple[str, ...] = ("target_accuracy", "certainty", "coverage", "seed")
"""The settings that matter here, as they are recorded."""


def calibrate_target(
    path: Path,
    reference: Path | None,
    adjust: Adjust,
    data: DataConfig | None,
    split: str,
    output: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Fit on val for each file of a run, or for one .tflite file; the record.

    ``split`` "test" also reports on test what the fitted numbers hold there; nothing is fitted on it.

    Raises:
        ConfigError, DataError, ArtifactError: as in :func:`pairing.find_pair` and ``load_data``;
        DataError too where val has fewer than 20 images; BusyError: another process calibrates there.
    """
    pair = find_pair(path, reference, output)
    settings = adjust(pair.subject.config).confidence
    with claimed(pair.run.path, "calibrate"):
        record = _calibrate_in(pair, settings, data, split, progress)
    if pair.subject.run is not None and output is None:
        write_report(pair.subject.run)
    return record


def _calibrate_in(
    pair: Pair,
    settings: ConfidenceConfig,
    data: DataConfig | None,
    split: str,
    progress: Progress,
) -> dict[str, Any]:
    read = ReadFiles([pair.subject.model, *(entry["path"] for entry in pair.files)])
    dataset = load_data(pair.subject, data, progress=True)
    model = KerasPredictor(pair.subject.model)
    check_classes(pair.subject, model.class_count, dataset)
    check_last_layer(pair.subject, model, dataset)
    splits = ("val", "test") if split == "test" else ("val",)
    images = {s: verify_images(model, pair.subject, dataset, s, progress) for s in splits}
    run = pair.subject.run
    notes = [n for s, (x, _) in images.items() for n in doubts(run, dataset, s, x, progress)]
    expected = {s: model.predict(x) for s, (x, _) in images.items()}
    folder, results, pictures = pair.run.stage("calibrate"), [], []
    opened = [TFLitePredictor(entry["path"], threads=0) for entry in pair.files]
    shown = [
        {s: shown_to(file, entry, pair.subject, dataset, s, progress) for s in splits}
        for file, entry in zip(opened, pair.files, strict=True)
    ]
    judged, said, asked = (_calibrate, _summary, SETTINGS)
    several = task_named(dataset.task).multi_label
    if several:
        judged, said, asked = label_confidence.CALIBRATION
    progress.begin("calibrating confidence", len(pair.files))
    for count, (entry, file, own) in enumerate(zip(pair.files, opened, shown, strict=True), 1):
        seen = {
            s: Seen(y, expected[s], file.predict(x if (mine := own[s]) is None else mine))
            for s, (x, y) in images.items()
        }
        found, drawn = judged(seen, dataset.class_names, settings, file.output_scale)
        facts = {key: entry[key] for key in ("file", "precision")}
        results.append(facts | {"sha256": read.digests[entry["path"]]} | found)
        stem = entry["path"].stem
        pictures += [plots.save(figure, folder / f"{stem}-{k}.png") for k, figure in drawn.items()]
        progress.advance(count, f"{entry['file']}: {said(found)}")
    return write_beside(
        pair.run,
        "calibrate",
        read,
        images={f"data:{dataset.name}:{s}": dataset.fingerprint for s in splits},
        pictures=pictures,
        config={key: asdict(settings)[key] for key in asked} | {"split": split},
        results=({"task": dataset.task} if several else {})
        | {"splits": list(splits), "models": results}
        | ({"notes": notes} if notes else {}),
        progress=progress,
    )


def _calibrate(
    seen: dict[str, Seen],
    class_names: tuple[str, ...],
    settings: ConfidenceConfig,
    scale: float | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results in JSON types, and figures by name."""
    val = seen["val"]
    temperature = trust.choose_temperature(
        val.labels, trust.floored(val.converted, scale), settings.seed
    )
    abstention = trust.choose_threshold(
        val.labels, val.converted, settings.target_accuracy, settings.certainty
    )
    sets = trust.fit_conformal(val.labels, val.converted, settings.coverage, settings.certainty)
    held = {"val": trust.cross_members(val.labels, val.converted, settings.coverage, settings.seed)}
    if "test" in seen:
        unseen = seen["test"].converted
        held["test"] = (sets.members(unseen), sets.members(unseen, by_class=True))
    results: dict[str, Any] = {
        "temperature": {
            "value": temperature.value,
            "kept": temperature.kept,
            **({"reason": temperature.reason} if temperature.reason else {}),
            "used": temperature.used,
            "gain": Measurement(
                temperature.gain, "nat", temperature.n, *temperature.interval
            ).to_json(),
        },
        "abstention": _abstention(abstention, scale),
        "conformal": {
            "coverage": sets.coverage,
            "certainty": settings.certainty,
            "coverage_at_least": sets.at_least,
            "threshold": sets.threshold,
            "threshold_quanta": trust.quanta(sets.threshold, scale),
            "class_thresholds": dict(zip(class_names, sets.class_thresholds, strict=True)),
            "class_coverage_at_least": dict(zip(class_names, sets.class_at_least, strict=True)),
            "always_in": [
                name
                for name, limit in zip(class_names, sets.class_thresholds, strict=True)
                if limit == 0.0
            ],
        },
    }
    for split, rows in seen.items():
        common, by_class = (
            _sets(trust.judge_sets(rows.labels, members), class_names) for members in held[split]
        )
        results[split] = {
            "scores": _scores(rows, temperature.used, scale),
            "answered": _answered(rows, abstention.threshold),
            "sets": common,
            "sets_by_class": by_class,
        }
    last = list(seen)[-1]
    figures = _figures(seen[last], last, results, class_names, settings, scale)
    return results, figures


def _scores(rows: Seen, temperature: float, scale: float | None) -> dict[str, Any]:
    """ECE, log loss and Brier of reference, file, and file with temperature; and what changed."""
    floored = trust.floored(rows.converted, scale)
    kinds = {
        "reference": trust.floored(rows.reference, None),
        "converted": floored,
        "tempered": trust.tempered(floored, temperature),
    }
    out: dict[str, Any] = {
        name: {
            "ece": Measurement(metrics.ece(rows.labels, p), "fraction", len(p)).to_json(),
            "log_loss": mean_of(sample_loss(rows.labels, p), "nat"),
            "brier": mean_of(sample_brier(rows.labels, p), "1"),
        }
        for name, p in kinds.items()
    }
    before = kinds["reference"]
    out["change"] = {
        "log_loss": mean_of(
            sample_loss(rows.labels, floored) - sample_loss(rows.labels, before), "nat"
        ),
        "brier": mean_of(
            sample_brier(rows.labels, floored) - sample_brier(rows.labels, before), "1"
        ),
    }
    return out


def _abstention(found: trust.Abstention, scale: float | None) -> dict[str, Any]:
    out = {
        "target_accuracy": found.target,
        "certainty": found.certainty,
        "threshold": found.threshold,
        "n": found.n,
    }
    if found.threshold is None:
        return out | {"threshold_quanta": None, "reason": found.reason}
    return out | {
        "threshold_quanta": trust.quanta(found.threshold, scale),
        "accuracy_at_least": found.accuracy_low,
    }


def _answered(rows: Seen, threshold: float | None) -> dict[str, Any]:
    if threshold is None:
        none = Measurement.missing("fraction", "no threshold keeps the promise").to_json()
        return {"share": none, "accuracy": none}
    answered, right = trust.answered_above(rows.labels, rows.converted, threshold)
    return {"share": share_of(answered, len(rows.labels)), "accuracy": share_of(right, answered)}


def _sets(quality: trust.SetQuality, class_names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "coverage": share_of(quality.covered, quality.n),
        "mean_size": quality.mean_size,
        "sizes": {str(k): count for k, count in enumerate(quality.sizes) if count},
        "classes": {
            name: share_of(hits, n)
            for name, (hits, n, _) in zip(class_names, quality.by_class, strict=True)
        },
    }


def _figures(
    rows: Seen,
    split: str,
    results: dict[str, Any],
    class_names: tuple[str, ...],
    settings: ConfidenceConfig,
    scale: float | None,
) -> dict[str, Any]:
    floored = trust.floored(rows.converted, scale)
    temperature = results["temperature"]["used"]
    lines = {"trained model": trust.floored(rows.reference, None), "converted": floored}
    if temperature != 1.0:
        lines[f"converted, temperature {temperature:.2f}"] = trust.tempered(floored, temperature)
    bins = {name: vars(metrics.reliability(rows.labels, p)) for name, p in lines.items()}
    threshold = results["abstention"]["threshold"]
    answered = results[split]["answered"]
    chosen = None
    if threshold is not None and "value" in answered["accuracy"]:
        chosen = (answered["share"]["value"], answered["accuracy"]["value"], threshold)
    curves = {
        "trained model": trust.selective_curve(rows.labels, rows.reference),
        "converted": trust.selective_curve(rows.labels, rows.converted),
    }
    coverage = {
        "one threshold": list(results[split]["sets"]["classes"].values()),
        "one per class": list(results[split]["sets_by_class"]["classes"].values()),
    }
    return {
        "reliability": plots.reliability_lines(bins, title=f"Reliability on {split}"),
        "abstention": plots.selective_accuracy(
            curves,
            target=settings.target_accuracy,
            chosen=chosen,
            title=f"Accuracy on {split} when the least sure are left out",
        ),
        "conformal": plots.set_coverage(
            class_names,
            coverage,
            promised=settings.coverage,
            title=f"How often the set holds the right class, {split}",
        ),
    }


def _summary(found: dict[str, Any]) -> str:
    temperature, abstention = found["temperature"], found["abstention"]
    kept = "kept" if temperature["kept"] else "not kept"
    threshold = abstention["threshold"]
    said = "no threshold" if threshold is None else f"threshold {threshold:.3f}"
    return f"temperature {temperature['value']:.2f} {kept}, {said}"
