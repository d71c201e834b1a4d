"""``edgecell embed``: a model's last features of val or test, their map and their neighbourhoods."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from edgecell import plots
from edgecell.anatomy import last_features
from edgecell.config import DataConfig
from edgecell.data import Dataset, Split
from edgecell.data.types import read_into
from edgecell.disk import atomic_write_bytes, atomic_write_text
from edgecell.embedding import Plane, neighbourhoods, plane, trust
from edgecell.lock import claimed
from edgecell.pipeline.explaining import keras_target
from edgecell.pipeline.read_files import ReadFiles
from edgecell.pipeline.reporting import write_report
from edgecell.pipeline.targets import (
    check_classes,
    data_hash,
    drawn,
    load_data,
    where_to_write,
)
from edgecell.predictions import Predictions, number
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.runtime import KerasPredictor

_BATCH = 256


@dataclass(frozen=True)
class Wish:
    """Which images, and what of them; ``images`` 0 means all of the split."""

    split: str = "val"
    images: int = 2000
    perplexity: float = 30.0
    neighbours: int = 10
    seed: int = 0


@dataclass(frozen=True)
class _Seen:
    """Chosen images: their positions in the split (N,), last features (N, F), and what was said."""

    positions: NDArray[np.int64]
    features: NDArray[np.float32]
    predictions: Predictions


def embed_target(
    path: Path, wish: Wish, data: DataConfig | None, output: Path | None, progress: Progress
) -> tuple[dict[str, Any], Path]:
    """Embed images of one split by a run's Keras model, or a Keras file; the record and its folder.

    Raises:
        ConfigError: no Keras model; as in ``load_data``.
        DataError, ArtifactError: images or model that cannot be used.
    """
    target = keras_target(path, "embed")
    read = ReadFiles([target.model])
    predictor = KerasPredictor(target.model)
    model = predictor.model
    both = keras.Model(model.inputs, [last_features(model), model.output])
    dataset = load_data(target, data, progress=True)
    check_classes(target, predictor.class_count, dataset)
    spec = PreprocessSpec.of(target.config.model, *predictor.image_size)
    seen = _see(both, dataset, wish, spec, progress)

    progress.begin(f"t-SNE of {len(seen.features)} images", 2)
    laid = plane(seen.features, perplexity=wish.perplexity, seed=wish.seed)
    progress.advance(1)
    around = neighbourhoods(
        seen.features,
        seen.predictions.labels,
        dataset.class_names,
        k=wish.neighbours,
        seed=wish.seed,
    )
    trusted = trust(seen.features, laid.points, wish.neighbours)
    progress.advance(2)

    run = where_to_write(target, output)
    verb = f"embed/{target.model.stem}-{wish.split}"
    folder = run.stage(verb)
    results = {
        "model": predictor.name,
        "split": wish.split,
        "n": len(seen.features),
        "of": len(dataset.split(wish.split)),
        "task": dataset.task,
        "class_names": list(dataset.class_names),
        "features": seen.features.shape[1],
        "wrong": int((~seen.predictions.right).sum()),
        "plane": laid.facts | {"trustworthiness": trusted.to_json()},
        **around,
    }
    pictures = {
        "embedding.png": _drawn(seen, laid, dataset, results),
        "purity.png": plots.purity_bars(around),
    }
    with claimed(run.path, verb):
        written = [plots.save(figure, folder / name) for name, figure in pictures.items()]
        written += [
            _write_table(folder / "embedding.csv", seen, laid),
            _write_arrays(folder / "embedding.npz", seen, laid),
        ]
        read.require_same("embed")
        record = run.write_record(
            verb,
            inputs=[target.model],
            input_hashes=data_hash(dataset, wish.split),
            outputs=written,
            config=asdict(wish) | {"model": target.model.name},
            results=results,
        )
    if target.run is not None and output is None:
        write_report(target.run)
    return record, folder


def _see(
    both: keras.Model, dataset: Dataset, wish: Wish, spec: PreprocessSpec, progress: Progress
) -> _Seen:
    split: Split = dataset.split(wish.split)
    positions = drawn(len(split), wish.images, wish.seed)
    features, probabilities = [], []
    progress.begin(f"features of {wish.split}", len(positions))
    for start in range(0, len(positions), _BATCH):
        part = positions[start : start + _BATCH]
        pixels = np.empty((len(part), spec.height, spec.width, 3), np.uint8)
        read_into(pixels, split.source, part, spec)
        inner, said = both.predict_on_batch(pixels.astype(np.float32))
        features.append(inner)
        probabilities.append(said)
        progress.advance(start + len(part))
    predictions = Predictions(
        dataset.class_names,
        [split.source.name(int(i)) for i in positions],
        split.labels[positions],
        np.concatenate(probabilities).astype(np.float32),
    )
    return _Seen(positions, np.concatenate(features).astype(np.float32), predictions)


def _drawn(seen: _Seen, laid: Plane, dataset: Dataset, results: dict[str, Any]) -> Any:
    told = seen.predictions
    title = f"How {results['model']} sorts {results['split']} (n={results['n']})"
    note = (
        f"t-SNE of the last features, perplexity {laid.facts['perplexity']:.3g}: who is near counts,"
        " how far clusters lie apart does not"
    )
    if told.multi_label:
        return plots.label_planes(
            laid.points, told.labels, told.predicted, dataset.class_names, title=title, note=note
        )
    return plots.class_plane(
        laid.points, told.labels, ~told.right, dataset.class_names, title=title, note=note
    )


def _write_table(path: Path, seen: _Seen, laid: Plane) -> Path:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for place, (position, point) in enumerate(zip(seen.positions, laid.points, strict=True)):
        row = seen.predictions.cells(place) | {"index": int(position)}
        row |= {"x": number(point[0]), "y": number(point[1])}
        if place == 0:
            writer.writerow(row)
        writer.writerow(row.values())
    atomic_write_text(path, out.getvalue())
    return path


def _write_arrays(path: Path, seen: _Seen, laid: Plane) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        index=seen.positions,
        labels=seen.predictions.labels,
        predicted=seen.predictions.predicted,
        features=seen.features,
        coordinates=laid.points,
    )
    atomic_write_bytes(path, buffer.getvalue())
    return path
