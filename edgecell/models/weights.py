"""Weights to start from: by name from Keras' public store (cached), a file, or a trained run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pooch
import requests
import tf_keras as keras

from edgecell.errors import ArtifactError, DataError
from edgecell.keras_file import first_line, load_keras

CACHE = Path("~/.keras/models")
"""Where Keras itself keeps downloaded weights; shared with it, so that nothing is fetched twice."""


def published(url: str) -> str:
    """The local path of a published weights file, downloaded on first use.

    Raises:
        DataError: neither cached nor downloadable.
    """
    name = url.rsplit("/", 1)[1]
    try:
        found: str = pooch.retrieve(url, known_hash=None, fname=name, path=CACHE.expanduser())
    except (OSError, ValueError, requests.RequestException) as error:
        raise DataError(
            f"ImageNet weights '{name}' are not in {CACHE} and cannot be downloaded"
            f" ({type(error).__name__}); put the file there, give it with --weights PATH, or train"
            " from nothing with --weights none"
        ) from error
    return found


def load_backbone(model: keras.Model, path: str, what: str) -> None:
    """Load a '…_no_top.h5' file into ``model``, layer by layer in order.

    Raises:
        ArtifactError: the file is missing, not HDF5, or does not fit ``what``.
    """
    with opened(path):
        pass
    try:
        model.load_weights(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, KeyError) as error:
        raise ArtifactError(
            f"{path} does not fit {what} without its top ({first_line(error)}); give the weights"
            " of the same network, saved without its last layers (Keras' own: '…_no_top.h5')"
        ) from error


def load_own(features: keras.KerasTensor, path: str, what: str) -> None:
    """Load an .h5 file into the layers between the model's input and ``features``, in order.

    Such a file is what ``save_weights`` of ``keras.Model(model.input, features)`` writes.

    Raises:
        ArtifactError: as :func:`load_backbone`.
    """
    load_backbone(keras.Model(keras.utils.get_source_inputs(features), features), path, what)


@contextmanager
def opened(path: str) -> Iterator[h5py.File]:
    """The .h5 file at ``path``, open for reading.

    Raises:
        ArtifactError: missing, not HDF5, or damaged.
    """
    if not Path(path).is_file():
        raise ArtifactError(
            f"no weights file at {path}; give an existing one, a trained run, --weights imagenet or"
            " --weights none"
        )
    if not h5py.is_hdf5(path):
        raise ArtifactError(f"{path} is not an HDF5 weights file; give Keras' '…_no_top.h5'")
    try:
        file = h5py.File(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _unreadable(path: str, error: OSError) -> ArtifactError:
    return ArtifactError(f"cannot read the weights {path}: {first_line(error)}")


@dataclass(frozen=True)
class Normalization:
    """What a network expects of a pixel u of 0…255: ``(u / 255 − mean) / deviation`` by channel."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def fold_into(
        self, convolution: keras.layers.Conv2D, norm: keras.layers.BatchNormalization
    ) -> None:
        """Change a first convolution without bias, and its BatchNorm, to take ``(u − 128) / 128``.

        With x = (u − 128) / 128 the normalized pixel is a x + b. The kernel takes the factors a; what
        b adds to each output is taken off BatchNorm's moving mean. Exact wherever the kernel lies on
        the image; zeros that are padded mean grey 128 then instead of the normalization's zero.
        """
        deviation = np.asarray(self.deviation, np.float64)
        factor = 128 / 255 / deviation
        rest = (128 / 255 - np.asarray(self.mean, np.float64)) / deviation
        kernel = convolution.get_weights()[0].astype(np.float64)
        convolution.set_weights([kernel * factor[:, None]])
        gamma, beta, mean, variance = norm.get_weights()
        norm.set_weights([gamma, beta, mean - np.einsum("hwio,i->o", kernel, rest), variance])


def trained_file(weights: str) -> Path | None:
    """The Keras model that ``weights`` names, a run's or a .keras file; None where it is no such path."""
    path = Path(weights)
    if path.suffix == ".keras":
        return path
    return path / "train" / "model.keras" if path.is_dir() else None


def copy_trained(model: keras.Model, path: Path) -> None:
    """Start ``model`` from a trained model of the same network, at any input size.

    The last layer is taken over where it has the same number of classes.

    Raises:
        ArtifactError: no such model, or one of another network.
    """
    donor = load_keras(path)
    own, given = ([la for la in each.layers if la.weights] for each in (model, donor))
    fits = len(own) == len(given) and all(
        _shapes(mine) == _shapes(its) for mine, its in zip(own[:-1], given[:-1], strict=True)
    )
    if not fits:
        raise ArtifactError(
            f"{path} holds '{donor.name}' with {donor.count_params():,} parameters, which is not the"
            f" network to be trained ('{model.name}', {model.count_params():,}); give a run of the same"
            " --model and --alpha"
        )
    for mine, its in zip(own, given, strict=True):
        if _shapes(mine) == _shapes(its):
            mine.set_weights(its.get_weights())


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
