"""``edgecell quantize --int8 --search``: post-training methods side by side on val, the best kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from converters.calibration import CalibrationSet, calibration_set, unseen
from converters.fine_tuning import Lesson
from converters.search import METHODS, Prepared, SearchResult, prepare, search
from edgecell import anatomy, batches, disk, plots
from edgecell.config import Config
from edgecell.data import Dataset
from edgecell.data.types import materialize
from edgecell.pipeline.evaluation import split_images
from edgecell.pipeline.plausible import doubts_of_calibration
from edgecell.pipeline.targets import Target, check_classes, check_task
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Progress
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor

UNSEEN_IMAGES = 8192
"""At most so many images of train beside val choose a method, and no more than this memory holds:"""
UNSEEN_BYTES = 2**29


@dataclass
class Material:
    """What searching and analysing work on; each part is made once, when it is first asked for."""

    run: RunDir
    target: Target
    config: Config
    model: keras.Model
    chosen: CalibrationSet
    dataset: Dataset
    progress: Progress

    @cached_property
    def prepared(self) -> Prepared:
        """The calibrated model."""
        self.progress.begin("calibrating", 1)
        made = prepare(self.model, self.chosen.images)
        self.progress.advance(1)
        return made

    @cached_property
    def reference(self) -> KerasPredictor:
        """The Keras model as a predictor."""
        return KerasPredictor(self.model, self.target.model.name)

    @cached_property
    def val_images(self) -> NDArray[np.uint8]:
        """All of val, uint8 (N, H, W, 3)."""
        images: NDArray[np.uint8] = split_images(
            self.reference, self.target, self.dataset, "val", self.progress
        )
        return images

    @cached_property
    def unseen_images(self) -> NDArray[np.uint8]:
        """Images of train that calibration did not draw, uint8 (M, H, W, 3)."""
        height, width = self.model.input_shape[1:3]
        train, spec = self.dataset.train, PreprocessSpec.of(self.config.model, height, width)
        count = min(UNSEEN_IMAGES, UNSEEN_BYTES // (height * width * 3))
        indices = unseen(self.chosen.indices, len(train), count, self.config.quantize.seed)
        self.progress.begin("reading train", len(indices))
        return materialize(train, spec, self.progress.advance, indices)

    @cached_property
    def lesson(self) -> Lesson:
        """Train and val as fine-tuning reads them, with the run's own changes of images."""
        height, width = self.model.input_shape[1:3]
        spec = PreprocessSpec.of(self.config.model, height, width)
        classes, train = len(self.dataset.class_names), self.config.train
        weigh, progress = train.class_weights, self.progress
        return Lesson(
            batches.prepare(
                self.dataset.train, spec, classes, class_weights=weigh, progress=progress
            ),
            batches.prepare(
                self.dataset.val, spec, classes, class_weights=False, progress=progress
            ),
            self.chosen.images,
            self.config.augment,
            train.label_smoothing,
        )

    @property
    def hashes(self) -> dict[str, str]:
        """The data as inputs of a record: calibration reads train, judging reads val."""
        name, digest = self.dataset.name, self.dataset.fingerprint
        return {f"data:{name}:train": digest, f"data:{name}:val": digest}

    def settings(self) -> dict[str, Any]:
        """What a search and an analysis depend on beside model and data."""
        quantize = self.config.quantize
        return {
            "calibration_images": quantize.calibration_images,
            "seed": quantize.seed,
            "input_type": quantize.input_type,
        }


def gather(
    run: RunDir,
    target: Target,
    config: Config,
    model: keras.Model,
    dataset: Dataset,
    progress: Progress,
) -> Material:
    """Draw the calibration images; DataError where the data set is not the model's."""
    check_classes(target, int(model.output_shape[-1]), dataset)
    check_task(target, anatomy.decides_labels(model), dataset)
    height, width = model.input_shape[1:3]
    chosen = calibration_set(
        dataset.train,
        PreprocessSpec.of(config.model, height, width),
        count=min(config.quantize.calibration_images, len(dataset.train)),
        seed=config.quantize.seed,
        fingerprint=dataset.fingerprint,
    )
    doubts = doubts_of_calibration(target.run, chosen.images, progress)
    chosen = replace(chosen, manifest=chosen.manifest | doubts)
    return Material(run, target, config, model, chosen, dataset, progress)


def search_in(material: Material) -> SearchResult:
    """Try every method, write RUN/search/{search.json,search.png,record.json}; the result.

    The chosen file itself belongs to ``quantize``, which writes it beside the others.

    Raises:
        ConvertError, DataError: as in :func:`converters.search.search`.
    """
    prepared, images = material.prepared, material.val_images
    unseen_images = material.unseen_images
    progress, done = material.progress, 0
    split = material.config.quantize.split_channels
    methods = {name: method for name, method in METHODS.items() if split or not method.split}
    progress.begin("searching", len(methods))

    def step(note: str) -> None:
        nonlocal done
        done += 1
        progress.advance(done, note)

    result = search(
        prepared,
        material.reference,
        images,
        material.dataset.val.labels,
        material.dataset.class_names,
        unseen=unseen_images,
        methods=methods,
        input_type=material.config.quantize.input_type,
        step=step,
    )
    folder = material.run.stage("search")
    disk.atomic_write_json(folder / "search.json", result.to_json())
    picture = plots.save(
        plots.search_candidates(
            result.to_json()["candidates"],
            chosen=result.chosen,
            judged=result.answers,
        ),
        folder / "search.png",
    )
    material.run.write_record(
        "search",
        inputs=[material.target.model],
        input_hashes=material.hashes,
        outputs=[folder / "search.json", picture],
        config=material.settings() | ({"split_channels": True} if split else {}),
        results=result.to_json(),
    )
    return result
