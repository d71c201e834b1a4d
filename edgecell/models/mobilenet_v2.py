"""MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks")."""

from __future__ import annotations

import h5py
import tf_keras as keras

from edgecell.config import ModelConfig
from edgecell.errors import ArtifactError, ConfigError, DataError

# The sizes for which Keras publishes ImageNet weights; other sizes use those of 224, as Keras does.
_PUBLISHED = "https://keras.io/api/applications/mobilenet/"


def backbone(inputs: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Features (N, h/32, w/32, C) of scaled images (N, h, w, 3) in [−1, 1].

    The layers are added to the graph of ``inputs`` one by one, not as a nested model: TFMOT
    quantizes flat models only.

    Raises:
        ArtifactError: the weights file is missing, not HDF5, or of another architecture.
        DataError: weights by name that are neither cached nor downloadable.
    """
    by_path = config.weights not in ("imagenet", "none")
    try:
        # Keras warns where no weights exist for the very input size, and takes those of 224.
        model = keras.applications.MobileNetV2(
            input_tensor=inputs,
            alpha=config.alpha,
            include_top=False,
            weights="imagenet" if config.weights == "imagenet" else None,
        )
    except (OSError, ConnectionError) as error:
        raise DataError(
            f"ImageNet weights of MobileNetV2 alpha {config.alpha} are not cached and cannot be"
            f" downloaded ({_first_line(error)}); give a file with --weights PATH ({_PUBLISHED}) or"
            " --weights none"
        ) from error
    if by_path:
        _load(model, config)
    return model.output


def _load(model: keras.Model, config: ModelConfig) -> None:
    try:
        if not h5py.is_hdf5(config.weights):
            with open(config.weights, "rb"):  # missing or unreadable files raise their own reason
                pass
            raise ArtifactError(f"{config.weights} is not an HDF5 weights file; give Keras' '…_no_top.h5'")
        model.load_weights(config.weights)
    except OSError as error:
        raise ArtifactError(
            f"cannot read the weights {config.weights}: {error.strerror or _first_line(error)};"
            " give an existing file with --weights, or --weights none"
        ) from error
    except (ValueError, KeyError) as error:
        raise ArtifactError(
            f"{config.weights} does not fit MobileNetV2 with alpha {config.alpha} without its top:"
            f" {_first_line(error)}; give the file of the same alpha, its name ends in '_no_top.h5'"
        ) from error


def check(config: ModelConfig) -> None:
    """Refuse what the architecture cannot take: an input that five halvings leave nothing of."""
    if config.image_size < 32:
        raise ConfigError(f"model.image_size is {config.image_size}; MobileNetV2 needs at least 32")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:160]
