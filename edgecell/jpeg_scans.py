"""How often a JPEG goes over its pixels, counted before a decoder does.

A progressive JPEG has some ten scans. Each costs as much as the whole image, however few bytes it has: one
of 100 bytes repeated makes a small file that is decoded for minutes.
"""

from __future__ import annotations

import re
from typing import IO

MOST_SCANS = 200
"""More scans than any encoder writes; libtiff decodes 100 at most."""
MOST_SEGMENTS = 20_000
"""More tables, comments and the like than any file has; Pillow takes its time for each."""

_CHUNK = 1 << 20
# The end of the image, and whatever has a length. Restarts and stuffed bytes lie in the pixels of a scan.
_MARKER = re.compile(rb"\xff(?:\xd9|([\xc0-\xcf\xda-\xfe])(..))", re.DOTALL)
_SCAN = b"\xda"
_LONGEST = 4


def excess(stream: IO[bytes]) -> str | None:
    """What a JPEG has too many of, "201 scans"; None where all is well or where it is no JPEG.

    It comes by the markers as libjpeg does, so that nothing is hidden from the count. What lies in a segment
    (a thumbnail) or behind the end of the image (a film) is not looked at.
    """
    if stream.read(3) != b"\xff\xd8\xff":
        return None
    rest, skip, scans, segments = b"\xff", 0, 0, 0
    while chunk := stream.read(_CHUNK):
        data = rest + chunk
        at = skip
        while match := _MARKER.search(data, at):
            if match[1] is None:
                return None
            at = match.end() + max(0, int.from_bytes(match[2]) - 2)
            scans += match[1] == _SCAN
            segments += match[1] != _SCAN
            if scans > MOST_SCANS or segments > MOST_SEGMENTS:
                return f"{scans} scans" if scans > MOST_SCANS else f"{segments:,} segments"
        kept = max(at, len(data) - _LONGEST + 1)  # a marker may go on in the next chunk
        rest, skip = data[kept:], max(0, at - len(data))
    return None
