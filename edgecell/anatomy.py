"""Where a classifier can be cut open: its maps of features, its last features, its scores."""

from __future__ import annotations

import tf_keras as keras

from edgecell.errors import ArtifactError

_CURVES = ("softmax", "sigmoid")
# Their maps cover more or less than the image: the cells lie elsewhere.
_MOVING = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)


def feature_maps(model: keras.Model) -> dict[str, tuple[int, int]]:
    """The layers whose output is (N, h, w, K), input first, with h and w.

    From the first layer with weights on; without those that pad or crop.

    Raises:
        ArtifactError: a model that is no graph of layers, or has none of them.
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


def scores(model: keras.Model) -> keras.KerasTensor:
    """The scores (N, C) of which the model's softmax or sigmoid makes probabilities.

    Raises:
        ArtifactError: the model ends otherwise than in a dense layer and a softmax or sigmoid.
    """
    last = _last(model)
    if not isinstance(last, keras.layers.Dense):
        return last.input
    # The head without its curve; gradients of probabilities vanish where the model is sure.
    settings = last.get_config() | {"activation": "linear", "name": f"{last.name}_scores"}
    plain = keras.layers.Dense.from_config(settings)
    tensor = plain(last.input)
    plain.set_weights(last.get_weights())
    return tensor


def last_features(model: keras.Model) -> keras.KerasTensor:
    """What the last dense layer is given, (N, F).

    Raises:
        ArtifactError: as :func:`scores`, and where that layer is given something else.
    """
    last = _last(model)
    if not isinstance(last, keras.layers.Dense):
        last = last.input.node.layer
    if not isinstance(last, keras.layers.Dense) or len(last.input.shape) != 2:
        raise ArtifactError(
            f"{model.name} has no dense layer behind its features; allowed: a Keras model that ends in"
            " a dense layer on one row of features per image"
        )
    return last.input


def decides_labels(model: keras.Model) -> bool:
    """Whether the model ends in a sigmoid: it decides each of several labels by itself.

    Told by the last layer, of a model inside the model too; what is no such layer is none.
    """
    try:
        last = model.get_layer(model.output_names[0])
    except (AttributeError, IndexError, ValueError):  # no graph of layers
        return False
    if isinstance(last, keras.Model):
        return decides_labels(last)
    return _curve(last) == "sigmoid"


def _last(model: keras.Model) -> keras.layers.Layer:
    """The layer that gives the probabilities: dense, or an activation of its own."""
    last = model.get_layer(model.output_names[0])
    curve = _curve(last)
    if isinstance(last, keras.layers.Softmax) or (not last.weights and curve in _CURVES):
        return last
    if isinstance(last, keras.layers.Dense) and curve in (*_CURVES, "linear"):
        return last
    raise ArtifactError(
        f"{model.name} ends in {last.name} ({type(last).__name__} {curve}); needed are the scores"
        " before softmax or sigmoid: allowed is a last layer Dense, Softmax or Activation"
    )


def _curve(layer: keras.layers.Layer) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def _output_shape(layer: keras.layers.Layer) -> tuple[int | None, ...]:
    """() of a layer with several outputs, that is used twice, or that belongs to no graph."""
    try:
        shape = layer.output.shape
    except AttributeError:
        return ()
    return tuple(shape)
