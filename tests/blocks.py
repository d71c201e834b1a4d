"""Small trained networks made of what edgecell's larger ones are made of, and MobileNetV2 is not.

They learn the images of ``toys`` in seconds; what breaks on their graphs breaks on the real ones. Each has a
layer of 1,024 weights or more: the converter leaves smaller ones alone in a dynamic file.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import tf_keras as keras
import toys

keras.backend.experimental.enable_tf_random_generator()


def _plain(x: keras.KerasTensor) -> keras.KerasTensor:
    """As deeper_cnn: biased convolutions with BatchNorm and ReLU, max-pooling between."""
    for stage, channels in enumerate((8, 16), start=1):
        if stage > 1:
            x = keras.layers.MaxPooling2D(name=f"shrink{stage}")(x)
        x = keras.layers.Conv2D(channels, 3, padding="same", name=f"conv{stage}")(x)
        x = keras.layers.BatchNormalization(momentum=0.7, name=f"bn{stage}")(x)
        x = keras.layers.ReLU(name=f"relu{stage}")(x)
    return x


def _residual(x: keras.KerasTensor) -> keras.KerasTensor:
    """As resnet18_28: a padded convolution of stride 2 beside a 1×1 shortcut, ReLU behind the sum."""
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="stem_bn")(x)
    entry = x = keras.layers.ReLU(name="stem_relu")(x)
    x = keras.layers.ZeroPadding2D(1, name="pad")(x)
    x = keras.layers.Conv2D(12, 3, strides=2, use_bias=False, name="conv1")(x)
    x = keras.layers.ReLU(name="relu1")(keras.layers.BatchNormalization(momentum=0.7)(x))
    x = keras.layers.Conv2D(12, 3, padding="same", use_bias=False, name="conv2")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="bn2")(x)
    y = keras.layers.Conv2D(12, 1, strides=2, use_bias=False, name="shortcut_conv")(entry)
    y = keras.layers.BatchNormalization(momentum=0.7, name="shortcut_bn")(y)
    return keras.layers.ReLU(name="relu2")(keras.layers.Add(name="add")([x, y]))


def _excited(x: keras.KerasTensor) -> keras.KerasTensor:
    """As efficientnet_b0: swish, squeeze and excitation, a linear bottleneck with its sum."""
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="stem_bn")(x)
    entry = x = keras.layers.Activation("swish", name="stem_activation")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="dwconv")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="bn")(x)
    x = keras.layers.Activation("swish", name="activation")(x)
    se = keras.layers.GlobalAveragePooling2D(name="se_squeeze")(x)
    se = keras.layers.Reshape((1, 1, 8), name="se_reshape")(se)
    se = keras.layers.Conv2D(4, 1, activation="swish", name="se_reduce")(se)
    se = keras.layers.Conv2D(8, 1, activation="sigmoid", name="se_expand")(se)
    x = keras.layers.Multiply(name="se_excite")([x, se])
    x = keras.layers.Conv2D(8, 1, use_bias=False, name="project_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="project_bn")(x)
    x = keras.layers.Dropout(0.1, noise_shape=(None, 1, 1, 1), name="drop")(x)
    x = keras.layers.Add(name="add")([x, entry])
    x = keras.layers.Conv2D(144, 1, use_bias=False, name="top_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="top_bn")(x)
    return keras.layers.Activation("swish", name="top_activation")(x)


KINDS = {"plain": (_plain, (8, 6)), "residual": (_residual, ()), "excited": (_excited, ())}
"""Name → the backbone, and the widths of hidden dense layers."""


@cache
def trained(kind: str) -> keras.Model:
    """The network of this kind, near 1.0 on :func:`toys.images`."""
    keras.utils.set_random_seed(3)
    backbone, hidden = KINDS[kind]
    inputs = keras.Input((toys.SIZE, toys.SIZE, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-1.0, name="input_scaling")(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(x))
    for position, width in enumerate(hidden, start=1):
        x = keras.layers.Dense(width, activation="relu", name=f"hidden{position}")(x)
    x = keras.layers.Dense(len(toys.CLASSES), activation="softmax", name="probabilities")(x)
    model = keras.Model(inputs, x, name=kind)
    images, labels = toys.images(256, seed=1)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    model.fit(
        images.astype(np.float32),
        np.eye(4)[labels],
        batch_size=32,
        epochs=12,
        verbose=0,
        shuffle=False,
    )
    return model
