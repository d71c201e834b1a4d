"""The model card of a bundle: what is known of one file, and what is not.

After Mitchell et al. 2019, "Model Cards for Model Reporting". Every figure comes from a record and carries
its n and interval; a stage without a record is a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from edgecell.report.elements import is_measurement, measurement

Record = Mapping[str, Any]

_WORDS = {
    "auc": "AUC",
    "brier": "Brier score",
    "ece": "ECE",
    "f1": "F1",
    "kappa": "quadratic kappa",
    "loss": "log loss",
    "macro_auc": "macro-AUC",
    "macro_f1": "macro-F1",
    "macro_f1_drop": "macro-F1 drop",
    "weighted_f1": "weighted F1",
}


@dataclass(frozen=True)
class Grid:
    """A table; columns from ``numeric_from`` on are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric_from: int = 1


@dataclass(frozen=True)
class Part:
    """A section: paragraphs, then tables. ``missing`` marks one that only says what there is not."""

    title: str
    text: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    missing: bool = False


@dataclass(frozen=True)
class Card:
    """A card; ``headline`` holds (title, value, note) of the figures that come first."""

    name: str
    notice: str
    verdict: str
    passed: bool | None
    headline: tuple[tuple[str, str, str], ...]
    parts: tuple[Part, ...] = field(default=())


def card(model: Mapping[str, Any], records: Mapping[str, Record]) -> Card:
    """From model.json's content and the run's records by stage name."""
    digest = model["model"]["verified_sha256"]
    quality = _quality(records, digest)
    verify = _entry(records, "verify", digest)
    bench = _entry(records, "bench", digest)
    parts = (
        Part("What it is for", (model["intended_use"], model["notice"])),
        _model(model),
        _data(records),
        _quality_part(quality),
        _conversion(verify, model),
        _confidence(_entry(records, "calibrate", digest), records),
        _robustness(records, digest),
        _speed(bench, records),
        Part("Licence", (model["licence"]["model"] or model["licence"]["reason"],)),
        _sources(model),
    )
    return Card(
        model["name"],
        model["notice"],
        model["verified"]["sentence"],
        {"passed": True, "failed": False}.get(model["verified"]["status"]),
        tuple(_headline(model, quality, verify)),
        parts,
    )


def _entry(records: Mapping[str, Record], stage: str, digest: str) -> Record | None:
    """What a stage recorded of the file with this sha256."""
    models = records[stage]["results"]["models"] if stage in records else []
    return next((entry for entry in models if entry["sha256"] == digest), None)


def _quality(records: Mapping[str, Record], digest: str) -> tuple[str, Record] | None:
    """(whose and where, evaluation): this file's on test, on val, else the trained model's."""
    bench = _entry(records, "bench", digest)
    if bench is not None and bench["quality"].get("accuracy"):
        return "this file on test", bench["quality"]
    evaluated = [(name, record) for name, record in records.items() if name.startswith("evaluate/")]
    own = [r for _, r in evaluated if digest in r["inputs"].values() and "tta" not in r["config"]]
    for split in ("test", "val"):
        for record in own:
            if record["results"]["split"] == split:
                return f"this file on {split}", record["results"]
    for split in ("test", "val"):
        for name, record in evaluated:
            if name == f"evaluate/model-{split}":
                return f"the trained model, before conversion, on {split}", record["results"]
    return None


def _headline(
    model: Mapping[str, Any], quality: tuple[str, Record] | None, verify: Record | None
) -> Iterator[tuple[str, str, str]]:
    if quality is None:
        yield "Accuracy", "not measured", "no evaluation in the records"
    else:
        whose, results = quality
        key = "accuracy" if is_measurement(results.get("accuracy")) else _first_figure(results)
        entry = results[key]
        low, high = entry.get("low"), entry.get("high")
        interval = "" if low is None else f"95 % {low:.3f} to {high:.3f}, "
        yield (
            _words(key).capitalize() if key == "accuracy" else _words(key),
            f"{entry['value']:.3f}" if "value" in entry else "none",
            f"{interval}n={entry.get('n', '?')}, {whose}",
        )
    sentence = verify.get("gate", {}).get("sentence", verify["verdict"]) if verify else "no record"
    yield "Verified", model["verified"]["status"], sentence
    yield (
        "Size",
        f"{model['model']['size_bytes'] / 1e3:,.0f} kB",
        model["input"]["dtype"] + " input",
    )


