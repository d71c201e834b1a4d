"""``edgecell explain``: heat maps of a model's easy, hard and wrong answers, on val or test."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell import plots
from edgecell.config import DataConfig
from edgecell.data import Dataset
from edgecell.disk import atomic_write_bytes
from edgecell.errors import ConfigError
from edgecell.examples import examples
from edgecell.explain import GradCam
from edgecell.lock import claimed
from edgecell.pipeline.evaluation import split_images
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import (
    Target,
    check_classes,
    data_hash,
    load_data,
    resolve,
    where_to_write,
)
from edgecell.predictions import Predictions, number
from edgecell.progress import Progress
from edgecell.runtime import KerasPredictor

MISTAKES_PER_IMAGE = 8
KINDS = ("surest", "least_sure", "mistakes")


@dataclass(frozen=True)
class Wish:
    """What to explain: ``images`` of each kind of each class, one class or all, at which layer."""

    split: str = "val"
    images: int = 3
    class_name: str = ""
    layer: str = ""


def explain_target(
    path: Path, wish: Wish, data: DataConfig | None, output: Path | None, progress: Progress
) -> tuple[dict[str, Any], Path]:
    """Explain a run's Keras model, or a Keras file, on one split; the record and its folder.

    Raises:
        ConfigError: no Keras model, no such class or layer; as in ``load_data``.
        DataError, ArtifactError: images or model that cannot be used.
    """
    target = keras_target(path, "explain")
    read = ReadFiles([target.model])
    predictor = KerasPredictor(target.model)
    cam = GradCam(predictor.model, wish.layer)
    dataset = load_data(target, data, progress=True)
    check_classes(target, predictor.class_count, dataset)
    only = class_number(dataset, wish.class_name)
    images, predictions = predict_split(predictor, target, dataset, wish.split, progress)

    found = examples(
        predictions,
        mistakes=MISTAKES_PER_IMAGE * wish.images,
        per_class=wish.images,
        only=only,
    )
    asked = list(dict.fromkeys(_asked(found)))
    numbers = np.array([dataset.class_names.index(name) for _, name in asked], np.int32)
    places = np.array([index for index, _ in asked], np.int64)
    progress.begin("heat maps", len(asked))
    maps = cam.maps(images[places], numbers)
    progress.advance(len(asked))

    run = where_to_write(target, output)
    suffix = "" if only is None else f"-class{only}"
    verb = f"explain/{target.model.stem}-{wish.split}{suffix}"
    folder = run.stage(verb)
    heat = dict(zip(asked, maps, strict=True))
    with claimed(run.path, verb):
        written = [
            plots.save(plots.heat_by_class(images, heat, found), folder / "classes.png"),
            plots.save(plots.heat_of_mistakes(images, heat, found), folder / "mistakes.png"),
            _write_maps(folder / "maps.npz", places, numbers, maps),
        ]
        read.require_same("explain")
        record = run.write_record(
            verb,
            inputs=[target.model],
            input_hashes=data_hash(dataset, wish.split),
            outputs=written,
            config=asdict(wish) | {"model": target.model.name},
            results=_results(wish, cam, predictor, dataset, predictions, found, asked, maps),
        )
    if target.run is not None and output is None:
        write_report(target.run)
    return record, folder


def keras_target(path: Path, verb: str) -> Target:
    """The Keras model behind ``path``.

    Raises:
        ConfigError: a .tflite file, in which there are no gradients and no layers to look at.
        ArtifactError: as in :func:`resolve`.
    """
    target = resolve(path)
    if target.model.suffix.lower() == ".tflite":
        raise ConfigError(
            f"'{verb}' looks inside the network, and {target.model.name} is a converted file; give the"
            " run folder or the Keras model it came from"
        )
    return target


def class_number(dataset: Dataset, name: str) -> int | None:
    """The number of the class called ``name``; None for "", which means all.

    Raises:
        ConfigError: no such class.
    """
    if not name:
        return None
    names = list(dataset.class_names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(names)}"
        raise ConfigError(f"'{dataset.name}' has no class '{name}'; {hint}")
    return names.index(name)


def predict_split(
    predictor: KerasPredictor, target: Target, dataset: Dataset, split: str, progress: Progress
) -> tuple[NDArray[np.uint8], Predictions]:
    """The images of a split as the model takes them, uint8 (N, H, W, 3), and its answers."""
    chosen = dataset.split(split)
    images = split_images(predictor, target, dataset, split, progress)
    progress.begin(f"predicting {split}", len(chosen))
    probabilities = predictor.predict(images)
    progress.advance(len(chosen))
    names = [chosen.source.name(i) for i in range(len(chosen))]
    return images, Predictions(dataset.class_names, names, chosen.labels, probabilities)


def _asked(found: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(index, class) of every map that the pictures show."""
    for each in found["classes"]:
        for kind in KINDS[:2]:
            yield from ((row["index"], each["name"]) for row in each[kind])
    for row in found["mistakes"]:
        for name in [row["about"]] if "about" in row else [row["predicted"], row["label"]]:
            yield row["index"], name


def _write_maps(
    path: Path, places: NDArray[np.int64], numbers: NDArray[np.int32], maps: NDArray[np.float32]
) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, index=places, class_number=numbers, maps=maps)
    atomic_write_bytes(path, buffer.getvalue())
    return path


def _results(
    wish: Wish,
    cam: GradCam,
    predictor: KerasPredictor,
    dataset: Dataset,
    predictions: Predictions,
    found: dict[str, Any],
    asked: list[tuple[int, str]],
    maps: NDArray[np.float32],
) -> dict[str, Any]:
    silent = int((maps.reshape(len(maps), -1).max(axis=1, initial=0) == 0).sum())
    peaks = {pair: number(each.max()) for pair, each in zip(asked, maps, strict=True)}
    return {
        "model": predictor.name,
        "split": wish.split,
        "n": len(predictions),
        "task": dataset.task,
        "class_names": list(dataset.class_names),
        "method": "Grad-CAM",
        "layer": cam.layer,
        "map_size": [cam.rows, cam.columns],
        "maps": len(asked),
        "maps_without_evidence": silent,
        "wrong": found["wrong"],
        "classes": [
            {key: each[key] for key in ("name", "right", "wrong")}
            | {
                kind: [row | {"peak": peaks[row["index"], each["name"]]} for row in each[kind]]
                for kind in KINDS[:2]
            }
            for each in found["classes"]
        ],
        "mistakes": found["mistakes"],
    }
