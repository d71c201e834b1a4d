"""What the page asks for: facts of the model, the answer to an image, the self-test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import Any

from edgecell.classifier import Classifier
from edgecell.preprocess import decode_bytes, resize

MOST_BYTES = 32_000_000
MOST_PIXELS = 50_000_000
DECODING = 2
"""Images that are decoded at a time: one of 50 million pixels takes some 400 MB meanwhile."""

SelfTest = Callable[[], dict[str, Any]]


@dataclass
class Desk:
    """A classifier that many threads may ask.

    ``facts`` are added to what the page is told of the model. ``self_test`` is None for a model without
    golden images.
    """

    classifier: Classifier
    facts: Mapping[str, Any] = field(default_factory=dict)
    self_test: SelfTest | None = None
    _decoding: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(DECODING))
    _model: Lock = field(default_factory=Lock)

    def about(self) -> dict[str, Any]:
        """The model as the page introduces it."""
        return {
            **self.classifier.to_json(),
            **self.facts,
            "self_test": self.self_test is not None,
            "limits": {"bytes": MOST_BYTES, "pixels": MOST_PIXELS},
        }

    def classify(self, data: bytes) -> dict[str, Any]:
        """The answer to an image file's content, with all classes and the milliseconds it took.

        Raises:
            DataError: no image of :data:`FORMATS`, damaged, or too large.
        """
        with self._decoding:
            began = time.perf_counter()
            image = decode_bytes(data, "this file", max_pixels=MOST_PIXELS)
            pixels = resize(image, self.classifier.spec)
            prepared = time.perf_counter()
        height, width = image.shape[:2]
        with self._model:
            started = time.perf_counter()
            [answer] = self.classifier.classify(pixels[None])
            done = time.perf_counter()
        return {
            **answer.to_json(len(self.classifier.rules.labels)),
            "width": width,
            "height": height,
            "milliseconds": {
                "preparation": round(1000 * (prepared - began), 2),
                "inference": round(1000 * (done - started), 2),
            },
        }

    def test(self) -> dict[str, Any] | None:
        """The result of the self-test; None where there is none."""
        if self.self_test is None:
            return None
        with self._model:
            return self.self_test()
