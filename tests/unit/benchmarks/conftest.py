from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """Five precisions of one small untrained classifier: (1, 32, 32, 3) -> 3 classes."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    # 48 channels: the converter leaves layers with fewer than 1,024 weights out of dynamic range
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 128, offset=-1),
            layers.Conv2D(48, 3, 2, activation="relu6"),
            layers.Conv2D(32, 1, activation="relu6"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(0)
    ops, optimize = tf.lite.OpsSet, [tf.lite.Optimize.DEFAULT]

    def calibration():
        for _ in range(10):
            yield [rng.integers(0, 256, (1, 32, 32, 3)).astype(np.float32)]

    variants = {
        "float32": {},
        "float16": {"optimizations": optimize, "types": [tf.float16]},
        "dynamic": {"optimizations": optimize},
        "int8": {"optimizations": optimize, "ops": [ops.TFLITE_BUILTINS_INT8]},
        "int16x8": {
            "optimizations": optimize,
            "ops": [ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8],
        },
    }
    folder = tmp_path_factory.mktemp("tiny")
    paths = {}
    for precision, wanted in variants.items():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = wanted.get("optimizations", [])
        if "types" in wanted:
            converter.target_spec.supported_types = wanted["types"]
        if "ops" in wanted:
            converter.target_spec.supported_ops = wanted["ops"]
            converter.representative_dataset = calibration
        if precision == "int8":
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        # the name lies on purpose: precision is read from the file
        paths[precision] = folder / f"{chr(ord('a') + len(paths))}_int8.tflite"
        paths[precision].write_bytes(converter.convert())
    return paths


@pytest.fixture()
def test_set():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), rng.integers(0, 3, 40)
