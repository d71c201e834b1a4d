"""Pretrained backbone weights: by name from Keras' public store (cached), or from a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import pooch
import requests
import tf_keras as keras

from edgecell.errors import ArtifactError, DataError
from edgecell.keras_file import first_line

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
    if not Path(path).is_file():
        raise ArtifactError(f"no weights file at {path}; give an existing one or --weights none")
    if not h5py.is_hdf5(path):
        raise ArtifactError(f"{path} is not an HDF5 weights file; give Keras' '…_no_top.h5'")
    try:
        model.load_weights(path)
    except OSError as error:
        raise ArtifactError(f"cannot read the weights {path}: {first_line(error)}") from error
    except (ValueError, KeyError) as error:
        raise ArtifactError(
            f"{path} does not fit {what} without its top ({first_line(error)}); give the weights"
            " of the same network, their name ends in '_no_top.h5'"
        ) from error
