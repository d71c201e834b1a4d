"""A model together with all that is known of it: how images get in, and what its answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.answers import Answer, Rules, answer_all, logits_to_probabilities
from edgecell.data.channels import Channels
from edgecell.preprocess import PreprocessSpec
from edgecell.runtime import Predictor


@dataclass(frozen=True)
class Classifier:
    """What ``predict`` and ``serve`` ask.

    ``verified``: "passed", "failed", "not verified", or "reference" for a trained Keras model.
    ``warning`` is what to say where it has not passed; ``notes`` are further lines that its user should
    see. ``logits``: the model ends without a softmax. ``trained_on``: the colours of its training images,
    where they are known.
    """

    name: str
    sha256: str
    predictor: Predictor
    spec: PreprocessSpec
    rules: Rules
    verified: str
    warning: str | None = None
    notes: tuple[str, ...] = ()
    logits: bool = False
    trained_on: Channels | None = None

    def classify(self, pixels: NDArray[np.uint8]) -> list[Answer]:
        """Answers to uint8 (N, spec.height, spec.width, 3)."""
        values: NDArray[Any] = self.predictor.predict(pixels)
        return answer_all(self.rules, logits_to_probabilities(values) if self.logits else values)

    def to_json(self) -> dict[str, Any]:
        """What a program should know beside the answers."""
        return {
            "model": self.name,
            "sha256": self.sha256,
            "verified": self.verified,
            "input": {
                "height": self.spec.height,
                "width": self.spec.width,
                "fit": self.spec.fit,
                "central_fraction": self.spec.central_fraction,
            },
            **self.rules.to_json(),
            "warning": self.warning,
            "notes": list(self.notes),
        }
