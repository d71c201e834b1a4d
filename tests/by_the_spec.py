"""Preprocessing written a second time, from docs/bundle-format.md alone: it reads model.json, no edgecell.

Pixels come from Pillow's decoder as they are stored; everything behind that is plain arithmetic.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# EXIF orientation → (transpose, flip rows, flip columns), in this order.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def preprocess(path: Path, model: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decoded pixels, resized pixels, input tensor."""
    rules = model["preprocessing"]
    decoded = decode(path, rules["decode"])
    resized = resize(fit(decoded, rules), rules["resize"])
    return decoded, resized, scale(resized, model["input"])


def decode(path: Path, rules: dict[str, Any]) -> np.ndarray:
    with Image.open(path) as image:
        image.seek(0)
        orientation = image.getexif().get(0x0112, 1)
        pixels = _eight_bit_rgb(image, rules)
    if rules["exif_orientation"] == "apply" and orientation in _TURNS:
        transpose, rows, columns = _TURNS[orientation]
        pixels = pixels.transpose(1, 0, 2) if transpose else pixels
        pixels = pixels[::-1] if rows else pixels
        pixels = pixels[:, ::-1] if columns else pixels
    return np.ascontiguousarray(pixels)


def _eight_bit_rgb(image: Image.Image, rules: dict[str, Any]) -> np.ndarray:
    stored = np.asarray(image)
    alpha = None
    if image.mode.startswith("I"):
        colour = (stored.astype(np.int64) // rules["grey16_divide"])[..., None]
    elif image.mode == "1":
        colour = stored[..., None] * 255
    elif image.mode == "P":
        entries = np.array(image.getpalette(), np.int64).reshape(-1, 3)
        colour = entries[stored]
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            alpha = np.where(stored == transparent, 0, 255)
        elif transparent is not None:
            levels = np.full(256, 255)
            levels[: len(transparent)] = list(transparent)
            alpha = levels[stored]
    elif image.mode == "CMYK":
        key = 255 - stored[..., 3:].astype(np.int64)
        colour = key - _over_255(stored[..., :3].astype(np.int64) * key)
    elif image.mode in ("RGBA", "LA"):
        colour, alpha = stored[..., :-1], stored[..., -1]
    else:
        colour = stored if stored.ndim == 3 else stored[..., None]
    colour = np.broadcast_to(colour, (*colour.shape[:2], 3)).astype(np.int64)
    if alpha is not None:
        assert rules["alpha_over"] == [0, 0, 0]
        colour = (colour * alpha[..., None].astype(np.int64) + 127) // 255
    return colour.astype(np.uint8)


def _over_255(product: np.ndarray) -> np.ndarray:
    return (product + 127) // 255  # the nearest whole number: a product over 255 is never a tie


def fit(image: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    h, w = image.shape[:2]
    high, wide = h, w
    if rules["fit"]["mode"] == "crop":
        height, width = rules["resize"]["height"], rules["resize"]["width"]
        side = min(h / height, w / width)
        high, wide = side * height, side * width
    fraction = rules["fit"].get("central_fraction", 1)
    crop_h = min(h, max(1, _half_even(high * fraction)))
    crop_w = min(w, max(1, _half_even(wide * fraction)))
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    return image[top : top + crop_h, left : left + crop_w]


def _half_even(number: float) -> int:
    low = math.floor(number)
    if number - low == 0.5:
        return low + low % 2
    return math.floor(number + 0.5)


def resize(image: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    for axis in rules["passes"]:
        if axis == "horizontal":
            image = _pass(image, rules["width"], rules)
        else:
            image = _pass(image.transpose(1, 0, 2), rules["height"], rules).transpose(1, 0, 2)
    return image


def _pass(image: np.ndarray, size: int, rules: dict[str, Any]) -> np.ndarray:
    """Along axis 1, in integers."""
    n, bits = image.shape[1], rules["weight_bits"]
    if n == size:
        return image
    step = n / size
    stretch = max(step, 1.0) if rules["antialias"] else 1.0
    out = np.empty((image.shape[0], size, 3), np.uint8)
    for i in range(size):
        centre = (i + 0.5) * step
        first = max(int(centre - stretch + 0.5), 0)
        last = min(int(centre + stretch + 0.5), n)
        shares = [
            max(0.0, 1.0 - abs((first + j - centre + 0.5) * (1.0 / stretch)))
            for j in range(last - first)
        ]
        total = 0.0
        for share in shares:
            total += share
        weights = np.array([int(0.5 + share / total * (1 << bits)) for share in shares], np.int64)
        rows = image[:, first:last].astype(np.int64)
        sums = np.einsum("hjc,j->hc", rows, weights) + (1 << (bits - 1))
        out[:, i] = np.clip(sums >> bits, 0, 255)
    return out


def scale(pixels: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    numbers = [level * entry["multiply"] + entry["add"] for level in range(256)]
    if not entry["dtype"].startswith("float"):
        numbers = [_half_even(number) for number in numbers]
    return np.array(numbers, entry["dtype"])[pixels][None]
