"""From pixels to the numbers in a model's input tensor, without losing a level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIXELS = np.arange(256)

# The pixel scalings in use: edgecell's own, Keras' MobileNet, 0..1, raw. real = u * step + offset.
_SCALINGS = ((1 / 128, -1.0), (1 / 127.5, -1.0), (1 / 255, 0.0), (1.0, 0.0))

Filler = Callable[[NDArray[Any], NDArray[np.uint8]], None]
"""Writes an image uint8 (H, W, 3) into a view of the input tensor of the same shape."""

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, one number or one for each channel: real = (u - mean) / std."""


def pixel_scaling(dtype: np.dtype[Any], scale: float, zero_point: int) -> tuple[float, float]:
    """The (step, offset) by which ``real = u * step + offset``, told from the range of the input.

    A quantized input covers the reals ``(q - zero_point) * scale``; the scaling known here that
    fills this range best is the one it was calibrated with.

    Raises:
        ValueError: no scale, or a range that is off every known one by more than a quarter.
    """
    if not scale > 0:
        raise ValueError(f"{dtype} input without a scale")
    info = np.iinfo(dtype)
    low, high = (info.min - zero_point) * scale, (info.max - zero_point) * scale

    def misfit(candidate: tuple[float, float]) -> float:
        step, offset = candidate
        bottom, top = offset, 255 * step + offset
        if dtype == np.int16:  # symmetric: it covers the mirrored range as well
            top = max(abs(bottom), abs(top))
            bottom = -top
        return max(abs(low - bottom), abs(high - top)) / (top - bottom)

    best = min(_SCALINGS, key=misfit)
    if misfit(best) > 0.25:
        raise ValueError(
            f"the input covers {low:.4g} to {high:.4g};"
            " known scalings: (u - 128) / 128, u / 127.5 - 1, u / 255, u"
        )
    return best


def pixel_table(dtype: np.dtype[Any], scale: float, zero_point: int) -> NDArray[Any]:
    """What a quantized input holds for each pixel value: 256 entries of ``dtype``.

    Where one grey level is one quantum this is exact integer arithmetic, ``u + constant``. Otherwise
    it rounds to the nearest and clips, never truncates. ValueError as :func:`pixel_scaling`.
    """
    step, offset = pixel_scaling(dtype, scale, zero_point)
    info = np.iinfo(dtype)
    if abs(scale / step - 1) < 1e-4:
        shift = offset / scale + zero_point
        # A range without an exact zero is nudged by up to half a level when it is quantized; the
        # raw bytes still fill the type.
        whole = info.min if abs(shift - info.min) <= 0.501 else round(shift)
        quantized = _PIXELS + whole
    else:
        quantized = np.rint((_PIXELS * step + offset) / scale).astype(np.int64) + zero_point
    return np.clip(quantized, info.min, info.max).astype(dtype)


def raw_filler() -> Filler:
    """Pixels as they are, for uint8 inputs and for float inputs of 0..255."""
    return _copy


def integer_filler(dtype: np.dtype[Any], scale: float, zero_point: int) -> Filler:
    """Pixels through :func:`pixel_table`, by the fastest way that gives the same integers."""
    table = pixel_table(dtype, scale, zero_point)
    if dtype == np.uint8 and np.array_equal(table, _PIXELS):
        return _copy
    if dtype == np.int8 and np.array_equal(table, _PIXELS - 128):
        return _flip_high_bit
    return _through(table)


def scaled_filler(dtype: np.dtype[Any], scale: float, zero_point: int) -> Filler:
    """Scaled pixels as float32, for a float input that the graph quantizes to ``dtype`` itself."""
    step, offset = pixel_scaling(dtype, scale, zero_point)
    factor, shift = np.float32(step), np.float32(offset)

    def fill(target: NDArray[Any], image: NDArray[np.uint8]) -> None:
        np.multiply(image, factor, out=target)
        np.add(target, shift, out=target)

    return fill


def normalized_filler(normalization: Normalization) -> Filler:
    """Pixels as float32 ``(u - mean) / std``, as TFLite Metadata states it."""
    mean, std = (np.array(values, np.float32) for values in normalization)

    def fill(target: NDArray[Any], image: NDArray[np.uint8]) -> None:
        np.subtract(image, mean, out=target)
        np.divide(target, std, out=target)

    return fill


def _copy(target: NDArray[Any], image: NDArray[np.uint8]) -> None:
    target[...] = image


def _flip_high_bit(target: NDArray[Any], image: NDArray[np.uint8]) -> None:
    # u - 128 as int8 has the bits of u with the highest one flipped.
    np.bitwise_xor(image, 128, out=target.view(np.uint8))


def _through(table: NDArray[Any]) -> Filler:
    def fill(target: NDArray[Any], image: NDArray[np.uint8]) -> None:
        # "clip" only because it skips a buffer; a uint8 index is never out of the table.
        np.take(table, image, out=target, mode="clip")

    return fill
