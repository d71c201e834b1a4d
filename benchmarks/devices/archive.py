"""One Python archive (PEP 441) of the part of the bench that runs on a board.

What a board runs is this host's own code, file by file: the timed loop, the writing of pixels, the
reading of the delegate. Nothing is installed there.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_START = b"""\
import sys
from pathlib import Path
from benchmarks.devices.on_board import main
main(Path(sys.argv[1]))
"""
FILES = (
    "benchmarks/__init__.py",
    "benchmarks/devices/__init__.py",
    "benchmarks/devices/exchange.py",
    "benchmarks/devices/on_board.py",
    "benchmarks/devices/session.py",
    "benchmarks/footprint.py",
    "benchmarks/footprint_probe.py",
    "benchmarks/host.py",
    "benchmarks/latency.py",
    "benchmarks/options.py",
    "benchmarks/throughput.py",
    "edgecell/__init__.py",
    "edgecell/delegation.py",
    "edgecell/documents.py",
    "edgecell/errors.py",
    "edgecell/graph.py",
    "edgecell/hdf5_heaps.py",
    "edgecell/keras_check.py",
    "edgecell/keras_file.py",
    "edgecell/keras_order.py",
    "edgecell/machine.py",
    "edgecell/native_log.py",
    "edgecell/packing.py",
    "edgecell/pixels.py",
    "edgecell/record.py",
    "edgecell/runtime.py",
    "edgecell/tflite_check.py",
    "edgecell/tflite_file.py",
    "edgecell/tflite_tables.py",
)
"""What `on_board.py` imports, directly or not; a test holds the list against the imports."""


def board_archive() -> bytes:
    """The archive, byte for byte the same for the same sources: `python3 bench.pyz FOLDER`."""
    texts = {name: (_ROOT / name).read_bytes() for name in FILES}
    texts["__main__.py"] = _START
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
