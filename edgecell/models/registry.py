"""``MODELS`` and the frame around every backbone: input scaling in front, head behind."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.errors import ConfigError
from edgecell.models import efficientnet_b0, mobilenet_v2, resnet18, small_cnn
from edgecell.models.weights import copy_trained, trained_file

INPUT_SCALING = "input_scaling"
HEAD = ("pool", "dropout", "probabilities")


@dataclass(frozen=True)
class Architecture:
    """How to build one network, and which settings it takes.

    ``smallest`` is the least side of its input, ``hidden`` the widths of dense layers with ReLU
    between pooling and the last layer (dropout then stands behind the first of them). ``widths`` says
    whether alpha means something, ``imagenet`` whether Keras publishes weights for it.
    """

    backbone: Callable[[keras.KerasTensor, ModelConfig], keras.KerasTensor]
    smallest: int
    hidden: tuple[int, ...] = ()
    widths: bool = False
    imagenet: bool = False


MODELS: dict[str, Architecture] = {
    "mobilenet_v2": Architecture(mobilenet_v2.backbone, 32, widths=True, imagenet=True),
    "efficientnet_b0": Architecture(efficientnet_b0.backbone, 32, imagenet=True),
    "resnet18_28": Architecture(resnet18.backbone, 28),
    "simple_cnn": Architecture(small_cnn.simple, 28, hidden=(64,)),
    "deeper_cnn": Architecture(small_cnn.deeper, 28, hidden=(128, 16)),
}


def architecture_of(config: ModelConfig) -> Architecture:
    """The network that ``config`` names, its settings checked against what that network takes.

    Raises:
        ConfigError: unknown name, a side too small for it, or a setting that it does not have.
    """
    name = config.name
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model '{name}'; {hint}")
    found = MODELS[name]
    if config.image_size < found.smallest:
        raise ConfigError(
            f"model.image_size is {config.image_size}; {name} takes {found.smallest} or more"
            f" (--image-size {found.smallest})"
        )
    if not found.widths and config.alpha != ModelConfig.alpha:
        wide = ", ".join(each for each, other in MODELS.items() if other.widths)
        raise ConfigError(
            f"model.alpha is {config.alpha}, and {name} has one width only; leave --alpha out"
            f" (it is a setting of {wide})"
        )
    if config.weights == "imagenet" and not found.imagenet:
        raise ConfigError(
            f"there are no ImageNet weights to download for {name}; train it from nothing with"
            " --weights none, or give the path of an .h5 file with --weights"
        )
    return found


def build_model(
    config: ModelConfig,
    class_count: int,
    batchnorm_momentum: float,
    activation: str = "softmax",
) -> keras.Model:
    """A flat Keras model: float32 pixels 0…255 (N, H, W, 3) → probabilities (N, class_count).

    ``activation`` of the head is the task's: softmax, or sigmoid where labels do not exclude others.

    Pixels are scaled to ``(u − 128) / 128`` by the layer ``input_scaling``, so that the int8 twin of
    the input has scale 1/128 exactly. Keras' BatchNorm momentum of 0.999 needs thousands of steps
    before the inference statistics follow the training; ``batchnorm_momentum`` replaces it.

    Raises:
        ConfigError: see :func:`architecture_of`. ArtifactError, DataError: weights that cannot be had.
    """
    architecture = architecture_of(config)
    trained = trained_file(config.weights)
    if trained is not None:
        config = replace(config, weights="none")
    inputs = keras.Input((config.image_size, config.image_size, 3), name="pixels")
    scaled = keras.layers.Rescaling(1 / 128, offset=-1.0, name=INPUT_SCALING)(inputs)
    features = architecture.backbone(scaled, config)
    x = keras.layers.GlobalAveragePooling2D(name=HEAD[0])(features)
    for position, width in enumerate(architecture.hidden, start=1):
        x = keras.layers.Dense(width, activation="relu", name=f"hidden{position}")(x)
        if position == 1:
            x = keras.layers.Dropout(config.dropout, name=HEAD[1])(x)
    if not architecture.hidden:
        x = keras.layers.Dropout(config.dropout, name=HEAD[1])(x)
    # float32 even under mixed_float16: a softmax in float16 loses small probabilities.
    outputs = keras.layers.Dense(class_count, activation=activation, dtype="float32", name=HEAD[2])(
        x
    )
    model = keras.Model(inputs, outputs, name=config.name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batchnorm_momentum
    if trained is not None:
        copy_trained(model, trained)
    return model


def set_trainable(model: keras.Model, last_layers: int) -> int:
    """Freeze the backbone except its last ``last_layers`` layers (0: all train, −1: none do).

    Layers count as Keras lists them between the input and global pooling, activations and additions
    included. The head, from the pooling on, always trains. Returns the number of trainable weights
    (scalars).
    """
    body = _body(model)
    first = {0: 0, -1: len(body)}.get(last_layers, max(0, len(body) - last_layers))
    for position, layer in enumerate(body):
        layer.trainable = position >= first
    return int(sum(keras.backend.count_params(w) for w in model.trainable_weights))


def layer_rates(model: keras.Model, first: float) -> dict[str, float]:
    """Each layer's share of the learning rate: ``first`` at the input, geometrically up to the head.

    Earlier layers hold features that serve any image (Howard and Ruder 2018, "discriminative
    fine-tuning"). Empty where all learn alike.
    """
    if first == 1.0:
        return {}
    body = [layer for layer in _body(model) if layer.weights]
    steps = len(body)
    return {layer.name: first ** (1.0 - place / steps) for place, layer in enumerate(body)}


def _body(model: keras.Model) -> list[keras.layers.Layer]:
    """The backbone's layers: those between the input scaling and global pooling."""
    names = [layer.name for layer in model.layers]
    layers: list[keras.layers.Layer] = model.layers
    return layers[names.index(INPUT_SCALING) + 1 : names.index(HEAD[0])]


def describe_model(model: keras.Model) -> dict[str, Any]:
    """Counts for the record: parameters, layers, input shape (H, W, 3), classes."""
    return {
        "parameters": int(model.count_params()),
        "layers": len(model.layers),
        "input_shape": [int(n) for n in model.input_shape[1:]],
        "classes": int(model.output_shape[-1]),
    }
