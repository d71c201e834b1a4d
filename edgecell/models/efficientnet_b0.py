"""EfficientNet-B0 (Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for CNNs")."""

from __future__ import annotations

import numpy as np
import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.models.weights import Normalization, load_backbone, published

_FILE = "https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5"
# Keras' published file keeps ImageNet's deviations where its layer expects variances; Keras mends
# that with a second division (https://github.com/tensorflow/tensorflow/issues/49930).
_DEVIATION = (0.229, 0.224, 0.225)
_FIRST = "stem_conv_pad"


def backbone(inputs: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Features (N, h/32, w/32, 1280) of scaled images (N, h, w, 3) in [−1, 1].

    Keras' network begins with a rescaling and a normalization of its own, which an int8 file would
    have to compute on its largest tensor. Here the layers behind them are laid on ``inputs``, and what
    they did to the pixels is folded into the stem's convolution and BatchNorm. That is exact but for
    the last row and column of the stem's output (sides of even length): zeros padded there mean
    grey 128, where in Keras' network they mean ImageNet's mean colour, (124, 116, 104).

    Raises:
        ArtifactError: the weights file is missing, not HDF5, or of another architecture.
        DataError: weights by name that are neither cached nor downloadable.
    """
    path = published(_FILE) if config.weights == "imagenet" else config.weights
    side = config.image_size
    source = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    if path != "none":
        load_backbone(source, path, "EfficientNet-B0")
        normalization_of(source).fold_into(
            source.get_layer("stem_conv"), source.get_layer("stem_bn")
        )
    return _laid_on(inputs, source)


def normalization_of(source: keras.Model) -> Normalization:
    """What the loaded normalization does to u / 255, with Keras' correction where it needs it."""
    # By type: its name counts how many were made in this process.
    layer = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    mean, variance = (np.ravel(value) for value in layer.get_weights()[:2])
    deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    if np.allclose(variance, _DEVIATION, rtol=1e-3):
        deviation = deviation * np.sqrt(_DEVIATION)
    return Normalization(tuple(mean), tuple(deviation))


def _laid_on(inputs: keras.KerasTensor, source: keras.Model) -> keras.KerasTensor:
    """``source`` from its padded stem on, called anew on ``inputs``: a flat graph, equal weights.

    The two convolutions of each squeeze-and-excitation get their swish and sigmoid as layers of
    their own, as all other convolutions have them: an int8 file rounds in between, and
    quantization-aware training rounds the outputs of layers.
    """
    first = source.get_layer(_FIRST)
    known = {id(first.input): inputs}
    features = inputs
    for layer in source.layers[source.layers.index(first) :]:
        fed = [known[id(tensor)] for tensor in layer.inbound_nodes[0].keras_inputs]
        settings = layer.get_config()
        curve = settings.get("activation", "linear") if layer.weights else "linear"
        if curve != "linear":
            settings["activation"] = "linear"
        copy = layer.__class__.from_config(settings)
        features = copy(fed if len(fed) > 1 else fed[0])
        copy.set_weights(layer.get_weights())
        if curve != "linear":
            features = keras.layers.Activation(curve, name=f"{layer.name}_activation")(features)
        known[id(layer.output)] = features
    return features
