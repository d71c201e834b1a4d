"""What TensorFlow computes on, set once before the first operation."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import tensorflow as tf
import tf_keras as keras


def configure(seed: int, deterministic: bool) -> dict[str, Any]:
    """Seed everything, let GPU memory grow, choose mixed precision on a GPU; facts for the record.

    Mixed float16 follows https://www.tensorflow.org/guide/mixed_precision: float16 computation,
    float32 variables, only where a GPU is present (on a CPU float16 is emulated and slow).
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # Refused once the process has used its GPU; growth was set at the first call then. Asking
        # for logical devices to find out would itself use the GPU.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    keras.mixed_precision.set_global_policy("mixed_float16" if gpus else "float32")
    # Random layers draw from generators with a state of their own, which training sets anew
    # each epoch: a resumed run then repeats the draws of an uninterrupted one.
    keras.backend.experimental.enable_tf_random_generator()
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return {
        "device": "GPU" if gpus else "CPU",
        "gpus": [
            tf.config.experimental.get_device_details(g).get("device_name", "GPU") for g in gpus
        ],
        "precision_policy": keras.mixed_precision.global_policy().name,
        "deterministic": deterministic,
    }


def reseed_random_layers(model: keras.Model, seed: int) -> None:
    """Put the generator of every dropout layer into the state that ``seed`` names."""
    for position, layer in enumerate(model.layers):
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            generator.reset_from_seed(seed * 1_009 + position)
