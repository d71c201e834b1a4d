"""How a model scales its pixels: ``real = u * scale + offset`` for a pixel u of 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InputScaling:
    """The affine map that an int8 file takes out of the graph and into its input's scale."""

    scale: float
    offset: float

    @property
    def low(self) -> float:
        """What pixel 0 becomes."""
        return self.offset

    @property
    def high(self) -> float:
        """What pixel 255 becomes."""
        return 255 * self.scale + self.offset

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 of any shape → float32 of the same shape."""
        return images.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with scale and offset."""
        return {"scale": self.scale, "offset": self.offset}


EDGECELL = InputScaling(1 / 128, -1.0)
"""``(u - 128) / 128``: uint8 scale 1/128 and zero point 128, so quantizing the input is exact."""

RAW = InputScaling(1.0, 0.0)
"""Pixels as they are: a model that scales them itself, or not at all."""
