"""Two small networks for 28-pixel images, as a project on BloodMNIST describes them.

What it says (layers, widths, parameters to the unit) fixes everything but where max-pooling stands.
Here it is between two stages, never behind the last one: there, global pooling takes its place.
"""

from __future__ import annotations

import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.models.weights import load_own

_SIMPLE = (32, 64, 128)
_DEEPER = (16, 32, 64, 128)


def simple(inputs: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Three biased 3×3 convolutions of 32, 64 and 128 channels: (N, h, w, 3) → (N, h/4, w/4, 128).

    With dense layers of 64 and 8 behind global pooling: 102,024 parameters.

    Raises:
        ArtifactError: the weights file is missing, not HDF5, or of another architecture.
    """
    x = inputs
    for stage, channels in enumerate(_SIMPLE, start=1):
        if stage > 1:
            x = keras.layers.MaxPooling2D(name=f"shrink{stage}")(x)
        x = _conv(channels, f"conv{stage}")(x)
        x = keras.layers.ReLU(name=f"relu{stage}")(x)
    return _filled(x, config)


def deeper(inputs: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Four blocks of two biased 3×3 convolutions, each with BatchNorm: (N, h, w, 3) → (N, h/8, w/8, 128).

    With dense layers of 128, 16 and 8 behind global pooling: 313,192 trainable parameters.

    Raises:
        ArtifactError: the weights file is missing, not HDF5, or of another architecture.
    """
    x = inputs
    for block, channels in enumerate(_DEEPER, start=1):
        if block > 1:
            x = keras.layers.MaxPooling2D(name=f"shrink{block}")(x)
        for half in "ab":
            x = _conv(channels, f"conv{block}{half}")(x)
            x = keras.layers.BatchNormalization(epsilon=1e-5, name=f"bn{block}{half}")(x)
            x = keras.layers.ReLU(name=f"relu{block}{half}")(x)
    return _filled(x, config)


def _conv(channels: int, name: str) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        channels, 3, padding="same", kernel_initializer="he_normal", name=name
    )


def _filled(features: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    if config.weights != "none":
        load_own(features, config.weights, config.name)
    return features
