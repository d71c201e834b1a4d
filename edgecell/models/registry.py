"""``MODELS`` and the frame around every backbone: input scaling in front, head behind."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.errors import ConfigError
from edgecell.models import mobilenet_v2

INPUT_SCALING = "input_scaling"
HEAD = ("pool", "dropout", "probabilities")


@dataclass(frozen=True)
class Architecture:
    """How to build one backbone."""

    backbone: Callable[[keras.KerasTensor, ModelConfig], keras.KerasTensor]


MODELS: dict[str, Architecture] = {
    "mobilenet_v2": Architecture(mobilenet_v2.backbone),
}


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
        ConfigError: unknown name. ArtifactError, DataError: weights that cannot be had.
    """
    if config.name not in MODELS:
        near = difflib.get_close_matches(config.name, MODELS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model '{config.name}'; {hint}")
    architecture = MODELS[config.name]
    inputs = keras.Input((config.image_size, config.image_size, 3), name="pixels")
    scaled = keras.layers.Rescaling(1 / 128, offset=-1.0, name=INPUT_SCALING)(inputs)
    features = architecture.backbone(scaled, config)
    pooled = keras.layers.GlobalAveragePooling2D(name=HEAD[0])(features)
    dropped = keras.layers.Dropout(config.dropout, name=HEAD[1])(pooled)
    # float32 even under mixed_float16: a softmax in float16 loses small probabilities.
    outputs = keras.layers.Dense(class_count, activation=activation, dtype="float32", name=HEAD[2])(
        dropped
    )
    model = keras.Model(inputs, outputs, name=config.name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = batchnorm_momentum
    return model


def set_trainable(model: keras.Model, last_layers: int) -> int:
    """Freeze the backbone except its last ``last_layers`` layers (0: all train, −1: none do).

    The head always trains. Returns the number of trainable weights (scalars).
    """
    body = [
        layer for layer in model.layers if layer.name not in HEAD and layer.name != INPUT_SCALING
    ]
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
    body = [la for la in model.layers if la.weights and la.name not in HEAD]
    steps = len(body)
    return {layer.name: first ** (1.0 - place / steps) for place, layer in enumerate(body)}


def describe_model(model: keras.Model) -> dict[str, Any]:
    """Counts for the record: parameters, layers, input shape (H, W, 3), classes."""
    return {
        "parameters": int(model.count_params()),
        "layers": len(model.layers),
        "input_shape": [int(n) for n in model.input_shape[1:]],
        "classes": int(model.output_shape[-1]),
    }
