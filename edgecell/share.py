"""Which part of every batch a device gets, where several devices share one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """The parts ``mine`` of ``of`` equal parts of every batch, one for each device, in order."""

    of: int = 1
    mine: tuple[int, ...] = (0,)

    def places(self, batch: int, *, before: int = 0) -> NDArray[np.int64]:
        """Positions within a batch of ``batch`` images, int64 (parts, batch / of + before).

        Each part begins with the ``before`` positions in front of it, the batch taken as a ring.

        Raises:
            ValueError: a batch that has no ``of`` equal parts.
        """
        size, rest = divmod(batch, self.of)
        if rest:
            raise ValueError(f"{batch} images have no {self.of} equal parts")
        starts = np.array(self.mine, np.int64)[:, None] * size
        return (starts + np.arange(-before, size)) % batch


WHOLE = Share()
