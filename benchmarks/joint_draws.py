"""How much worse a model is than another: scores of both on the same draws of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecell.metrics import Interval
from edgecell.metrics.paired import tango_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JointDraws:
    """Scores of K models in B resamples of ``images`` images, in each the same images for all.

    ``models`` are K names; ``scores`` has the draws (B, K) of each score.
    """

    models: tuple[str, ...]
    images: int
    scores: Mapping[str, Floats]

    def drop_intervals(
        self, score: str, model: str, others: Sequence[str], drops: Sequence[float]
    ) -> list[Interval]:
        """95 % intervals of the ``drops`` (m,) from ``model`` to each of m ``others``, all of them together.

        Of a single one it is the percentile interval of the paired draws. Of several the one that came off
        best is looked at, so the quantiles are those of the largest and the least standardised deviation
        (single-step maximum: Westfall & Young 1993). No upper end is below what as many images cannot
        exclude where they tell the two apart nowhere (Tango 1998): there the draws have no spread.

        Raises:
            KeyError: a model or a score without draws.
        """
        drawn = self._of(score, [model]) - self._of(score, others)
        measured, spread = np.asarray(drops, np.float64), drawn.std(axis=0)
        off = np.divide(drawn - measured, spread, out=np.zeros(drawn.shape), where=spread > 0)
        lows = measured + spread * np.quantile(off.min(axis=1), 0.025)
        highs = measured + spread * np.quantile(off.max(axis=1), 0.975)
        least = tango_interval(0, 0, self.images).high
        return [
            Interval(float(low), max(float(high), least))
            for low, high in zip(lows, highs, strict=True)
        ]

    def _of(self, score: str, models: Sequence[str]) -> Floats:
        place = {name: column for column, name in enumerate(self.models)}
        return self.scores[score][:, [place[name] for name in models]]
