"""ResNet-18 (He et al. 2016, "Deep Residual Learning for Image Recognition") for small images.

The stem is one 3×3 convolution of stride 1 without max-pooling, so that 28 pixels reach the four
stages as 28, 14, 7 and 4. Everything behind it is the network of the paper, and of torchvision.
"""

from __future__ import annotations

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from edgecell.config import ModelConfig
from edgecell.errors import ArtifactError
from edgecell.models.weights import Normalization, load_own, opened

_CHANNELS = (64, 128, 256, 512)
# torchvision's preprocessing: (u / 255 − mean) / deviation, channel by channel.
_TORCHVISION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_EPSILON = 1e-5


def backbone(inputs: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Features (N, h/8, w/8, 512) of scaled images (N, h, w, 3) in [−1, 1].

    ``config.weights`` may be an .h5 file of Keras' layout, the layers of this backbone in order, or
    one with the names of torchvision's ``state_dict`` (see :func:`load_torchvision`).

    Raises:
        ArtifactError: the weights file is missing, not HDF5, or of another architecture.
    """
    x = _conv(64, 3, 1, "stem_conv")(inputs)
    x = keras.layers.ReLU(name="stem_relu")(_norm("stem_bn")(x))
    for stage, channels in enumerate(_CHANNELS, start=1):
        for block in (1, 2):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _residual(x, channels, stride, f"stage{stage}_block{block}")
    if config.weights != "none":
        if _is_torchvision(config.weights):
            load_torchvision(keras.Model(keras.utils.get_source_inputs(x), x), config.weights)
        else:
            load_own(x, config.weights, "ResNet-18 with a 3×3 stem")
    return x


def _residual(entry: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    x = entry
    if stride == 2:
        # 'same' would pad an even side on one end only: the window would then not lie around the
        # pixel that the shortcut takes.
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = _conv(channels, 3, stride, f"{name}_conv1")(x)
    x = keras.layers.ReLU(name=f"{name}_relu1")(_norm(f"{name}_bn1")(x))
    x = _norm(f"{name}_bn2")(_conv(channels, 3, 1, f"{name}_conv2")(x))
    shortcut = entry
    if stride == 2:
        shortcut = _conv(channels, 1, 2, f"{name}_shortcut_conv")(entry)
        shortcut = _norm(f"{name}_shortcut_bn")(shortcut)
    summed = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu2")(summed)


def _conv(channels: int, side: int, stride: int, name: str) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        channels,
        side,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )


def _norm(name: str) -> keras.layers.BatchNormalization:
    return keras.layers.BatchNormalization(epsilon=_EPSILON, name=name)


def _is_torchvision(path: str) -> bool:
    with opened(path) as file:
        return "conv1.weight" in file


def load_torchvision(model: keras.Model, path: str) -> None:
    """Fill ``model`` from an .h5 file that holds torchvision's resnet18, one array for each name.

    Made where torch is at hand: ``for name, value in state_dict.items(): file[name] = value.numpy()``.
    The 7×7 stem is shrunk to 3×3 bicubically and scaled by 49/9, so that an even surface gets the
    answer it got before; what torchvision does to pixels first is folded into the stem. The classifier
    is left out.

    Raises:
        ArtifactError: an array is missing or has another shape.
    """
    with opened(path) as file:
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(_values(layer, file, path))
    _TORCHVISION.fold_into(model.get_layer("stem_conv"), model.get_layer("stem_bn"))


def _values(layer: keras.layers.Layer, file: h5py.File, path: str) -> list[NDArray[np.float32]]:
    """The values of ``layer.weights``, in that order and in Keras' axes."""
    values = []
    for name, weight in zip(_torch_names(layer.name), layer.weights, strict=True):
        if not isinstance(file.get(name), h5py.Dataset):
            raise ArtifactError(
                f"{path} has no array '{name}'; it must hold all of torchvision's resnet18"
            )
        stored = value = np.asarray(file[name], np.float32)
        if value.ndim == 4:
            value = np.transpose(value, (2, 3, 1, 0))
            if layer.name == "stem_conv" and value.shape[:2] == (7, 7):
                value = _shrunk(value)
        if value.shape != tuple(weight.shape):
            raise ArtifactError(f"{path}: '{name}' is {stored.shape}, which is not resnet18's")
        values.append(value)
    return values


def _torch_names(name: str) -> list[str]:
    """'stage2_block1_bn2' → ['layer2.0.bn2.weight', '….bias', '….running_mean', '….running_var']."""
    place, kind = "", name.removeprefix("stem_") + "1"
    if name.startswith("stage"):
        stage, block, kind = name.split("_", 2)
        place = f"layer{stage[5:]}.{int(block[5:]) - 1}."
        kind = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}.get(kind, kind)
    parts = ["weight", "bias", "running_mean", "running_var"] if "bn" in name else ["weight"]
    return [f"{place}{kind}.{part}" for part in parts]


def _shrunk(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """(7, 7, I, O) → (3, 3, I, O)."""
    as_images = np.transpose(kernel, (3, 0, 1, 2))
    small = tf.image.resize(as_images, (3, 3), method="bicubic", antialias=True).numpy()
    shrunk: NDArray[np.float32] = np.transpose(small, (1, 2, 3, 0)) * np.float32(49 / 9)
    return shrunk
