"""The model card of a bundle: what is known of one file, and what is not.

After Mitchell et al. 2019, "Model Cards for Model Reporting". Every figure comes from a record and carries
its n and interval; a stage without a record is a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from edgecell.report.card_labels import thresholds_part
from edgecell.report.card_parts import Grid, Part, Record, entry_of, words
from edgecell.report.card_quality import headline_figures, quality_of, quality_part
from edgecell.report.elements import measurement
from edgecell.tasks import Task, task_named, task_of_record


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
    task = task_named(model["task"]["name"])
    quality = quality_of(records, digest)
    verify = entry_of(records, "verify", digest)
    bench = entry_of(records, "bench", digest)
    parts = (
        Part("What it is for", (model["intended_use"], model["notice"])),
        _model(model),
        _data(records),
        quality_part(quality, task),
        _conversion(verify, model),
        _confidence(entry_of(records, "calibrate", digest), records, task),
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
        tuple(_headline(model, quality, verify, task)),
        parts,
    )


def _headline(
    model: Mapping[str, Any],
    quality: tuple[str, Record] | None,
    verify: Record | None,
    task: Task,
) -> Iterator[tuple[str, str, str]]:
    yield from headline_figures(quality, task)
    sentence = verify.get("gate", {}).get("sentence", verify["verdict"]) if verify else "no record"
    yield "Verified", model["verified"]["status"], sentence
    yield (
        "Size",
        f"{model['model']['size_bytes'] / 1e3:,.0f} kB",
        model["input"]["dtype"] + " input",
    )


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
        *_cut(model["preprocessing"]["fit"]),
        ("size", f"{facts['size_bytes']:,} bytes"),
        ("sha256", facts["sha256"]),
    )
    return Part("The model", grids=(Grid(("", ""), rows, 2),))


def _cut(fit: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if "central_fraction" not in fit:
        return ()
    return (("seen of an image", f"the middle {fit['central_fraction']:.4g} of each side"),)


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


def _conversion(verify: Record | None, model: Mapping[str, Any]) -> Part:
    title = "Against the trained model"
    if verify is None:
        return Part(title, (model["verified"]["sentence"],), missing=True)
    gate = verify.get("gate")
    text = [model["verified"]["sentence"]]
    if gate:
        text.append(f"On the same images: {gate['sentence']}.")
    text += [str(note) for note in verify.get("notes", ())]
    rows = tuple((words(key), measurement(entry)) for key, entry in verify["measurements"].items())
    return Part(title, tuple(text), (Grid(("figure", "trained model and this file"), rows),))


def _confidence(entry: Record | None, records: Mapping[str, Record], task: Task) -> Part:
    title = "When it should not answer"
    split = records["calibrate"]["results"]["splits"][-1] if entry is not None else None
    if task.multi_label:
        return thresholds_part(entry, split)
    if entry is None or split is None:
        said = "Not calibrated: there are no thresholds, and it always answers."
        return Part(title, (said,), missing=True)
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
        *_sets_at_least(conformal),
        ("classes in a set, mean", f"{found['sets']['mean_size']:.2f}"),
        ("ECE", measurement(found["scores"]["converted"]["ece"])),
    )
    text.append("Thresholds were fitted on val.")
    return Part(title, tuple(text), (Grid(("promise", f"kept on {split}"), rows),))


def _sets_at_least(conformal: Record) -> list[tuple[str, str]]:
    """What the sets promise with certainty; nothing in records from before it was told."""
    if "coverage_at_least" not in conformal:
        return []
    said = f"sets at least, with {conformal['certainty']:g}"
    return [(said, f"{conformal['coverage_at_least']:.3f}")]


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
    task = task_of_record(results)
    place = {name: at for at, name in enumerate(results["models"])}[falls[0]["model"]]
    accuracies: dict[str, dict[int, str]] = {}
    for condition in results["conditions"]:
        shown = measurement(condition["models"][place][task.metric], count=False)
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
            Grid((f"{task.metric_name} with", *(f"strength {at}" for at in strengths)), rows),
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
