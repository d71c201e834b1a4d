"""The one way from an image file to the model's input: decode → RGB → resize → scale.

Training, calibration, evaluation, benchmark and the app all follow this spec, so that a pixel means
the same everywhere. Resizing is Pillow's: bilinear with half-pixel centres, the kernel widened when
shrinking (antialias), horizontal pass first, each pass rounded to uint8, whatever Pillow's version.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import warnings
import zlib
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgecell.config import ModelConfig
from edgecell.errors import ConfigError, DataError
from edgecell.jpeg_scans import excess

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (decompression bombs)."""
MAX_BYTES = 1_000_000_000
"""Larger image files are refused before they are opened."""
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""What is taken for an image: the formats that data sets come in, none that starts a program."""

# What Pillow's readers raise on a damaged file, by experience (tests/fuzz) and beyond.
_CORRUPT = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_BAND = 1 << 20  # pixels that are copied at a time

MIN_SIDE = 2
"""Images with a smaller side are refused: one row of pixels shows nothing that a model could know."""

Fit = Literal["stretch", "crop"]


@dataclass(frozen=True)
class PreprocessSpec:
    """From decoded RGB uint8 of any size to the model's input.

    ``fit`` "stretch" ignores the aspect ratio, "crop" takes the largest centred rectangle of the
    target's aspect ratio first. Of what that leaves, the middle ``central_fraction`` of each side is
    seen, as by ``tf.image.central_crop``. The model sees ``(pixel - offset) / divisor``: with 128 and 128 the
    int8 input has scale 1/128 and zero point 0, so that quantizing the input loses nothing.
    """

    height: int
    width: int
    fit: Fit = "stretch"
    kernel: Literal["bilinear"] = "bilinear"
    offset: float = 128.0
    divisor: float = 128.0
    central_fraction: float = 1.0

    def __post_init__(self) -> None:
        if not (8 <= self.height <= 1024 and 8 <= self.width <= 1024):
            raise ConfigError(
                f"image size {self.height}×{self.width} is out of range; allowed: 8 to 1024"
            )
        if not 0.0 < self.central_fraction <= 1.0:
            raise ConfigError(
                f"central fraction {self.central_fraction:g} is out of range; allowed: above 0, to 1"
            )

    @classmethod
    def of(cls, model: ModelConfig, height: int, width: int) -> PreprocessSpec:
        """What a network of ``model`` sees, at an input of this size."""
        return cls(height, width, model.fit, central_fraction=model.central_fraction)

    def seen(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, rows, columns) of an image of this size that the model sees: all, or a centre."""
        high, wide = float(height), float(width)
        if self.fit == "crop":
            side = min(height / self.height, width / self.width)
            high, wide = side * self.height, side * self.width
        rows = min(height, max(1, round(high * self.central_fraction)))
        columns = min(width, max(1, round(wide * self.central_fraction)))
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def to_json(self) -> dict[str, Any]:
        """The spec as a JSON object."""
        return asdict(self)


