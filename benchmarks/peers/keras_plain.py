"""Keras itself: the trained model as TensorFlow runs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.interface import Absent, Candidate, Material
from edgecell.runtime import KerasPredictor

NAME = "Keras float32"


def candidates(material: Material) -> list[Candidate | Absent]:
    """The model; a reason where TensorFlow has begun with another number of threads."""
    import tensorflow as tf

    found = tf.config.threading.get_intra_op_parallelism_threads()
    if found != material.threads:
        return [
            Absent(
                NAME,
                f"TensorFlow runs with {found or 'all'} threads in this process, not with"
                f" {material.threads}; measure in a process of its own",
            )
        ]

    def opener() -> Plain:
        return Plain(KerasPredictor(material.model, material.model_file.name))

    runtime = f"TensorFlow {tf.__version__}"
    files = (material.model_file,)
    return [Candidate(NAME, runtime, "float32", opener, files, "float32", faithful=True)]


class Plain:
    """A predictor of any batch, one image at a time."""

    def __init__(self, predictor: KerasPredictor) -> None:
        self._predictor = predictor

    def invoke_once(self, image: NDArray[np.uint8]) -> None:
        """See :class:`benchmarks.peers.interface.Runner`."""
        self._predictor.predict(image[None])

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :class:`benchmarks.peers.interface.Runner`."""
        return np.concatenate([self._predictor.predict(image[None]) for image in images])


def limit_threads(threads: int) -> None:
    """Let TensorFlow run with so many threads, if it has not begun yet; it cannot change later."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return  # `candidates` looks at what there is, and says so
