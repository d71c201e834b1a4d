"""What is watched at every step of a training: how far it is, and whether the loss is still a number."""

from __future__ import annotations

import math
from typing import Any

import tf_keras as keras

from edgecell.errors import DivergedError
from edgecell.progress import Progress


class Watch(keras.callbacks.Callback):
    """Passes the batch count on to the progress display and ends a training that diverged.

    A loss that is NaN or infinite never becomes finite again: the weights are lost with it. ``epoch``
    counts from 1, ``flag`` of the command line sets the stage's ``rate``.

    Raises:
        DivergedError: in ``fit``, after the first step whose loss is not finite.
    """

    def __init__(
        self, progress: Progress, *, epoch: int, steps: int, flag: str, rate: float
    ) -> None:
        super().__init__()
        self._progress, self._steps = progress, steps
        self._epoch, self._flag, self._rate = epoch, flag, rate

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """One more step is done; its loss is in the running mean ``logs["loss"]``."""
        self._progress.advance(batch + 1)
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            where = f"{loss} in epoch {self._epoch}, step {batch + 1} of {self._steps}"
            raise diverged(where, self._flag, self._rate, kept=self._epoch - 1)


def diverged(where: str, flag: str, rate: float, *, kept: int) -> DivergedError:
    """The error of a training whose loss is no longer finite, with what to type next.

    ``kept`` is the last epoch whose state is saved, 0 where there is none.
    """
    if kept:
        way = (
            f"epoch {kept} is kept: go on from it with"
            f" 'edgecell train --resume RUN {flag} {rate / 10:.2g}'"
        )
    else:
        way = "no epoch is kept yet: start again with the lower rate"
    return DivergedError(
        f"the loss is {where}: the training diverged; lower {flag} (now {rate}); {way}"
    )