def to_rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) → uint8 (h, w, 3).

    Grey is repeated; alpha is laid over black, as the transparent border of a scan is.

    Raises:
        DataError: another dtype or shape.
    """
    if array.dtype != np.uint8:
        raise DataError(f"image has dtype {array.dtype}; allowed: uint8 with values 0 to 255")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise DataError(
            f"image has shape {array.shape}; allowed: (h, w), (h, w, 1), (h, w, 3), (h, w, 4)"
        )
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        return ((array[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def decode_file(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to RGB uint8 (h, w, 3), turned upright by its EXIF orientation.

    16-bit grey is scaled to 8 bits as ``value // 257``, so that 65535 becomes 255, the same for every
    image; 16-bit colour keeps its high byte. Transparency is laid over black. CMYK becomes RGB by
    Pillow's plain formula, without a colour profile. Of an animation or a multi-page file the first
    frame is read.

    Raises:
        DataError: missing, unreadable, corrupt, not an image of FORMATS, or more than MAX_PIXELS
            pixels or MAX_BYTES bytes.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise DataError(f"no image at {path}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path} is not a file")  # a pipe would be waited for without end
    if found.st_size > MAX_BYTES:
        raise DataError(
            f"{path} has {found.st_size:,} bytes; allowed: {MAX_BYTES:,} bytes; shrink it first"
        )
    return _decode(path, str(path), MAX_PIXELS, FORMATS)


def decode_bytes(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS
) -> NDArray[np.uint8]:
    """:func:`decode_file` of an image that is in memory; ``name`` is for messages.

    ``formats``: what Pillow may take it for.

    Raises:
        DataError: corrupt, no image of these formats, or more than ``max_pixels`` pixels.
    """
    return _decode(io.BytesIO(data), name, max_pixels, formats)


def _decode(
    source: Path | io.BytesIO, path: str, max_pixels: int, formats: tuple[str, ...]
) -> NDArray[np.uint8]:
    try:
        with (
            source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream,
            warnings.catch_warnings(),
        ):
            _check_scans(stream, path)
            # Of large images, which are judged below, and of odd tags, which change no pixel.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=formats) as image:
                if image.width * image.height > max_pixels:
                    raise DataError(
                        f"{path} has {image.width}×{image.height} pixels;"
                        f" allowed: {max_pixels:,} pixels; shrink it first"
                    )
                if min(image.width, image.height) < MIN_SIDE:
                    raise DataError(
                        f"{path} has {image.width}×{image.height} pixels; allowed:"
                        f" {MIN_SIDE}×{MIN_SIDE} and more; remove or replace it"
                    )
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _pixels(image)
    except FileNotFoundError as error:
        raise DataError(f"no image at {path}") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not an image that Pillow can read (allowed: {', '.join(FORMATS)});"
            " remove it or convert it"
        ) from error
    except Image.DecompressionBombError as error:
        size = re.search(r"\d+ pixels", str(error))  # the rest is Pillow's own limit
        raise DataError(
            f"{path} is too large ({size[0] if size else 'for Pillow'}); allowed: {max_pixels:,} pixels;"
            " shrink it first"
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{path} takes more memory than there is; shrink, remove or replace it"
        ) from error
    except _CORRUPT as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{path} is a corrupt image ({reason}); remove or replace it") from error


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """A decoded image as RGB, band by band: Pillow's copies of a large one would be three times its size."""
    rows = max(1, _BAND // image.width)
    if image.height <= rows:
        return _rgb(image)
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        out[top:bottom] = _rgb(image.crop((0, top, image.width, bottom)))
    return out


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        return to_rgb(_eight_bits(np.asarray(image), image.mode))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return to_rgb(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _check_scans(stream: IO[bytes], path: str) -> None:
    found = excess(stream)
    stream.seek(0)
    if found is not None:
        raise DataError(
            f"{path} is a JPEG of {found} and more, made to keep a decoder busy; remove it"
        )


def _eight_bits(array: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    if mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if array.size and (array.min() < 0 or array.max() > 65535):
        raise ValueError(f"pixel values {array.min()} to {array.max()}, allowed 0 to 65535")
    return (array.astype(np.uint32) // 257).astype(np.uint8)


def resize(image: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """uint8 RGB (h, w, 3) → uint8 (spec.height, spec.width, 3).

    Raises:
        DataError: between the passes it would have more than MAX_PIXELS pixels: a line of a million rows.
    """
    top, left, rows, columns = spec.seen(*image.shape[:2])
    if rows * spec.width > MAX_PIXELS:
        raise DataError(
            f"{columns}×{rows} pixels are too few columns for so many rows; allowed:"
            f" {MAX_PIXELS // spec.width:,} rows; crop it first"
        )
    image = image[top : top + rows, left : left + columns]
    if image.shape[:2] == (spec.height, spec.width):
        return np.ascontiguousarray(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    # A call for each pass: Pillow 13 begins with the vertical one where the height shrinks more, older
    # versions never do, and the rounding between the passes makes that a level's difference.
    for size in ((spec.width, image.shape[0]), (spec.width, spec.height)):
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)


def scale(images: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.float32]:
    """uint8 pixels → float32 ``(u - offset) / divisor``, the values that the first layer sees."""
    return ((images.astype(np.float32) - spec.offset) / spec.divisor).astype(np.float32)
