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

from edgecell.errors import ArtifactError, ConfigError

_BATCH = 32
_SQUASHING = ("softmax", "sigmoid", "linear")
# Their maps cover more or less than the image: the cells lie elsewhere.
_MOVING = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


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
        both = keras.Model(model.inputs, [model.get_layer(self.layer).output, _scores(model)])
        pixels = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)

        @tf.function(input_signature=[pixels, tf.TensorSpec([None], tf.int32)])
        def run(images: Any, classes: Any) -> Any:
            entry = tf.cast(images, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(entry)  # of a frozen model nothing else would be recorded
                features, scores = both(entry, training=False)
                chosen = tf.reduce_sum(tf.gather(scores, classes, batch_dims=1))
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


def feature_maps(model: keras.Model) -> dict[str, tuple[int, int]]:
    """The layers that Grad-CAM can look at, input first, with rows and columns of their maps.

    Those from the first layer with weights on whose output is (N, h, w, K), h and w known, without
    those that pad or crop.

    Raises:
        ArtifactError: a model that is no graph of layers.
    """
    found: dict[str, tuple[int, int]] = {}
    learnt = False
    for layer in model.layers:
        learnt = learnt or bool(layer.weights)
        shape = _output_shape(layer)
        if not learnt or isinstance(layer, _MOVING):
            continue
        if len(shape) == 4 and shape[1] is not None and shape[2] is not None:
            found[layer.name] = (shape[1], shape[2])
    if not found:
        raise ArtifactError(
            f"{model.name} has no layer with maps of features to look at; allowed: a convolutional"
            " Keras model built of layers (sequential or functional)"
        )
    return found


def _output_shape(layer: keras.layers.Layer) -> tuple[int | None, ...]:
    """() of a layer with several outputs, that is used twice, or that belongs to no graph."""
    try:
        shape = layer.output.shape
    except AttributeError:
        return ()
    return tuple(shape)


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


def _scores(model: keras.Model) -> keras.KerasTensor:
    """The scores (N, C) of which the model's softmax or sigmoid makes probabilities.

    Raises:
        ArtifactError: the model does not end in a dense layer, or in an activation.
    """
    last = model.get_layer(model.output_names[0])
    curve = getattr(getattr(last, "activation", None), "__name__", "")
    if isinstance(last, keras.layers.Softmax) or (not last.weights and curve in _SQUASHING[:2]):
        return last.input
    if isinstance(last, keras.layers.Dense) and curve in _SQUASHING:
        # The head without its curve; gradients of probabilities vanish where the model is sure.
        settings = last.get_config() | {"activation": "linear", "name": f"{last.name}_scores"}
        plain = keras.layers.Dense.from_config(settings)
        scores = plain(last.input)
        plain.set_weights(last.get_weights())
        return scores
    raise ArtifactError(
        f"{model.name} ends in {last.name} ({type(last).__name__} {curve}); Grad-CAM needs the scores"
        " before softmax or sigmoid: allowed is a last layer Dense, Softmax or Activation"
    )
