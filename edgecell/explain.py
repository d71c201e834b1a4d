"""Grad-CAM: where in an image a network found what speaks for a class.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization". With A the maps (h, w, K) of a layer and s_c the score of class c before softmax or
sigmoid:

    alpha_k = mean over the cells of ds_c / dA_k        L = max(0, sum over k of alpha_k A_k)

L (h, w) shows what raises the score of c. It says nothing about what lowers it, and is as coarse as
the layer's maps.
"""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from edgecell.anatomy import feature_maps, scores
from edgecell.errors import ConfigError

_BATCH = 32


class GradCam:
    """Grad-CAM of one layer of a classifier (1 RGB image → classes), float32 pixels 0…255.

    ``layer`` is by default the last one whose maps have two cells or more each way; ``rows`` and
    ``columns`` are the size of its maps.

    Raises:
        ConfigError: no such layer, or one that has no maps.
        ArtifactError: a model whose layers or scores cannot be got at.
    """

    def __init__(self, model: keras.Model, layer: str = "") -> None:
        maps = feature_maps(model)
        self.layer = _chosen(maps, layer, model.name)
        self.rows, self.columns = maps[self.layer]
        both = keras.Model(model.inputs, [model.get_layer(self.layer).output, scores(model)])
        pixels = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)

        @tf.function(input_signature=[pixels, tf.TensorSpec([None], tf.int32)])
        def run(images: Any, classes: Any) -> Any:
            entry = tf.cast(images, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(entry)  # of a frozen model nothing else would be recorded
                features, found = both(entry, training=False)
                chosen = tf.reduce_sum(tf.gather(found, classes, batch_dims=1))
            # No image's score depends on another's maps: the sum has each image's own gradient.
            weights = tf.reduce_mean(tape.gradient(chosen, features), axis=(1, 2), keepdims=True)
            return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))

        self._run = run

    def maps(self, images: NDArray[np.uint8], classes: NDArray[Any]) -> NDArray[np.float32]:
        """What speaks for ``classes`` (N,) in ``images`` uint8 (N, H, W, 3).

        Returns:
            float32 (N, rows, columns), 0 or more, in units of the score; all 0 where nothing speaks for
            the class.
        """
        found = np.empty((len(images), self.rows, self.columns), np.float32)
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            found[part] = self._run(images[part], np.asarray(classes[part], np.int32)).numpy()
        return found


def _chosen(maps: dict[str, tuple[int, int]], layer: str, model: str) -> str:
    """The layer asked for, or the last of those whose maps can tell one place from another.

    Raises:
        ConfigError: none, or not the one asked for.
    """
    telling = {name: size for name, size in maps.items() if min(size) > 1}
    if not layer and telling:
        return list(telling)[-1]
    if layer in telling:
        return layer
    # One line has no room for 150 layers: of each size the last one, which is the one to take.
    last = {size: name for name, size in telling.items()}
    listed = ", ".join(f"{name} ({rows}×{columns})" for (rows, columns), name in last.items())
    if not layer:
        raise ConfigError(f"all maps of {model} are a single row or column: nothing to point at")
    if layer in maps:
        rows, columns = maps[layer]
        said = f"the maps of {layer} are {rows}×{columns}, which cannot say where"
    else:
        near = difflib.get_close_matches(layer, telling, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        said = f"{model} has no layer '{layer}' with maps of features{hint}"
    raise ConfigError(f"{said}; --layer takes, for example, the last of each size: {listed}")