def _words(key: str) -> str:
    return _WORDS.get(key, key.replace("_", " "))


def _first_figure(results: Record) -> str:
    return next(key for key, entry in results.items() if is_measurement(entry))


def _model(model: Mapping[str, Any]) -> Part:
    facts, entry, leave = model["model"], model["input"], model["output"]
    height, width = entry["shape"][1:3]
    rows = (
        ("architecture", facts["architecture"] or "not recorded"),
        ("precision", facts["precision"] or "not recorded"),
        ("task", f"{model['task']['kind']} ({model['task']['name']})"),
        ("labels", ", ".join(model["labels"])),
        ("input", f"{width} × {height} RGB, {entry['dtype']}{_quantized(entry)}"),
        ("output", f"{len(model['labels'])} × {leave['dtype']}{_quantized(leave)}"),
        (
            "aspect ratio",
            "ignored" if model["preprocessing"]["fit"]["mode"] == "stretch" else "cut",
        ),
        ("size", f"{facts['size_bytes']:,} bytes"),
        ("sha256", facts["sha256"]),
    )
    return Part("The model", grids=(Grid(("", ""), rows, 2),))


def _quantized(port: Mapping[str, Any]) -> str:
    if port["scale"] is None:
        return ""
    return f", scale {port['scale']:.9g}, zero point {port['zero_point']}"


def _data(records: Mapping[str, Record]) -> Part:
    title = "Training data"
    if "train" not in records:
        return Part(title, ("Not known: there is no record of the training.",), missing=True)
    results = records["train"]["results"]
    data, images = results["data"], results["images"]
    rows = tuple((split, f"{count:,}") for split, count in images.items())
    notes = tuple(str(note) for note in data.get("notes", []))
    text = (
        f"Data set {data['name']} ({data['kind']}), fingerprint {data['fingerprint'][:16]}…. The model"
        " knows images like these, from devices and people like these, and no others.",
        *notes,
    )
    return Part(title, text, (Grid(("split", "images"), rows),))


def _quality_part(quality: tuple[str, Record] | None) -> Part:
    title = "How good it is"
    if quality is None:
        return Part(
            title,
            ("Not measured: no evaluation of this file or of its reference is recorded.",),
            missing=True,
        )
    whose, results = quality
    scores = tuple(
        (_words(key), measurement(entry)) for key, entry in results.items() if is_measurement(entry)
    )
    classes = results.get("classes", [])
    keys = [key for key in classes[0] if is_measurement(classes[0][key])] if classes else []
    per_class = tuple(
        (
            str(row["name"]),
            str(row.get("support", "")),
            *(measurement(row[key], count=False) for key in keys),
        )
        for row in classes
    )
    grids = [Grid(("figure", whose), scores)]
    if per_class:
        columns = ("class", "images", *(_words(key) for key in keys))
        grids.append(Grid(columns, per_class))
    text = ("Brackets are 95 % intervals.", *(str(note) for note in results.get("notes", [])))
    return Part(title, text, tuple(grids))


def _conversion(verify: Record | None, model: Mapping[str, Any]) -> Part:
    title = "Against the trained model"
    if verify is None:
        return Part(title, (model["verified"]["sentence"],), missing=True)
    gate = verify.get("gate")
    text = [model["verified"]["sentence"]]
    if gate:
        text.append(f"On the same images: {gate['sentence']}.")
    rows = tuple((_words(key), measurement(entry)) for key, entry in verify["measurements"].items())
    return Part(title, tuple(text), (Grid(("figure", "trained model and this file"), rows),))


