"""The mean answer of several models, of several views of an image, or both, as one Predictor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import DataError
from edgecell.runtime import Predictor

VIEWS = 8


class AveragedPredictor:
    """Averages the probabilities of ``members``, and with ``tta`` of the eight views of each image.

    Test-time augmentation multiplies the work by eight, an ensemble by its members: neither is what a
    phone runs, so figures made with them are labelled as such.

    Raises:
        DataError: members of different input sizes or classes, or views of images that are not square.
    """

    def __init__(self, members: Sequence[Predictor], *, tta: bool = False) -> None:
        first = members[0]
        for member in members[1:]:
            if (member.image_size, member.class_count) != (first.image_size, first.class_count):
                raise DataError(
                    f"{member.name} takes {member.image_size} pixels and knows {member.class_count}"
                    f" classes, {first.name} {first.image_size} and {first.class_count}; an"
                    " ensemble's members must agree in both"
                )
        if tta and first.image_size[0] != first.image_size[1]:
            raise DataError(f"{first.name} takes {first.image_size} pixels; views need a square")
        self.members, self.tta = list(members), tta
        self.name = " + ".join(member.name for member in members) + (" (8 views)" if tta else "")
        self.image_size, self.class_count = first.image_size, first.class_count
        self.output_scale: float | None = None
        if len(members) == 1 and not tta:
            self.output_scale = first.output_scale

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) → mean probabilities float32 (N, C)."""
        shown = views(images) if self.tta else [images]
        answers = [member.predict(view) for member in self.members for view in shown]
        mean: NDArray[np.float32] = np.mean(answers, axis=0, dtype=np.float32)
        return mean


def views(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The eight symmetries of the square of images (N, H, H, 3); the first is as given."""
    return [
        np.ascontiguousarray(np.rot90(mirrored, turns, axes=(1, 2)))
        for mirrored in (images, images[:, :, ::-1])
        for turns in range(4)
    ]
