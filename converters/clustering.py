"""Weight clustering: the weights of a kernel share a few values, which training then moves.

Han, Mao and Dally 2016, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
Quantization and Huffman Coding", section 3, as TFMOT does it: a codebook for each kernel of a
convolution or dense layer, none for depthwise kernels. TFMOT draws the first values (k-means++);
Lloyd's iterations make them the k-means of the weights before training starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from numpy.typing import NDArray

from converters.fine_tuning import Judge, Lesson, Title, predictor, tune
from converters.kept import Pattern, wrapped
from converters.pruning import Slimmed
from edgecell.checkpoint import Checkpoint
from edgecell.config import ClusterConfig
from edgecell.progress import Progress

_LLOYD = 100
_PREFIX = "cluster_"
_tfmot: Any = tfmot.clustering.keras  # made at import time, mypy sees nothing in it


@dataclass
class Clustered:
    """The student of clustering: TFMOT's wrappers around the kernels, pixels in, probabilities out.

    ``kept``: what layers without a wrapper keep, by their name.
    """

    model: keras.Model
    kept: dict[str, Pattern]
    title = Title("cluster", "weight clustering", "--cluster-learning-rate")

    def enter(self, pixels: tf.Tensor) -> tf.Tensor:
        """As they are: the scaling is in the model."""
        return pixels

    def settle(self, frozen: bool) -> None:
        """The wrappers give weights their values in the forward pass; the other kernels keep their zeros."""
        for name, pattern in self.kept.items():
            pattern.restore(self.model.get_layer(name).kernel)

    def measure(self, judge: Judge) -> dict[str, float]:
        """Figures of the clustered float model."""
        return judge.figures(judge.ask(predictor(self.model)))

    def ready(self) -> bool:
        """From the first epoch on."""
        return True


def cluster(
    reference: keras.Model,
    start: keras.Model,
    lesson: Lesson,
    settings: ClusterConfig,
    checkpoint: Checkpoint,
    key: str,
    progress: Progress,
    *,
    keep_zeros: bool = False,
) -> Slimmed:
    """Leave each kernel of ``start`` ``settings.clusters`` values, with ``reference`` as the teacher.

    A kernel of no more weights than that stays as it is. ``keep_zeros``: zero is one of the values,
    and the zeros of ``start`` stay zero.

    Raises:
        ConvertError: no layer that can be clustered, or a model inside the model.
        Otherwise as :func:`converters.fine_tuning.tune`.
    """

    left: dict[str, Pattern] = {}

    def wrap(layer: keras.layers.Layer) -> keras.layers.Layer:
        kernel = layer.kernel.numpy()
        zero = keep_zeros and np.count_nonzero(kernel) < kernel.size
        if np.count_nonzero(kernel) + zero <= settings.clusters:
            if keep_zeros:
                left[layer.name] = Pattern.of(kernel, clustered=False)
            return layer
        made = _tfmot.cluster_weights(
            layer,
            number_of_clusters=settings.clusters,
            cluster_centroids_init=_tfmot.CentroidInitialization.KMEANS_PLUS_PLUS,
            preserve_sparsity=keep_zeros,
        )
        return made

    model = wrapped(start, wrap)
    for layer in model.layers:
        if layer.name.startswith(_PREFIX):
            drawn = layer.cluster_centroids["kernel"]
            kernel = layer.original_clusterable_weights["kernel"].numpy()
            drawn.assign(k_means(kernel, drawn.numpy(), keep_zero=keep_zeros))
    student = Clustered(model, left)
    progression, facts = tune(student, reference, lesson, settings, checkpoint, key, progress)
    slim = keras.models.clone_model(reference)
    slim.set_weights(_tfmot.strip_clustering(model).get_weights())
    return Slimmed(slim, progression, facts)


def k_means(
    weights: NDArray[np.float32], start: NDArray[np.float32], *, keep_zero: bool = False
) -> NDArray[np.float32]:
    """The values ``start`` (K,) after Lloyd's iterations on ``weights`` of any shape, in their order.

    A value that no weight is nearest to stays. ``keep_zero``: the value nearest to 0 is 0 and stays,
    and weights of 0 count for it alone.
    """
    flat = np.sort(weights.ravel().astype(np.float64))
    order = np.argsort(start, kind="stable")
    values = start[order].astype(np.float64)
    zero = int(np.abs(values).argmin()) if keep_zero else -1
    for _ in range(_LLOYD):
        bounds = np.searchsorted(flat, (values[1:] + values[:-1]) / 2)
        parts = np.split(flat, bounds)
        moved = np.array(
            [part.mean() if len(part) else old for part, old in zip(parts, values, strict=True)]
        )
        if keep_zero:
            moved[zero] = 0.0
        if np.array_equal(moved, values):
            break
        values = moved
    out = np.empty_like(start)
    out[order] = values
    return out
