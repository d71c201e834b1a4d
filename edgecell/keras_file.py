"""Opening Keras models that somebody else may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.errors import ArtifactError


def load_keras(path: Path) -> Any:
    """The tf_keras model in a ``.keras`` or ``.h5`` file or a SavedModel folder, not compiled.

    Code stored in the file (Lambda layers) is never run, also not from ``.h5``; see keras_check.

    Raises:
        ArtifactError: missing, damaged, not a Keras model, or one that needs code of its own.
    """
    if not path.exists():
        raise ArtifactError(f"no model at {path}; make one with 'edgecell train'")
    if not path.is_dir():
        look_at(path)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise ArtifactError(f"{path} is a folder without saved_model.pb, so not a SavedModel")
    import tensorflow as tf
    import tf_keras as keras
    from tf_keras.src.saving.serialization_lib import SafeModeScope

    from edgecell.keras_check import DAMAGE

    try:
        with SafeModeScope(True):
            model = keras.models.load_model(path, compile=False)
    except (*DAMAGE, ImportError, AssertionError, RecursionError, tf.errors.OpError) as error:
        raise _unloadable(path, error) from error
    if not isinstance(model, keras.Model):
        raise ArtifactError(f"{path} is a SavedModel, but not one written by Keras' model.save")
    return model


def look_at(path: Path) -> None:
    """Look at a ``.keras`` or ``.h5`` file before Keras does.

    Raises:
        ArtifactError: damaged, or one that Keras must not be given.
    """
    from edgecell.keras_check import DAMAGE, RefusedError, check  # a board has no h5py

    try:
        check(path)
    except RefusedError as error:
        raise ArtifactError(
            f"{path} is not loaded: {error}; allowed: models of Keras' own layers, saved by tf_keras as"
            " .keras or .h5, without Lambda layers and classes of their own"
        ) from error
    except DAMAGE as error:
        raise _unloadable(path, error) from error


def _unloadable(path: Path, error: BaseException) -> ArtifactError:
    return ArtifactError(
        f"{path} is not a Keras model that can be loaded ({first_line(error)});"
        " allowed: .keras, .h5 or SavedModel written by tf_keras, without Lambda layers"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut to what fits into a one-line message."""
    text = str(error).strip().splitlines()
    line = text[0].strip() if text else type(error).__name__
    return line if len(line) <= 160 else line[:157] + "…"
