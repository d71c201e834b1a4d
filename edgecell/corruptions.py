"""What a phone's camera adds to an image, at five strengths.

After Hendrycks & Dietterich (2019), "Benchmarking neural network robustness to common corruptions
and perturbations", with white balance added. Strength 1 is hardly seen, 5 is plain to see. Applied
to what the model gets, uint8 images after resizing, so that a strength means the same for a source
of any size.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edgecell.errors import ConfigError

STRENGTHS = (1, 2, 3, 4, 5)

Pixels = NDArray[np.uint8]

# Gaussian blur: standard deviation as a share of the side (CIFAR-10-C's, of 32 pixels).
_BLUR = (0.4 / 32, 0.6 / 32, 0.7 / 32, 0.8 / 32, 1.0 / 32)
# JPEG quality: from CIFAR-10-C's mildest to ImageNet-C's harshest.
_JPEG = (80, 50, 25, 15, 7)
# Added to the value of HSV, 0..1 (CIFAR-10-C), or taken from it.
_LIGHT = (0.05, 0.1, 0.15, 0.2, 0.3)
# Red up and blue down by this share of linear light (warm), or the other way round (cool).
_BALANCE = (0.05, 0.1, 0.15, 0.2, 0.3)
# Standard deviation of Gaussian noise, of 1 (CIFAR-10-C ends at 0.1 too).
_NOISE = (0.02, 0.04, 0.06, 0.08, 0.1)


def corrupt(images: Pixels, name: str, strength: int, seed: int = 0) -> Pixels:
    """``images`` uint8 (N, H, W, 3) with one corruption; a new array of the same shape.

    The noise of image i is a function of (seed, strength, i); nothing else is random.

    Raises:
        ConfigError: an unknown corruption or strength.
    """
    if name not in CORRUPTIONS or strength not in STRENGTHS:
        raise ConfigError(
            f"no corruption '{name}' of strength {strength}; allowed: {', '.join(CORRUPTIONS)},"
            f" strengths {STRENGTHS[0]} to {STRENGTHS[-1]}"
        )
    change = CORRUPTIONS[name]
    out = np.empty_like(images)
    for i, image in enumerate(images):
        out[i] = change(image, strength - 1, np.random.default_rng([seed, strength, i]))
    return out


def _blur(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    sigma = _BLUR[level] * min(image.shape[:2])
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _jpeg(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=_JPEG[level])
    return np.asarray(Image.open(stream))


def _bright(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    return _lit(image, _LIGHT[level])


def _dark(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    return _lit(image, -_LIGHT[level])


def _lit(image: Pixels, change: float) -> Pixels:
    """The largest channel moves by ``change``, hue and saturation stay; black becomes grey."""
    value = image.max(axis=2, keepdims=True).astype(np.float32)
    wanted = (value + 255 * change).clip(0, 255)
    scaled = image * (wanted / np.maximum(value, 1))
    return _rounded(np.where(value == 0, wanted, scaled))


def _warm(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    return _balanced(image, 1 + _BALANCE[level], 1 - _BALANCE[level])


def _cool(image: Pixels, level: int, _: np.random.Generator) -> Pixels:
    return _balanced(image, 1 - _BALANCE[level], 1 + _BALANCE[level])


def _balanced(image: Pixels, red: float, blue: float) -> Pixels:
    """Gains of linear light, as a camera's white balance applies them (sRGB, IEC 61966-2-1)."""
    shade = np.arange(256) / 255
    linear = np.where(shade <= 0.04045, shade / 12.92, ((shade + 0.055) / 1.055) ** 2.4)
    out = image.copy()
    for channel, gain in ((0, red), (2, blue)):
        light = (linear * gain).clip(0, 1)
        back = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        out[..., channel] = _rounded(255 * back)[image[..., channel]]
    return out


def _noise(image: Pixels, level: int, random: np.random.Generator) -> Pixels:
    noise = random.standard_normal(image.shape, np.float32)
    return _rounded(image + 255 * _NOISE[level] * noise)


def _rounded(values: NDArray) -> Pixels:
    return np.rint(values).clip(0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "blur": _blur,
    "jpeg": _jpeg,
    "bright": _bright,
    "dark": _dark,
    "warm": _warm,
    "cool": _cool,
    "noise": _noise,
}
