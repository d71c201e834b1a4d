"""Quality of a predictor: the evaluation of edgecell, on the code path that latency times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.evaluate import evaluate
from edgecell.runtime import Predictor


def quality(
    predictor: Predictor,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate `predictor` on uint8 images (N, H, W, 3): the dict of `edgecell.evaluate.evaluate`.

    Raises:
        DataError: images, labels and names do not fit the model.
    """
    probabilities = predictor.predict(images)
    return evaluate(probabilities, labels, class_names, resamples=resamples, seed=seed)
