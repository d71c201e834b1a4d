"""A model to ask, from whatever names it: a run, a file of one, a bundle, any .tflite classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell import quarantine
from edgecell.answers import Rules
from edgecell.bundle.manifest import decision
from edgecell.bundle.reader import Bundle, is_bundle, open_bundle, rules_of
from edgecell.classifier import Classifier
from edgecell.disk import sha256_bytes, sha256_file
from edgecell.errors import ArtifactError
from edgecell.naming import listed
from edgecell.pipeline import stranger
from edgecell.pipeline.lookup import entry_of, trained_labels, verdict_on
from edgecell.pipeline.plausible import trained_on
from edgecell.pipeline.targets import Target, resolve
from edgecell.preprocess import PreprocessSpec
from edgecell.record import of_our_form
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor, Predictor, TFLitePredictor
from edgecell.tasks import MULTI_CLASS, task_named
from edgecell.tflite_file import read_bytes

UNVERIFIED: Mapping[str, str] = {
    "failed": "{name} FAILED verify: it does not do what its trained model does; do not rely on it",
    "not verified": "{name} has not passed verify: nothing says that it does what its trained model does",
}


@dataclass(frozen=True)
class Opened:
    """A classifier, and the bundle it came from, if it did."""

    classifier: Classifier
    bundle: Bundle | None = None


def open_model(path: Path, *, threads: int = 0) -> Opened:
    """Open ``path``: run folder, .keras, .h5, .tflite, bundle folder or zip; threads 0: all cores.

    A .tflite file of a run has that run's labels, fit and calibration; ``model.tflite`` of a bundle is
    taken as the bundle. What is not known is replaced by a default, which a note says.

    Raises:
        ArtifactError: nothing there, damaged, altered, or not one RGB image → classes.
    """
    if path.suffix == ".tflite" and is_bundle(path.parent):
        bundle = open_bundle(path.parent)
        if bundle.card["model"]["file"] == path.name:
            return Opened(_of_bundle(bundle, threads), bundle)
    elif is_bundle(path):
        bundle = open_bundle(path)
        return Opened(_of_bundle(bundle, threads), bundle)
    target = resolve(path)
    if target.model.suffix.lower() == ".tflite":
        return Opened(_of_file(target, threads))
    return Opened(_of_keras(target))


def _of_bundle(bundle: Bundle, threads: int) -> Classifier:
    quarantine.try_bytes(bundle.model, f"the model of {bundle.name}")
    predictor = TFLitePredictor(bundle.model, threads=threads, name=f"model of {bundle.name}")
    if predictor.class_count != len(bundle.rules.labels):
        raise ArtifactError(
            f"{bundle.name}: the model has {predictor.class_count} outputs, model.json"
            f" {len(bundle.rules.labels)} labels; get the bundle again"
        )
    if predictor.image_size != (bundle.spec.height, bundle.spec.width):
        raise ArtifactError(
            f"{bundle.name}: the model takes {predictor.image_size}, model.json says"
            f" {(bundle.spec.height, bundle.spec.width)}; get the bundle again"
        )
    name, status = bundle.card["name"], bundle.card["verified"]["status"]
    return Classifier(
        name=name,
        sha256=sha256_bytes(bundle.model),
        predictor=predictor,
        spec=bundle.spec,
        rules=bundle.rules,
        verified=status,
        warning=_warning(name, status),
        notes=_notes(name, bundle.rules),
    )


def _of_file(target: Target, threads: int) -> Classifier:
    data = read_bytes(target.model)
    digest = sha256_bytes(data)
    name = target.model.name
    status = verdict_on(target.judged, digest)
    train = _record(target.run, "train")
    if train is None:
        return _of_stranger(data, name, status, threads)
    predictor = TFLitePredictor(data, threads=threads, name=name)
    labels, task = trained_labels(train)
    calibration = entry_of(_record(target.run, "calibrate"), digest)
    rules = _rules(target, labels, task, calibration, predictor)
    return Classifier(
        name=name,
        sha256=digest,
        predictor=predictor,
        spec=PreprocessSpec.of(target.config.model, *predictor.image_size),
        rules=rules,
        verified=status,
        warning=_warning(name, status),
        notes=_notes(name, rules),
        trained_on=trained_on(target.run),
    )


def _of_stranger(data: bytes, name: str, status: str, threads: int) -> Classifier:
    """A file that belongs to no run: what it says of itself, and defaults."""
    told = stranger.told_by(data, name)
    predictor = TFLitePredictor(data, threads=threads, name=name, normalization=told.normalization)
    guess = stranger.guess(predictor, told)
    kind = task_named(guess.task)
    rules = rules_of(decision(None, guess.labels, kind, predictor.output_scale), guess.labels, kind)
    return Classifier(
        name=name,
        sha256=sha256_bytes(data),
        predictor=predictor,
        spec=PreprocessSpec(*predictor.image_size),
        rules=rules,
        verified=status,
        warning=_warning(name, status),
        notes=(*guess.notes, *_notes(name, rules)),
        logits=guess.logits,
    )


def _of_keras(target: Target) -> Classifier:
    predictor = KerasPredictor(target.model)
    train = _record(target.run, "train")
    said = []
    if train is not None:
        labels, task = trained_labels(train)
    else:
        labels, task = tuple(f"class {i}" for i in range(predictor.class_count)), MULTI_CLASS
        said.append(f"{target.model.name} belongs to no run: classes are numbered")
    rules = _rules(target, labels, task, None, predictor)
    if not rules.task.multi_label:
        said.append(
            "this is the trained model itself; thresholds and sets are found for converted files only"
        )
    return Classifier(
        name=target.name,
        sha256=sha256_file(target.model),
        predictor=predictor,
        spec=PreprocessSpec.of(target.config.model, *predictor.image_size),
        rules=rules,
        verified="reference",
        notes=tuple(said),
        trained_on=trained_on(target.run),
    )


def _record(run: RunDir | None, stage: str) -> dict[str, Any] | None:
    return run.read_record(stage) if run is not None and run.has(stage) else None


def _rules(
    target: Target,
    labels: tuple[str, ...],
    task: str,
    calibration: dict[str, Any] | None,
    predictor: Predictor,
) -> Rules:
    if len(labels) != predictor.class_count:
        raise ArtifactError(
            f"{target.model.name} has {predictor.class_count} outputs and its run {len(labels)} classes;"
            " it is not a model of this run"
        )
    kind = task_named(task)
    with of_our_form(f"the calibration of {target.model.name}"):
        return rules_of(decision(calibration, labels, kind, predictor.output_scale), labels, kind)


def _warning(name: str, status: str) -> str | None:
    return UNVERIFIED[status].format(name=name) if status in UNVERIFIED else None


def _notes(name: str, rules: Rules) -> tuple[str, ...]:
    if rules.task.multi_label:
        return _label_notes(name, rules)
    if rules.temperature is None:
        return (
            f"{name} is not calibrated: it always answers, with its own probabilities and no sets;"
            " 'edgecell calibrate' finds thresholds",
        )
    if rules.abstain_below is None:
        return (f"it always answers: {rules.missing['abstention']}",)
    return ()


def _label_notes(name: str, rules: Rules) -> tuple[str, ...]:
    if rules.label_thresholds is None:
        return (
            f"{name} is not calibrated: it calls each label above {rules.label_threshold:g};"
            " 'edgecell calibrate' finds thresholds for a wanted sensitivity",
        )
    without = [
        label
        for label, threshold in zip(rules.labels, rules.label_thresholds, strict=True)
        if threshold is None
    ]
    if not without:
        return ()
    return (
        f"too few images to choose a threshold for {listed(without)}: called above"
        f" {rules.label_threshold:g}",
    )
