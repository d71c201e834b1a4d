"""Images with several labels at once: coloured blobs, each of which is a label; learnt in seconds."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgecell.tasks import MULTI_LABEL

SIZE = 16
LABELS = ("red blob", "green blob", "blue blob", "white frame")
RATES = (0.5, 0.35, 0.25, 0.12)


def images(count: int, seed: int, side: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, side, side, 3) and int64 labels (count, 4), 0 or 1; some images have none.

    Blobs are faint and the ground is noisy: no label is told apart on every image.
    """
    random = np.random.default_rng(seed)
    labels = (random.random((count, len(LABELS))) < RATES).astype(np.int64)
    found = random.normal(90, 25, (count, side, side, 3))
    rows, columns = np.mgrid[:side, :side]
    for image, row in zip(found, labels, strict=True):
        for channel in np.flatnonzero(row[:3]):
            centre = random.integers(side // 4, 3 * side // 4 + 1, 2)
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (side / 5) ** 2
            image[disc, channel] += random.uniform(0, 50)
        if row[3]:
            image[[0, -1]] += 12
            image[:, [0, -1]] += 12
    return found.clip(0, 255).astype(np.uint8), labels


def arrays(counts: dict[str, int], side: int = SIZE) -> dict[str, np.ndarray]:
    """A MedMNIST-like file's content; ``counts`` by split."""
    content: dict[str, np.ndarray] = {"class_names": np.array(LABELS)}
    for seed, (split, count) in enumerate(counts.items()):
        pixels, labels = images(count, seed, side)
        content |= {f"{split}_images": pixels, f"{split}_labels": labels.astype(np.uint8)}
    return content


def model(activation: str | None = "sigmoid"):  # type: ignore[no-untyped-def]
    """An untrained CNN as edgecell builds its own."""
    import tf_keras as keras

    keras.backend.experimental.enable_tf_random_generator()  # as in toys
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-1.0, name="input_scaling")(x)
    for filters in (12, 16):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.7)(x)
        x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    x = keras.layers.Dense(len(LABELS), activation=activation, name="probabilities")(x)
    return keras.Model(inputs, x, name="blobs")


@cache
def trained():  # type: ignore[no-untyped-def]
    """:func:`model` after a training of a few seconds: mean AUC about 0.9 on :func:`images`."""
    import tf_keras as keras

    toy = model()
    x, y = images(400, seed=1)
    toy.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(label_smoothing=0.05))
    toy.fit(x.astype(np.float32), y, batch_size=32, epochs=15, verbose=0, shuffle=False)
    return toy


@cache
def converted(precision: str, input_type: str | None = None) -> bytes:
    """The trained toy as a file, calibrated on 64 of its training images."""
    from converters.tflite import convert

    return convert(trained(), precision, calibration=images(64, seed=1)[0], input_type=input_type)


def dataset(counts: dict[str, int] | None = None):  # type: ignore[no-untyped-def]
    """A Dataset in memory."""
    from edgecell.data.sources import ArraySource
    from edgecell.data.types import Dataset, Split

    splits = {}
    for seed, (name, count) in enumerate((counts or {"train": 120, "val": 60, "test": 60}).items()):
        pixels, labels = images(count, seed)
        splits[name] = Split(name, ArraySource(pixels, name), labels)
    origin = {"kind": "test", "fingerprint": "2" * 64}
    return Dataset("blobs", MULTI_LABEL, LABELS, **splits, origin=origin)
