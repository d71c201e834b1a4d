"""Keras model in, .tflite bytes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from converters.lowering import calibrate, lower, quantize_int8, quantize_int16x8
from edgecell.anatomy import decides_labels
from edgecell.errors import ArtifactError, ConvertError
from edgecell.keras_file import first_line, load_keras
from edgecell.runtime import TFLitePredictor

Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
InputType = Literal["uint8", "int8", "float32", "int16"]

PRECISIONS: tuple[str, ...] = get_args(Precision)
INPUT_TYPES: dict[str, tuple[str, ...]] = {
    "float32": ("float32",),
    "float16": ("float32",),
    "dynamic": ("float32",),
    "int8": ("uint8", "int8", "float32"),
    "int16x8": ("float32", "int16"),
    "mixed": ("uint8", "int8", "float32"),
}
"""Precision → the element types its input can have, the default first.

mixed is int8 with some layers in float; it is made by leaving layers out, not by :func:`convert`.
"""


def input_type_for(precision: str, wanted: str | None = None) -> str:
    """The element type of a file's input: ``wanted`` where the precision knows it as a choice.

    int8 is the precision with a real choice; precisions that have no such input keep their default,
    so that one ``--input-type`` serves a command that writes several files.

    Raises:
        ConvertError: unknown precision, or a wanted type that int8 does not have.
    """
    if precision not in INPUT_TYPES:
        raise ConvertError(f"unknown precision '{precision}'; allowed: {', '.join(PRECISIONS)}")
    allowed = INPUT_TYPES[precision]
    if wanted is None or wanted in allowed:
        return wanted or allowed[0]
    if precision == "int8":
        raise ConvertError(f"an int8 file has no {wanted} input; allowed: {', '.join(allowed)}")
    return allowed[0]


def convert(
    model: keras.Model,
    precision: str,
    *,
    calibration: NDArray[np.uint8] | None = None,
    input_type: str | None = None,
) -> bytes:
    """Convert a classifier to a .tflite file of batch 1.

    float32, float16 and dynamic keep the pixel scaling in the graph: float32 input of 0..255.
    int8 and int16x8 take it out: quantized pixels, or with ``input_type`` "float32" scaled ones,
    (u - 128) / 128. Output: probabilities in the input's type.

    Args:
        model: rank-4 RGB input, probabilities out; see :func:`check_reference`.
        precision: one of :data:`PRECISIONS`.
        calibration: uint8 (N, H, W, 3) at the model's size, needed by int8 and int16x8.
        input_type: see :func:`input_type_for`.

    Raises:
        ConvertError: unknown precision or type, no or unfit calibration images, or a graph that
            cannot be converted.
    """
    if precision not in PRECISIONS:
        raise ConvertError(f"unknown precision '{precision}'; allowed: {', '.join(PRECISIONS)}")
    input_type = input_type_for(precision, input_type)
    if precision not in ("int8", "int16x8"):
        return _runnable(lower(model, precision), precision)
    if calibration is None or len(calibration) == 0:
        raise ConvertError(
            f"{precision} needs calibration images from the train split and got none;"
            " name the data with --data"
        )
    size = tuple(model.input_shape[1:])
    if calibration.dtype != np.uint8 or calibration.shape[1:] != size:
        raise ConvertError(
            f"calibration images are {calibration.dtype} {calibration.shape[1:]};"
            f" allowed: uint8 {size}"
        )
    calibrated, _ = calibrate(model, calibration)
    quantize = quantize_int8 if precision == "int8" else quantize_int16x8
    return _runnable(quantize(calibrated, input_type), precision)


def _runnable(data: bytes, precision: str) -> bytes:
    """A quantizer can write a file that no interpreter takes (dead activations in int16x8)."""
    try:
        TFLitePredictor(data, name=f"the {precision} file")
    except ArtifactError as error:
        raise ConvertError(f"conversion gave a file that cannot be used: {error}") from error
    return data


def load_reference(path: Path) -> keras.Model:
    """The Keras model at ``path``: ``.keras``, ``.h5`` or a SavedModel folder, fit for conversion.

    Raises:
        ArtifactError: it cannot be loaded. ConvertError: it is no RGB classifier.
    """
    model = load_keras(path)
    check_reference(model, path.name)
    return model


def check_reference(model: keras.Model, name: str) -> None:
    """Refuse what is not one RGB image of fixed size in, one row of probabilities out.

    Probabilities are told by running two images: rows of a softmax sum to 1. A sigmoid's, one for
    each of several labels, need not, and are told by the last layer: numbers in 0..1 may be anything.

    Raises:
        ConvertError: other shapes, or outputs that are no probabilities.
    """
    shape: Any = getattr(model, "input_shape", None)
    out: Any = getattr(model, "output_shape", None)
    if not _single(shape, 4) or shape[3] != 3 or None in shape[1:]:
        raise ConvertError(
            f"{name} has input {shape}; allowed: one RGB image of fixed size, (None, H, W, 3)"
        )
    if not _single(out, 2) or out[1] is None or out[1] < 2:
        raise ConvertError(
            f"{name} has output {out}; allowed: one row of at least 2 probabilities, (None, C)"
        )
    probe = np.stack([np.full(shape[1:], 96.0), np.full(shape[1:], 160.0)]).astype(np.float32)
    try:
        rows = np.asarray(model(probe, training=False), np.float64)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConvertError(f"{name} cannot be run ({first_line(error)})") from error
    within = np.isfinite(rows).all() and rows.min() >= 0
    if decides_labels(model) and within and rows.max() <= 1:
        return
    # float16 sums of C terms are off by up to C * 2^-11; a logit row is off by far more.
    tolerance = 1e-3 + out[1] * 2.0**-11
    off = float(np.abs(rows.sum(axis=1) - 1).max())
    if not within or off > tolerance:
        raise ConvertError(
            f"{name} does not give probabilities (values {rows.min():.3g} to {rows.max():.3g},"
            f" sum off 1 by {off:.3g}); end it with a softmax layer, or a sigmoid layer where an image"
            " can have several labels"
        )


def _single(shape: Any, rank: int) -> bool:
    return isinstance(shape, tuple) and len(shape) == rank and not isinstance(shape[0], tuple)
