"""Images that a model can be asked about but should not be: what is said of them before any figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.data import Dataset
from edgecell.data.channels import Channels, drift_line, flat, flat_line, measure
from edgecell.data.duplicates import overlap_line
from edgecell.data.groups import dependence_line
from edgecell.progress import Progress
from edgecell.rundir import RunDir


def trained_on(run: RunDir | None) -> Channels | None:
    """The colours of the images that the run's model was trained on; None where they are not known."""
    if run is None or not run.has("train"):
        return None
    found = run.read_record("train")["results"].get("channels")
    return None if found is None else Channels.from_json(found)


def doubts(
    run: RunDir | None, dataset: Dataset, split: str, images: NDArray[np.uint8], progress: Progress
) -> list[str]:
    """Lines about a split that figures on it should not be without, said at once as warnings.

    ``images`` uint8 (N, H, W, 3) are those of ``split`` as the model takes them; ``run`` is the model's.
    """
    count = dataset.split(split).group_count
    of_split = [overlap_line(dataset, split), dependence_line(split, len(images), count)]
    return _said([*of_split, *_looks(run, images, split)], progress)


def doubts_of_calibration(
    run: RunDir | None, images: NDArray[np.uint8], progress: Progress
) -> dict[str, Any]:
    """What a calibration manifest gets where its images are not such as the model knows; else {}."""
    found = _said(_looks(run, images, "the calibration set"), progress)
    return {"warnings": found} if found else {}


def _looks(run: RunDir | None, images: NDArray[np.uint8], where: str) -> list[str]:
    """Lines on how the images look, "" where there is nothing to say."""
    known = trained_on(run)
    lines = [flat_line(int(flat(images).sum()), len(images), where)]
    if known is not None and len(images):
        lines.append(drift_line(known, measure(images), where))
    return lines


def _said(lines: list[str], progress: Progress) -> list[str]:
    found = [line for line in lines if line]
    for line in found:
        progress.say(f"warning: {line}")
    return found
