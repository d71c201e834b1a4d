"""The way from an image file to the model's input, as JSON that another program can follow."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import ConvertError
from edgecell.pixels import pixel_scaling
from edgecell.preprocess import MAX_PIXELS, PreprocessSpec


class TakesPixels(Protocol):
    """What is asked of a predictor here: how its input encodes numbers, and what pixels become in it."""

    name: str
    input_dtype: np.dtype[Any]
    input_scale: float
    input_zero_point: int

    def entry(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """The input tensor's numbers for ``pixels``, the same shape."""
        ...


def describe(spec: PreprocessSpec) -> dict[str, Any]:
    """``preprocessing`` of model.json; what each key means to the byte is in docs/bundle-format.md.

    ``fit.central_fraction`` is there only where it cuts: see :func:`format_version`.
    """
    fit: dict[str, Any] = {"mode": spec.fit}
    if spec.central_fraction != 1.0:
        fit["central_fraction"] = spec.central_fraction
    return {
        "decode": {
            "frame": "first",
            "exif_orientation": "apply",
            "max_pixels": MAX_PIXELS,
            "grey": "repeat",
            "grey16_divide": 257,
            "colour16_divide": 256,
            "alpha_over": [0, 0, 0],
            "alpha_formula": "(colour * alpha + 127) // 255",
            "palette": "expand",
            "cmyk_formula": "k - round(ink * k / 255), k = 255 - black",
        },
        "fit": fit,
        "resize": {
            "height": spec.height,
            "width": spec.width,
            "kernel": "triangle",
            "antialias": True,
            "centres": "half-pixel",
            "passes": ["horizontal", "vertical"],
            "weight_bits": 22,
            "rounding": "half up",
            "between_passes": "uint8",
        },
    }


def format_version(spec: PreprocessSpec) -> int:
    """The first version of the bundle's format that can say ``spec``: whoever knows less must refuse it."""
    return 1 if spec.central_fraction == 1.0 else 2


def pixel_encoding(predictor: TakesPixels) -> tuple[float, float]:
    """(multiply, add): the input tensor's number for a pixel is ``u * multiply + add``.

    In double precision; an integer tensor holds the nearest whole number to that, of two the even one.

    Raises:
        ConvertError: the numbers are not of that form, so that no short rule gives another program the
            same bytes.
    """
    levels = np.arange(256, dtype=np.uint8)
    values = predictor.entry(levels).astype(np.float64)
    rules = [(float(values[1] - values[0]), float(values[0]))]
    integer = predictor.input_dtype.kind in "iu"
    if integer:
        step, offset = pixel_scaling(
            predictor.input_dtype, predictor.input_scale, predictor.input_zero_point
        )
        scale = predictor.input_scale
        rules.append((step / scale, offset / scale + predictor.input_zero_point))
    for multiply, add in rules:
        exact = levels * multiply + add
        if np.array_equal(np.rint(exact) if integer else exact, values):
            return multiply, add
    raise ConvertError(
        f"{predictor.name} has an input that no rule of two numbers fills (pixels 0, 1, 2 … 255 become"
        f" {values[0]:g}, {values[1]:g}, {values[2]:g} … {values[255]:g}); a bundle takes files in which a"
        " pixel is its own quantized value: make one with 'edgecell quantize'"
    )
