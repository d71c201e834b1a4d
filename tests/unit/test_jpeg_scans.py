"""A JPEG that goes over its pixels again and again is refused before it is decoded."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from edgecell import jpeg_scans
from edgecell.errors import DataError
from edgecell.jpeg_scans import MOST_SCANS, MOST_SEGMENTS, excess
from edgecell.preprocess import decode_bytes, decode_file

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)
END = b"\xff\xd9"


def jpeg(**options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", **options)
    return stream.getvalue()


def scans(data: bytes) -> int:
    """How many of MOST_SCANS more it takes until ``data`` has too many, from the other end."""
    for more in range(MOST_SCANS + 2):
        if excess(io.BytesIO(data[:-2] + last_scan() * more + END)):
            return MOST_SCANS + 1 - more
    raise AssertionError("none was found")


def last_scan() -> bytes:
    data = jpeg(progressive=True)
    return data[data.rindex(b"\xff\xda") : -2]


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 1), ({"progressive": True}, 10), ({"restart_marker_blocks": 1}, 1)],
)
def test_scans_are_counted(options, count):
    assert scans(jpeg(**options)) == count


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 64, 1 << 20])
def test_wherever_a_chunk_ends(chunk, monkeypatch):
    monkeypatch.setattr(jpeg_scans, "_CHUNK", chunk)
    data = jpeg(progressive=True, comment=b"\xff\xda" * 300)
    assert excess(io.BytesIO(data)) is None
    assert excess(io.BytesIO(data[:-2] + last_scan() * (MOST_SCANS - 10) + END)) is None
    assert excess(io.BytesIO(data[:-2] + last_scan() * MOST_SCANS + END)) == "201 scans"


def test_what_is_no_scan_is_not_counted():
    """In a comment, behind the end, and in what is no JPEG."""
    many = b"\xff\xda" * 2000
    assert excess(io.BytesIO(jpeg(comment=many))) is None
    assert excess(io.BytesIO(jpeg() + many)) is None
    assert excess(io.BytesIO(b"\x89PNG\r\n\x1a\n" + many)) is None
    assert excess(io.BytesIO(b"")) is None


@pytest.mark.parametrize("hidden", [END, b"\xff\xe1\xff\xff", b"\xff\xfe\xff\xff"])
def test_nothing_hides_behind_a_table(hidden):
    """A quantization table may hold the bytes of any marker; a decoder takes none of them for one."""
    data = jpeg(progressive=True)
    table = b"\xff\xdb\x00\x43\x03" + hidden + bytes([9]) * (64 - len(hidden))
    spoilt = data[:2] + table + data[2:-2] + last_scan() * 300 + END
    Image.open(io.BytesIO(data[:2] + table + data[2:])).load()  # a sound file
    assert excess(io.BytesIO(spoilt)) == "201 scans"


def test_such_a_file_is_one_line(tmp_path):
    data = jpeg(progressive=True)
    (tmp_path / "fine.jpg").write_bytes(data[:-2] + last_scan() * 50 + END)
    assert decode_file(tmp_path / "fine.jpg").shape == PIXELS.shape
    (tmp_path / "scans.jpg").write_bytes(data[:-2] + last_scan() * 1600 + END)
    with pytest.raises(DataError, match=r"scans\.jpg is a JPEG of 201 scans and more, made to"):
        decode_file(tmp_path / "scans.jpg")
    with pytest.raises(DataError, match="this file is a JPEG of 201 scans and more"):
        decode_bytes((tmp_path / "scans.jpg").read_bytes(), "this file")


def test_looking_takes_no_time_of_its_own():
    """4 MB of comments, of stuffed bytes and of markers without a length."""
    data = jpeg()
    began = time.process_time()
    comments = data[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + data[2:]
    assert excess(io.BytesIO(comments)) == f"{MOST_SEGMENTS + 1:,} segments"
    for filler in (b"\xff\x00", b"\xff\xd0", b"\xff\xff", b"\xff\x01"):
        assert excess(io.BytesIO(data[:-2] + filler * 2_000_000 + END)) is None
    assert time.process_time() - began < 2
