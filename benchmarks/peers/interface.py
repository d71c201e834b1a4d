"""What a comparison knows of a runtime: candidates that answer one image at a time, or a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

INSTALL = "pip install -c constraints.txt -e '.[peers]'"


class Runner(Protocol):
    """A network ready to run: pixels in, answer left in the runtime, as `benchmarks.latency` times it."""

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """One inference of one image uint8 (H, W, 3)."""
        ...

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) → probabilities (N, C), one image at a time, the same way."""
        ...


@dataclass(frozen=True)
class Candidate:
    """One network in one runtime and precision.

    ``opener`` makes it ready; the timing of the opening is that call. ``files`` are what an app would
    ship; ``detail`` says which precision the operators really run in. A ``faithful`` candidate computes
    in float32 and must give the reference's probabilities; ``ours`` are edgecell's own files.
    """

    name: str
    runtime: str
    precision: str
    opener: Callable[[], Runner]
    files: tuple[Path, ...]
    detail: str = ""
    faithful: bool = False
    ours: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class Absent:
    """A candidate that there is not, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Material:
    """What every peer is made from.

    ``model`` is the trained tf_keras model in ``model_file``, ``calibration`` uint8 (M, H, W, 3) the
    images of train that edgecell's int8 was calibrated on. Converted files go into ``folder``.
    """

    model: Any
    model_file: Path
    calibration: NDArray[np.uint8]
    threads: int
    folder: Path
    made: dict[str, Path] = field(default_factory=dict)
    """Files that several peers share, by name."""


def missing(*modules: str) -> str:
    """Why a peer cannot run: the modules of these names that are not installed; empty if all are."""
    gone = [name for name in modules if find_spec(name) is None]
    return f"{', '.join(gone)} not installed: {INSTALL}" if gone else ""


def version(package: str) -> str:
    """The installed version of a package."""
    return metadata.version(package)
