from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgecell import preprocess
from edgecell.errors import ConfigError, DataError
from edgecell.preprocess import MAX_PIXELS, PreprocessSpec, decode_file, resize, scale, to_rgb

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)


@pytest.fixture
def decoded(tmp_path):
    """Save a Pillow image and decode the file."""

    def save_and_decode(image: Image.Image, suffix: str = ".png", **options) -> np.ndarray:
        path = tmp_path / f"image{suffix}"
        image.save(path, **options)
        return decode_file(path)

    return save_and_decode


def test_rgb_and_grey_come_back_as_they_are(decoded):
    np.testing.assert_array_equal(decoded(Image.fromarray(RGB)), RGB)
    grey = RGB[..., 0]
    np.testing.assert_array_equal(decoded(Image.fromarray(grey)), np.dstack([grey] * 3))
    bits = decoded(Image.fromarray(grey).convert("1", dither=Image.Dither.NONE))
    np.testing.assert_array_equal(bits[..., 0], np.where(grey >= 128, 255, 0))


def test_sixteen_bits_are_scaled_to_eight(decoded):
    deep = np.array([[0, 256, 257, 514], [32767, 32896, 65278, 65535]], np.uint16)
    expected = [[0, 0, 1, 2], [127, 128, 254, 255]]  # floor(v / 257), 65535 = 255 · 257
    for suffix in (".png", ".tif"):
        np.testing.assert_array_equal(decoded(Image.fromarray(deep), suffix)[..., 1], expected)


def test_thirty_two_bits_are_taken_only_as_sixteen(decoded):
    fits = Image.fromarray(np.array([[0, 65535]] * 2, np.int32))
    np.testing.assert_array_equal(decoded(fits, ".tif")[0, :, 0], [0, 255])
    with pytest.raises(DataError, match="pixel values 0 to 65536, allowed 0 to 65535"):
        decoded(Image.fromarray(np.array([[0, 65536]] * 2, np.int32)), ".tif")
    with pytest.raises(DataError, match="floating-point pixels"):
        decoded(Image.fromarray(np.ones((2, 2), np.float32)), ".tif")


def test_alpha_is_laid_over_black(decoded):
    alpha = np.array([[0, 1, 128], [254, 255, 255]], np.uint8)
    colour = np.array([[255, 255, 255], [100, 200, 3]], np.uint8)
    # round(c·a/255): (255·1)/255 = 1, 128; 100·254/255 = 99.6 → 100
    expected = [[0, 1, 128], [100, 200, 3]]
    rgba = np.dstack([colour] * 3 + [alpha])
    np.testing.assert_array_equal(decoded(Image.fromarray(rgba))[..., 2], expected)
    la = Image.merge("LA", (Image.fromarray(colour), Image.fromarray(alpha)))
    np.testing.assert_array_equal(decoded(la)[..., 0], expected)
    np.testing.assert_array_equal(to_rgb(rgba)[..., 0], expected)


