"""Whether a model answers in the form of a data set's labels, by how it ends."""

from __future__ import annotations

from edgecell.data import Dataset
from edgecell.graph import decides_labels
from edgecell.pipeline.targets import Target, check_task
from edgecell.runtime import KerasPredictor, Predictor, TFLitePredictor


def check_last_layer(target: Target, predictor: Predictor, dataset: Dataset) -> None:
    """Refuse a softmax for several labels to an image, and a sigmoid for one; see ``tasks.check_form``.

    A file that ends in neither is let pass.

    Raises:
        DataError: ``predictor``, the model of ``target``, answers in the other form.
    """
    decides = ends_in_sigmoid(predictor)
    if decides is not None:
        check_task(target, decides, dataset)


def ends_in_sigmoid(predictor: Predictor) -> bool | None:
    """Whether a model decides each label by itself; None where a file does not tell."""
    if isinstance(predictor, KerasPredictor):
        from edgecell import anatomy

        return anatomy.decides_labels(predictor.model)
    return decides_labels(predictor.file) if isinstance(predictor, TFLitePredictor) else None