def _confidence(entry: Record | None, records: Mapping[str, Record]) -> Part:
    title = "When it should not answer"
    if entry is None:
        return Part(
            title,
            ("Not calibrated: there are no thresholds, and it always answers.",),
            missing=True,
        )
    split = records["calibrate"]["results"]["splits"][-1]
    abstention, conformal, found = entry["abstention"], entry["conformal"], entry[split]
    if abstention["threshold"] is None:
        text = [f"It always answers: {abstention['reason']}."]
    else:
        text = [
            f"It answers from {abstention['threshold']:.4f} on, for an accuracy of"
            f" {abstention['target_accuracy']:g} with certainty {abstention['certainty']:g}"
            f" (n={abstention['n']})."
        ]
    rows = (
        ("answered", measurement(found["answered"]["share"])),
        ("right of these", measurement(found["answered"]["accuracy"])),
        (f"sets for {conformal['coverage']:g}", measurement(found["sets"]["coverage"])),
        ("classes in a set, mean", f"{found['sets']['mean_size']:.2f}"),
        ("ECE", measurement(found["scores"]["converted"]["ece"])),
    )
    text.append("Thresholds were fitted on val.")
    return Part(title, tuple(text), (Grid(("promise", f"kept on {split}"), rows),))


def _robustness(records: Mapping[str, Record], digest: str) -> Part:
    title = "On a worse camera's images"
    record = records.get("robustness")
    files = [n for n, sha in record["inputs"].items() if sha == digest] if record else []
    names = {PurePosixPath(name).name for name in files}
    falls = (
        [f for f in record["results"]["falls"] if f["model"] in names] if record is not None else []
    )
    if record is None or not falls:
        return Part(
            title,
            ("Not measured: blur, noise, JPEG, brightness and white balance were not tried.",),
            missing=True,
        )
    results = record["results"]
    place = {name: at for at, name in enumerate(results["models"])}[falls[0]["model"]]
    accuracies: dict[str, dict[int, str]] = {}
    for condition in results["conditions"]:
        shown = measurement(condition["models"][place]["accuracy"], count=False)
        accuracies.setdefault(condition["corruption"], {})[condition["strength"]] = shown
    strengths = sorted({at for row in accuracies.values() for at in row} - {0})
    clean = accuracies.pop("clean", {}).get(0, "not measured")
    rows = tuple((name, *(row.get(at, "") for at in strengths)) for name, row in accuracies.items())
    verdicts = tuple(
        (fall["corruption"], fall["verdict"], measurement(fall["extra_fall"])) for fall in falls
    )
    return Part(
        title,
        (
            f"{results['n']} of {results['of']} images of {results['split']}, made worse on purpose."
            f" As they are: {clean}.",
        ),
        (
            Grid(("accuracy with", *(f"strength {at}" for at in strengths)), rows),
            Grid(("corruption", "verdict", "falls further than the trained model by"), verdicts, 2),
        ),
    )


def _speed(bench: Record | None, records: Mapping[str, Record]) -> Part:
    title = "Speed"
    if bench is None:
        return Part(title, ("Not measured: this file was not benched.",), missing=True)
    results = records["bench"]["results"]
    device = results.get("device", {}).get("name") or results["host"]["cpu"]
    rows = tuple(
        (
            f"{timing['threads']} thread{'s' if timing['threads'] != 1 else ''}",
            timing["delegate"]["label"],
            *(measurement(timing[key]) for key in ("p50", "p90", "p99")),
        )
        for timing in bench["latency"]
    )
    text = (f"On {device}. The time on another device is another: measure it there.",)
    columns = ("threads", "runs on", "p50", "p90", "p99")
    return Part(title, text, (Grid(columns, rows, 2),))


def _sources(model: Mapping[str, Any]) -> Part:
    rows = tuple(
        (stage, entry["created"], entry["sha256"][:16] + "…")
        for stage, entry in model["records"].items()
    )
    text = ("The records that these figures come from; model.json has their whole hashes.",)
    if not rows:
        return Part("Records", ("None: the file belongs to no run.",), missing=True)
    return Part("Records", text, (Grid(("stage", "created", "sha256"), rows, 3),))
