"""What can be fuzzed."""

from __future__ import annotations

from collections.abc import Callable

from .harness import Kind
from .kind_custody import Audit, Zips
from .kind_keras import Hdf5, Keras
from .kind_pixels import Npz, Pictures
from .kind_planted import Planted
from .kind_texts import Csv, Record, Toml
from .kind_tflite import Tflite

KINDS: dict[str, Callable[[], Kind]] = {
    kind.name: kind for kind in (Toml, Csv, Npz, Pictures, Record, Audit, Zips, Tflite, Hdf5, Keras)
}
"""By name, the cheap ones first."""
PLANTED = Planted.name
"""What tries the fuzzer itself."""
