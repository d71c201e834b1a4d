"""MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks")."""

from __future__ import annotations

import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.models.weights import load_backbone, published

# Keras publishes ImageNet weights for these input sides; any other side takes those of 224.
_SIDES = (96, 128, 160, 192, 224)
_FILES = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{side}_no_top.h5"
)


def backbone(inputs: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Features (N, h/32, w/32, C) of scaled images (N, h, w, 3) in [−1, 1].

    The layers are added to the graph of ``inputs`` one by one, not as a nested model: TFMOT
    quantizes flat models only.

    Raises:
        ArtifactError: the weights file is missing, not HDF5, or of another architecture.
        DataError: weights by name that are neither cached nor downloadable.
    """
    model = keras.applications.MobileNetV2(
        input_tensor=inputs, alpha=config.alpha, include_top=False, weights=None
    )
    if config.weights == "imagenet":
        side = config.image_size if config.image_size in _SIDES else 224
        url = _FILES.format(alpha=config.alpha if config.alpha != 1.0 else "1.0", side=side)
        load_backbone(model, published(url), f"MobileNetV2 with alpha {config.alpha}")
    elif config.weights != "none":
        load_backbone(model, config.weights, f"MobileNetV2 with alpha {config.alpha}")
    return model.output
