"""How large a calibration error looks that is none."""

from __future__ import annotations

import numpy as np

from edgecell.metrics.scores import ECE_BINS, FloatArray, binned_reliability, gap


def calibrated_eces(
    confidence: FloatArray, seed: int = 0, n: int = 200, bins: int = ECE_BINS
) -> FloatArray:
    """`n` calibration errors (n,) of a model whose every confidence is true.

    ECE adds up absolute differences, so chance alone makes it positive: about 0.02 on 1,700 images,
    0.1 on 56. Each draw says right of an image with the probability ``confidence`` (N,), 0..1.
    """
    rng = np.random.default_rng(seed)
    return np.array(
        [
            gap(binned_reliability(confidence, rng.random(len(confidence)) < confidence, bins))
            for _ in range(n)
        ]
    )
