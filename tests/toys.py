"""A flat little CNN and images it can learn in seconds; trained once for all tests of a process.

Four classes that hang on everything a broken pipeline gets wrong: hue (channel order), brightness
on both sides of 128 (sign, scaling) and the order of the classes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import tf_keras as keras

# As edgecell's training does it; switched on here too, so that the toy's initial weights do not hang
# on which test came first.
keras.backend.experimental.enable_tf_random_generator()

SIZE = 16
KINDS = [
    ("float32", None),
    ("float16", None),
    ("int8", "uint8"),
    ("int8", "int8"),
    ("int8", "float32"),
    ("int16x8", "float32"),
    ("int16x8", "int16"),
]
"""Precision and input type of every file that is made."""
CLASSES = ("dark red", "bright red", "dark blue", "bright blue")
_COLOURS = np.array([[110, 50, 50], [230, 150, 150], [50, 50, 110], [150, 150, 230]])


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 16, 16, 3) and int64 labels (count,), the classes in turn."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    noise = random.normal(0, 25, (count, SIZE, SIZE, 3)) + random.normal(0, 8, (count, 1, 1, 3))
    return (_COLOURS[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels


def model(scaling: keras.layers.Layer | None = None, classes: int = 4) -> keras.Model:
    """An untrained CNN as edgecell builds its own; ``scaling`` replaces the first layer.

    Its layers have names, so that no test depends on how many models were built before it.
    """
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = (scaling or keras.layers.Rescaling(1 / 128, offset=-1.0, name="input_scaling"))(x)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv2d")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="batch_normalization")(x)
    x = keras.layers.ReLU(6.0, name="re_lu")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise_conv2d")(x)
    x = keras.layers.BatchNormalization(momentum=0.7, name="batch_normalization_1")(x)
    x = keras.layers.ReLU(6.0, name="re_lu_1")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(inputs, x, name="toy")


def sharing() -> keras.Model:
    """Convolutions only, of which one is run twice in a row: its weights serve two operators."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    again = layers.Conv2D(8, 1, activation="relu", bias_initializer="ones", name="again")
    x = layers.Rescaling(1 / 128, offset=-1.0, name="input_scaling")(inputs)
    x = layers.Conv2D(8, 3, activation="relu", bias_initializer="ones", name="first")(x)
    x = layers.Conv2D(4, 1, bias_initializer="ones", name="last")(again(again(x)))
    x = layers.Softmax(name="probabilities")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, x, name="sharing")


@cache
def trained() -> keras.Model:
    """:func:`model` after a training of a few seconds: near 1.0 on :func:`images`."""
    toy = model()
    x, y = images(256, seed=1)
    # Smoothed labels keep the outputs off 0 and 1, where every pipeline looks the same.
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    toy.compile(keras.optimizers.Adam(0.02), loss)
    toy.fit(x.astype(np.float32), np.eye(4)[y], batch_size=32, epochs=12, verbose=0, shuffle=False)
    return toy


@cache
def converted(precision: str, input_type: str | None = None) -> bytes:
    """The trained toy as a file, calibrated on 64 of its training images."""
    from converters.tflite import convert

    return convert(trained(), precision, calibration=images(64, seed=1)[0], input_type=input_type)
