"""Runs and bundles of the toys, for tests that ask a finished model: written in seconds, never trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import toy_bundle
import toys
from PIL import Image

from edgecell.bundle import manifest, writer
from edgecell.config import Config, ModelConfig
from edgecell.config_file import to_toml
from edgecell.disk import atomic_write_bytes, atomic_write_text, sha256_bytes
from edgecell.rundir import RunDir
from edgecell.tasks import MULTI_CLASS, TASKS

TEMPERATURE = 1.7
ABSTAIN_BELOW = 0.75
SET_FROM = 0.125


def calibration(kept: bool = True, threshold: float | None = ABSTAIN_BELOW) -> dict[str, Any]:
    """What ``edgecell calibrate`` records of a file, without its measurements."""
    abstention: dict[str, Any] = {
        **{"target_accuracy": 0.99, "certainty": 0.95, "n": 400, "threshold": threshold},
        **({} if threshold is not None else {"reason": "no threshold holds 0.99"}),
        "threshold_quanta": None if threshold is None else round(threshold * 256),
    }
    return {
        "temperature": {"value": TEMPERATURE, "kept": kept, "used": TEMPERATURE if kept else 1.0},
        "abstention": abstention,
        "conformal": {
            "coverage": 0.9,
            "threshold": SET_FROM,
            "threshold_quanta": round(SET_FROM * 256),
            "class_thresholds": dict.fromkeys(toys.CLASSES, SET_FROM),
            "always_in": [],
        },
    }


def label_calibration(
    thresholds: dict[str, float | None], *, scaled: bool = True
) -> dict[str, Any]:
    """The same where an image can have several labels."""
    rows = {
        name: {
            "threshold": limit,
            "threshold_quanta": None if limit is None else round(limit * 256),
            "positives": 40 if limit is not None else 3,
        }
        for name, limit in thresholds.items()
    }
    return {
        "scaling": {
            "kept": "labels" if scaled else "none",
            "slopes": [0.5] * len(rows),
            "offsets": [-0.25] * len(rows),
        },
        "sensitivity": {"wanted": 0.9, "certainty": 0.95, "fewest": 9, "labels": rows},
    }


def make_run(
    folder: Path,
    data: bytes,
    labels: tuple[str, ...] = toys.CLASSES,
    *,
    task: str = MULTI_CLASS,
    passed: bool | None = True,
    calibrated: dict[str, Any] | None = None,
    fit: str = "stretch",
    fraction: float = 1.0,
) -> Path:
    """A run with one .tflite file, ``quantize/toy.tflite``; the path of that file."""
    config = Config(name="toy", model=ModelConfig(fit=fit, central_fraction=fraction))
    run = RunDir(folder)
    file = run.stage("quantize") / "toy.tflite"
    atomic_write_text(folder / "config.toml", to_toml(config))
    atomic_write_bytes(file, data)
    facts = {"file": file.name, "precision": "int8", "sha256": sha256_bytes(data)}

    def record(verb: str, results: dict[str, Any]) -> None:
        run.write_record(verb, inputs=[], outputs=[], config=asdict(config), results=results)

    images = {"train": 400, "val": 100, "test": 100}
    data_facts = {"task": task, "name": "toy", "kind": "drawn", "fingerprint": "0" * 64}
    record("train", {"class_names": list(labels), "data": data_facts, "images": images})
    if passed is not None:
        verdict = {"passed": passed, "verdict": "of a test", "measurements": {}}
        record("verify", {"models": [facts | verdict]})
    if calibrated is not None:
        record("calibrate", {"models": [facts | calibrated]})
    return file


def make_bundle(folder: Path, *, verdict: str = "passed") -> Path:
    """A bundle of the int8 toy below ``folder``, calibrated; the zip is beside it."""
    decided = manifest.decision(calibration(), toys.CLASSES, TASKS[MULTI_CLASS], 1 / 256)
    made = toy_bundle.make_bundle(
        folder / "toy-python", ["python"], verdict=verdict, decision=decided
    )
    writer.write_zip(made, made.with_suffix(".zip"))
    return made


def save_pictures(folder: Path, count: int, seed: int = 21, side: int = 40) -> list[Path]:
    """PNG files of the toy's four classes in turn, larger than the model's input."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, _ = toys.images(count, seed)
    paths = []
    for number, image in enumerate(pixels):
        big = Image.fromarray(image).resize((side, side + 9), Image.Resampling.NEAREST)
        paths.append(folder / f"cell {number:03d}.png")
        big.save(paths[-1])
    return paths


def as_the_training_reads(path: Path, size: int = toys.SIZE) -> np.ndarray:
    """uint8 (1, size, size, 3) through the loader of training data."""
    from edgecell.data.sources import FileSource
    from edgecell.data.types import Split, materialize
    from edgecell.preprocess import PreprocessSpec

    source = FileSource(path.parent, [path.name])
    return materialize(Split("val", source, np.zeros(1, np.int64)), PreprocessSpec(size, size))