def test_a_palette_s_transparent_colour_becomes_black(decoded):
    palette = Image.fromarray(np.array([[0, 1, 2]] * 2, np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    opaque = [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]] * 2
    np.testing.assert_array_equal(decoded(palette), opaque)
    seen = decoded(palette, transparency=1)
    np.testing.assert_array_equal(seen, [[[10, 20, 30], [0, 0, 0], [70, 80, 90]]] * 2)


# What each EXIF orientation says must be done to the stored pixels (EXIF 2.32, tag 0x0112).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_turns_the_image_upright(decoded, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decoded(Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(upright, UPRIGHT[orientation](RGB))


COLOUR = Image.fromarray(RNG.integers(0, 256, (23, 10, 3), dtype=np.uint8))
GREY = COLOUR.convert("L")


@pytest.mark.parametrize(
    ("image", "suffix", "options"),
    [
        (COLOUR, ".png", {}),
        (GREY, ".png", {}),
        (GREY.convert("1"), ".png", {}),
        (Image.merge("LA", (GREY, GREY)), ".png", {}),
        (Image.merge("RGBA", (*COLOUR.split(), GREY)), ".png", {}),
        (COLOUR.convert("P"), ".png", {"transparency": 7}),
        (Image.fromarray(np.arange(230, dtype=np.uint16).reshape(23, 10) * 257), ".png", {}),
        (COLOUR.convert("CMYK"), ".tif", {}),
        (COLOUR.convert("YCbCr"), ".tif", {}),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_a_large_image_is_copied_in_bands_that_nobody_sees(
    decoded, monkeypatch, image, suffix, options
):
    whole = decoded(image, suffix, **options)
    for band in (1, 29, 30, 229):
        monkeypatch.setattr(preprocess, "_BAND", band)
        np.testing.assert_array_equal(decoded(image, suffix, **options), whole)


def test_a_large_image_is_not_copied_several_times(tmp_path, monkeypatch):
    """Beside what Pillow decodes into there is the result, and little more."""
    monkeypatch.setattr(preprocess, "_BAND", 1 << 16)
    Image.new("RGB", (1000, 1000)).save(tmp_path / "large.png")
    tracemalloc.start()
    try:
        result = decode_file(tmp_path / "large.png")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.nbytes <= most < 1.5 * result.nbytes


def test_cmyk_becomes_rgb(decoded):
    cmyk = np.zeros((8, 8, 4), np.uint8)
    cmyk[:, :4] = [0, 255, 255, 0]  # no cyan: red
    image = decoded(Image.fromarray(cmyk, mode="CMYK"), ".tif")
    np.testing.assert_array_equal(image[0, 0], [255, 0, 0])
    np.testing.assert_array_equal(image[0, 7], [255, 255, 255])


def test_a_cmyk_jpeg_is_not_inverted(decoded):
    """Photoshop's CMYK JPEGs hold inverted values; a reader that ignores that turns red into cyan."""
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[:] = [0, 255, 255, 0]
    image = decoded(Image.fromarray(cmyk, mode="CMYK"), ".jpg", quality=95)
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 4  # JPEG's own rounding


def test_sixteen_bit_colour_keeps_its_high_byte(tmp_path):
    deep = np.array([[[0, 255, 256], [32768, 65279, 65535]]], ">u2")
    (tmp_path / "deep.png").write_bytes(png(2, 2, 16, 2, 2 * (b"\0" + deep.tobytes())))
    np.testing.assert_array_equal(
        decode_file(tmp_path / "deep.png")[0], [[0, 0, 1], [128, 254, 255]]
    )


def test_twelve_bit_values_in_sixteen_bits_stay_dark(decoded):
    """One scale for all images: a stretch of each image by itself would make the same pixel differ."""
    image = decoded(Image.fromarray(np.full((4, 4), 4095, np.uint16)), ".tif")
    assert set(image.flat) == {15}


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png"])
def test_the_first_of_several_pages_or_frames_is_read(decoded, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {} if suffix == ".tif" else {"lossless": True}
    image = decoded(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
    assert image.shape == (8, 8, 3)
    assert {tuple(pixel) for pixel in image.reshape(-1, 3).tolist()} == {(255, 0, 0)}


def test_a_gif_s_transparent_first_frame_lies_over_black(decoded):
    frame = Image.new("P", (4, 4), 1)
    frame.putpalette([9, 9, 9, 200, 100, 50])
    frame.putpixel((0, 0), 0)
    image = decoded(frame, ".gif", transparency=0)
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[1, 1].tolist() == [200, 100, 50]


def test_a_gif_s_first_frame_is_read(decoded):
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (30, 200)]
    image = decoded(frames[0], ".gif", save_all=True, append_images=frames[1:])
    assert image.shape == (4, 4, 3)
    assert set(image.flat) == {30}


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG with a header and pixel rows as given."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims ``width`` × ``height``."""
    return png(width, height, 8, 2, b"")


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.kron(RGB, np.ones((9, 9, 1), np.uint8))).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jpeg()[: len(jpeg()) // 2], "corrupt image .*truncated"),
        (b"name,label\na,1\n", "not an image that Pillow can read"),
        (b"", "not an image that Pillow can read"),
        (bomb(30_000, 30_000), rf"too large \(900000000 pixels\); allowed: {MAX_PIXELS:,}"),
        (bomb(12_000, 12_000), f"12000×12000 pixels; allowed: {MAX_PIXELS:,} pixels"),
    ],
    ids=["truncated", "text", "empty", "bomb", "large"],
)
def test_what_is_no_image_is_one_line(tmp_path, content, message):
    path = tmp_path / "cell.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        decode_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_not_called_corrupt(tmp_path):
    with pytest.raises(DataError, match="no image at"):
        decode_file(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot read .*Is a directory"):
        decode_file(tmp_path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3), np.float32), "dtype float32; allowed: uint8"),
        (np.zeros((2, 2, 2), np.uint8), r"shape \(2, 2, 2\)"),
        (np.zeros((2, 2, 2, 3), np.uint8), r"shape \(2, 2, 2, 3\)"),
        (np.zeros(3, np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    ],
)
def test_arrays_that_are_no_image_are_refused(array, message):
    with pytest.raises(DataError, match=message):
        to_rgb(array)


def test_to_rgb_repeats_grey():
    grey = RGB[..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(to_rgb(array), np.dstack([grey] * 3))
    np.testing.assert_array_equal(to_rgb(RGB), RGB)


@pytest.mark.parametrize("size", [(7, 96), (96, 7), (1025, 96), (0, 0)])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ConfigError, match="allowed: 8 to 1024"):
        PreprocessSpec(*size)


_FIXED_POINT = 255 * 12 * 2**-23  # a level's error by at most 12 weights, each half a step off


def pass_along_rows(image: np.ndarray, out: int, nudge: float) -> np.ndarray:
    """One bilinear pass over axis 1 by the definition: a triangle around each output centre.

    The centre of output pixel i lies at (i + ½)·n/out; the triangle's half width is one source pixel,
    or n/out when shrinking; weights are cut at the border and normalised; the result and ``nudge`` are rounded.
    """
    n = image.shape[1]
    ratio = n / out
    reach = max(1.0, ratio)
    centres = (np.arange(out) + 0.5) * ratio
    distance = np.abs(np.arange(n)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / reach)
    weights /= weights.sum(1, keepdims=True)
    return np.clip(np.floor(np.einsum("hwc,ow->hoc", image, weights) + nudge + 0.5), 0, 255)


def bilinear(image: np.ndarray, height: int, width: int, nudge: float = 0.0) -> np.ndarray:
    across = pass_along_rows(image.astype(np.float64), width, nudge)
    return pass_along_rows(across.transpose(1, 0, 2), height, nudge).transpose(1, 0, 2)


@settings(max_examples=60)
@example(shape=(22, 28), target=(23, 24), seed=999)  # ties in both passes
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(8, 32), st.integers(8, 32)),
    seed=st.integers(0, 1000),
)
def test_resize_is_the_bilinear_filter_of_its_definition(shape, target, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    seen = resize(image, PreprocessSpec(*target))
    # Pillow's weights are fixed-point with 22 bits: in each pass a value next to ½ can round either way.
    least, most = (bilinear(image, *target, nudge) for nudge in (-_FIXED_POINT, _FIXED_POINT))
    assert (least <= seen).all() and (seen <= most).all()


def test_the_definition_tells_other_kernels_apart():
    image = np.random.default_rng(3).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    expected = bilinear(image, 12, 12)
    picture = Image.fromarray(image)
    for kernel in (Image.Resampling.NEAREST, Image.Resampling.BOX, Image.Resampling.BICUBIC):
        other = np.asarray(picture.resize((12, 12), kernel)).astype(int)
        assert np.abs(other - expected).max() > 5, kernel
    plain = picture.resize((12, 12), Image.Resampling.BILINEAR, reducing_gap=None)
    assert np.abs(np.asarray(plain).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_the_right_size_is_left_exactly_alone(fit):
    image = RNG.integers(0, 256, (16, 12, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(image, PreprocessSpec(16, 12, fit)), image)


@pytest.mark.parametrize(
    ("shape", "target", "kept"),
    [
        ((20, 40), (20, 20), (slice(0, 20), slice(10, 30))),  # wide: sides go
        ((40, 20), (20, 20), (slice(10, 30), slice(0, 20))),  # tall: top and bottom go
        ((20, 41), (20, 20), (slice(0, 20), slice(10, 30))),  # odd rest: the extra one is right
        ((30, 30), (10, 30), (slice(10, 20), slice(0, 30))),  # to another aspect ratio
        ((16, 32), (8, 8), (slice(0, 16), slice(8, 24))),  # crops first, then shrinks
    ],
)
def test_crop_takes_the_largest_centred_rectangle(shape, target, kept):
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = resize(np.ascontiguousarray(image[kept]), PreprocessSpec(*target))
    np.testing.assert_array_equal(resize(image, PreprocessSpec(*target, fit="crop")), expected)
    assert not np.array_equal(resize(image, PreprocessSpec(*target)), expected)


@pytest.mark.parametrize(
    ("shape", "fraction", "fit", "seen"),
    [
        ((128, 128), 0.875, "stretch", (8, 8, 112, 112)),
        ((128, 64), 0.875, "stretch", (8, 4, 112, 56)),
        ((128, 64), 0.875, "crop", (36, 4, 56, 56)),  # the centre of the centred square
        ((20, 41), 0.5, "stretch", (5, 10, 10, 20)),  # 20.5 rounds to even
        ((20, 43), 0.5, "stretch", (5, 10, 10, 22)),  # 21.5 too
        ((3, 3), 0.1, "stretch", (1, 1, 1, 1)),
    ],
)
def test_the_middle_of_each_side_is_seen(shape, fraction, fit, seen):
    spec = PreprocessSpec(16, 16, fit, central_fraction=fraction)
    assert spec.seen(*shape) == seen
    image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    top, left, rows, columns = seen
    middle = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    np.testing.assert_array_equal(resize(image, spec), resize(middle, PreprocessSpec(16, 16)))


def test_where_sides_divide_it_is_tensorflow_s_central_crop():
    image = RNG.integers(0, 256, (128, 64, 3), dtype=np.uint8)
    theirs = tf.image.central_crop(image, 0.875).numpy()
    spec = PreprocessSpec(*theirs.shape[:2], central_fraction=0.875)
    np.testing.assert_array_equal(resize(image, spec), theirs)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan")])
def test_no_other_fraction_is_taken(fraction):
    with pytest.raises(ConfigError, match=r"central fraction \S+ is out of range"):
        PreprocessSpec(16, 16, central_fraction=fraction)


def test_a_sliver_is_cropped_to_at_least_a_pixel():
    sliver = np.full((1, 500, 3), 9, np.uint8)
    assert set(resize(sliver, PreprocessSpec(8, 8, "crop")).flat) == {9}


def test_a_line_of_a_million_rows_is_refused_and_not_made_wide_first():
    """2 × 2,000,000 pixels are 12 MB; between the passes they would be 2,000,000 × 96 × 4 bytes."""
    line = np.zeros((2_000_000, 2, 3), np.uint8)
    with pytest.raises(DataError, match=r"^2×2000000 pixels are too few columns .*1,041,666 rows"):
        resize(line, PreprocessSpec(96, 96))
    assert resize(line, PreprocessSpec(96, 96, "crop")).shape == (96, 96, 3)  # two rows of it
    across = resize(line.transpose(1, 0, 2), PreprocessSpec(96, 96))
    assert across.shape == (96, 96, 3)


def test_an_image_that_memory_does_not_hold_is_not_called_corrupt(tmp_path, monkeypatch):
    path = tmp_path / "cell.png"
    Image.fromarray(RGB).save(path)

    def no_room(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "tobytes", no_room)
    with pytest.raises(DataError, match=r"cell\.png takes more memory than there is; shrink"):
        decode_file(path)


def test_scale_is_exact_in_steps_of_a_128th():
    spec = PreprocessSpec(16, 16)
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    values = scale(levels, spec)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.ravel() * 128 + 128, np.arange(256))
    assert (values.min(), values.max()) == (-1.0, 127 / 128)
