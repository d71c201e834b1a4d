"""How large a calibration error looks that is none."""

from __future__ import annotations

import numpy as np

from edgecell.metrics.scores import ECE_BINS, FloatArray, bin_of


def calibrated_eces(
    confidence: FloatArray, seed: int = 0, n: int = 200, bins: int = ECE_BINS
) -> FloatArray:
    """`n` calibration errors (n,) of a model whose every confidence is true.

    ECE adds up absolute differences, so chance alone makes it positive: about 0.02 on 1,700 images,
    0.1 on 56. Each draw says right of an image with the probability ``confidence`` (N,), 0..1.
    """
    rng, total = np.random.default_rng(seed), len(confidence)
    place = bin_of(confidence, np.linspace(0.0, 1.0, bins + 1))
    said = np.bincount(place, confidence, bins)
    return np.array(
        [
            abs(np.bincount(place, rng.random(total) < confidence, bins) - said).sum() / total
            for _ in range(n)
        ]
    )
