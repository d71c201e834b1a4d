"""Whether a model answers in the form of a data set's labels, by how it ends."""

from __future__ import annotations

from edgecell.data import Dataset
from edgecell.graph import last_operator
from edgecell.pipeline.targets import Target, check_task
from edgecell.runtime import KerasPredictor, Predictor, TFLitePredictor

_CURVES = {"SOFTMAX": False, "LOGISTIC": True}


def check_last_layer(target: Target, predictor: Predictor, dataset: Dataset) -> None:
    """Refuse a softmax for several labels to an image, and a sigmoid for one.

    The outputs of both have the same shape, and every figure would come out wrong without a word. A
    file that ends in neither is let pass.

    Raises:
        DataError: ``predictor``, the model of ``target``, answers in the other form.
    """
    if isinstance(predictor, KerasPredictor):
        from edgecell.anatomy import decides_labels

        check_task(target, decides_labels(predictor.model), dataset)
    elif isinstance(predictor, TFLitePredictor):
        decides = _CURVES.get(last_operator(predictor.file))
        if decides is not None:
            check_task(target, decides, dataset)
