"""model.json alone reproduces the training pipeline's bytes, for images of every kind."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import by_the_spec
import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecell.bundle.preprocessing import describe, pixel_encoding
from edgecell.errors import ConvertError
from edgecell.preprocess import PreprocessSpec, decode_file, resize
from edgecell.runtime import TFLitePredictor

RNG = np.random.default_rng(5)


def rgb(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def model(spec: PreprocessSpec) -> dict:
    """As read from a file: only JSON gets through."""
    entry = {"dtype": "uint8", "multiply": 1.0, "add": 0.0}
    return json.loads(json.dumps({"preprocessing": describe(spec), "input": entry}))


def save(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def deep_png(path: Path, channels: int) -> Path:
    """A PNG of 16 bits a channel with 3 or 4 channels, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = 21, 33
    values = RNG.integers(0, 65536, (height, width * channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def palette(transparency: int | bytes | None, path: Path) -> Path:
    image = Image.fromarray(RNG.integers(0, 8, (40, 30), dtype=np.uint8), mode="P")
    image.putpalette(RNG.integers(0, 256, 24, dtype=np.uint8).tolist())
    options = {} if transparency is None else {"transparency": transparency}
    return save(image, path, **options)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


ODD = {
    "grey": lambda p: save(Image.fromarray(rgb(37, 61)[..., 0]), p / "a.png"),
    "one bit": lambda p: save(
        Image.fromarray(rgb(37, 61)[..., 0]).convert("1", dither=Image.Dither.NONE), p / "a.png"
    ),
    "RGBA": lambda p: save(
        Image.fromarray(np.dstack([rgb(50, 20), rgb(50, 20)[..., 0]])), p / "a.png"
    ),
    "grey with alpha": lambda p: save(
        Image.merge("LA", [Image.fromarray(rgb(9, 70)[..., k]) for k in (0, 1)]), p / "a.png"
    ),
    "16-bit grey": lambda p: save(
        Image.fromarray(RNG.integers(0, 65536, (45, 44)).astype(np.uint16)), p / "a.png"
    ),
    "16-bit TIFF": lambda p: save(
        Image.fromarray(RNG.integers(0, 65536, (45, 44)).astype(np.uint16)), p / "a.tif"
    ),
    "16-bit colour": lambda p: deep_png(p / "a.png", 3),
    "16-bit colour with alpha": lambda p: deep_png(p / "a.png", 4),
    "palette": lambda p: palette(None, p / "a.png"),
    "palette, one clear": lambda p: palette(2, p / "a.png"),
    "palette, many clear": lambda p: palette(bytes([0, 100, 255, 7]), p / "a.png"),
    "CMYK": lambda p: save(
        Image.fromarray(np.dstack([rgb(30, 31), rgb(30, 31)[..., 0]]), mode="CMYK"), p / "a.tif"
    ),
    "JPEG": lambda p: save(Image.fromarray(rgb(160, 90)), p / "a.jpg", quality=90),
    **{
        f"EXIF {k}": lambda p, k=k: save(Image.fromarray(rgb(52, 71)), p / "a.jpg", exif=exif(k))
        for k in range(1, 9)
    },
    "PNG with EXIF": lambda p: save(Image.fromarray(rgb(52, 71)), p / "a.png", exif=exif(6)),
    "GIF of two frames": lambda p: save(
        Image.fromarray(rgb(30, 30)[..., 0]),
        p / "a.gif",
        save_all=True,
        append_images=[Image.fromarray(rgb(30, 30)[..., 1])],
    ),
    "very wide": lambda p: save(Image.fromarray(rgb(7, 900)), p / "a.png"),
    "very tall": lambda p: save(Image.fromarray(rgb(900, 3)), p / "a.png"),
    "two pixels a side": lambda p: save(Image.fromarray(rgb(2, 2)), p / "a.png"),
    "the model's size": lambda p: save(Image.fromarray(rgb(32, 48)), p / "a.png"),
}
TARGETS = [(32, 48), (48, 32), (40, 40)]


@pytest.mark.parametrize("fraction", [1.0, 0.875])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("kind", ODD)
def test_the_spec_gives_the_training_s_bytes(kind, fit, fraction, tmp_path):
    path = ODD[kind](tmp_path)
    trained = decode_file(path)
    for target in TARGETS:
        spec = PreprocessSpec(*target, fit, central_fraction=fraction)
        decoded, resized, entry = by_the_spec.preprocess(path, model(spec))
        np.testing.assert_array_equal(decoded, trained)
        np.testing.assert_array_equal(resized, resize(trained, spec))
        np.testing.assert_array_equal(entry[0], resized)


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    target=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    fit=st.sampled_from(["stretch", "crop"]),
    fraction=st.sampled_from([1.0, 0.1, 0.5]) | st.floats(0.1, 1.0),
    seed=st.integers(0, 1000),
)
def test_the_resize_is_stated_to_the_byte(shape, target, fit, fraction, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    spec = PreprocessSpec(*target, fit, central_fraction=fraction)
    rules = model(spec)["preprocessing"]
    stated = by_the_spec.resize(by_the_spec.fit(image, rules), rules["resize"])
    np.testing.assert_array_equal(stated, resize(image, spec))


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("antialias", False),
        ("weight_bits", 8),
        ("passes", ["vertical", "horizontal"]),
    ],
)
def test_another_rule_gives_other_bytes(key, other):
    image, spec = rgb(83, 59), PreprocessSpec(40, 24)
    rules = model(spec)["preprocessing"]["resize"]
    stated = by_the_spec.resize(image, rules | {key: other})
    assert not np.array_equal(stated, resize(image, spec))


@pytest.mark.parametrize("key", ["grey16_divide", "exif_orientation"])
def test_another_decoding_gives_other_bytes(key, tmp_path):
    kind = {"grey16_divide": "16-bit grey", "exif_orientation": "EXIF 6"}[key]
    path = ODD[kind](tmp_path)
    rules = model(PreprocessSpec(40, 40))["preprocessing"]["decode"]
    seen = by_the_spec.decode(path, rules | {key: 300})
    assert not np.array_equal(seen, decode_file(path))


@pytest.mark.parametrize(
    ("precision", "input_type", "encoding"),
    [
        ("int8", "uint8", (1.0, 0.0)),
        ("int8", "int8", (1.0, -128.0)),
        ("int8", "float32", (1 / 128, -1.0)),
        ("float16", None, (1.0, 0.0)),
        ("int16x8", "int16", (32767 / 128, -32767.0)),
    ],
)
def test_pixels_enter_by_a_rule_of_two_numbers(precision, input_type, encoding):
    predictor = TFLitePredictor(toys.converted(precision, input_type))
    assert pixel_encoding(predictor) == pytest.approx(encoding, rel=1e-7)
    entry = {"dtype": predictor.input_dtype.name, "multiply": encoding[0], "add": encoding[1]}
    pixels = rgb(16, 16)
    np.testing.assert_array_equal(by_the_spec.scale(pixels, entry)[0], predictor.entry(pixels))


def test_an_input_that_rounds_pixels_is_refused():
    class Rounds:
        name = "theirs.tflite"
        input_dtype, input_scale, input_zero_point = np.dtype(np.uint8), 1 / 128, 128

        def entry(self, pixels):
            return (pixels // 2 * 2).astype(np.uint8)

    with pytest.raises(ConvertError, match="theirs.tflite has an input that no rule .* 0, 0, 2"):
        pixel_encoding(Rounds())
