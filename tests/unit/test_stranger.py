"""Files of other houses: labels and scaling from their metadata, defaults that are said aloud."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toys
from asked import make_bundle

from edgecell.bundle.metadata import metadata
from edgecell.errors import ArtifactError
from edgecell.pipeline.opening import open_model
from edgecell.tasks import MULTI_CLASS, TASKS
from edgecell.tflite_metadata import Metadata, attach

LABELS = ("Dunkelrot", "Hellrot", "Dunkelblau", "Hellblau")


def foreign(scaled: bool, ending: str) -> bytes:
    """The trained toy as another house might build it, by TensorFlow's own converter.

    ``scaled``: it takes floats of -1 … 1; else bytes, in a tensor without a scale. ``ending``:
    softmax, sigmoid or logits.
    """
    import tensorflow as tf
    import tf_keras as keras

    toy = toys.trained()
    if scaled:  # (u - 127.5) / 127.5, brought to the toy's own (u - 128) / 128
        x = inputs = keras.Input((toys.SIZE, toys.SIZE, 3))
        x = keras.layers.Rescaling(127.5 / 128, offset=-0.5 / 128)(x)
    else:
        inputs = keras.Input((toys.SIZE, toys.SIZE, 3), dtype="uint8")
        x = tf.cast(inputs, tf.float32)
        x = keras.layers.Rescaling(1 / 128, offset=-1.0)(x)
    for layer in toy.layers[2:-1]:
        x = layer(x)
    activation = {"softmax": "softmax", "sigmoid": "sigmoid", "logits": None}[ending]
    head = keras.layers.Dense(4, activation=activation)
    model = keras.Model(inputs, head(x))
    head.set_weights(toy.layers[-1].get_weights())
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


@cache
def scaled_softmax() -> bytes:
    return foreign(True, "softmax")


@cache
def bytes_to_logits() -> bytes:
    return foreign(False, "logits")


def described(data: bytes, *, labels=LABELS, mean=(127.5,), std=(127.5,)) -> bytes:
    """``data`` with labels and a normalisation, as a metadata writer leaves it."""
    file = {"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}
    options = {"table": "NormalizationOptions", "mean": list(mean), "std": list(std)}
    graph = {
        "input_tensor_metadata": [{"process_units": [{"options": options}]}],
        "output_tensor_metadata": [{"associated_files": [file]}],
    }
    text = "".join(f"{label}\r\n" for label in labels) + "\n"
    return attach(data, Metadata({"subgraph_metadata": [graph]}, {"labels.txt": text.encode()}))


def opened(folder: Path, data: bytes):
    path = folder / "bought.tflite"
    path.write_bytes(data)
    return open_model(path).classifier


@pytest.fixture(scope="module")
def seen():
    """Images, and what the toy says of them."""
    pixels, _ = toys.images(24, seed=31)
    return pixels, toys.trained().predict(pixels.astype(np.float32), verbose=0)


def probabilities(classifier, pixels) -> np.ndarray:
    return np.array([answer.probabilities for answer in classifier.classify(pixels)])


def test_labels_and_scaling_come_from_the_metadata(tmp_path, seen):
    pixels, expected = seen
    classifier = opened(tmp_path, described(scaled_softmax()))
    assert classifier.rules.labels == LABELS and not classifier.logits
    np.testing.assert_allclose(probabilities(classifier, pixels), expected, atol=1e-5)
    assert len({a.said for a in classifier.classify(pixels)}) == 4
    assert "has not passed verify" in classifier.warning
    assert not any("scaled is not said" in note for note in classifier.notes)
    assert any("the whole image is resized to 16 × 16" in note for note in classifier.notes)


def test_scaling_may_differ_by_channel(tmp_path, seen):
    pixels, expected = seen
    data = described(scaled_softmax(), mean=(127.5, 127.5, 0.0), std=(127.5, 127.5, 255.0))
    found = probabilities(opened(tmp_path, data), pixels)
    assert np.abs(found - expected).max() > 0.05
    same = described(scaled_softmax(), mean=(127.5,) * 3, std=(127.5,) * 3)
    np.testing.assert_allclose(probabilities(opened(tmp_path, same), pixels), expected, atol=1e-5)


def test_without_metadata_pixels_enter_as_they_are_and_that_is_said(tmp_path, seen):
    pixels, expected = seen
    classifier = opened(tmp_path, scaled_softmax())
    assert any("they enter as 0 to 255" in note for note in classifier.notes)
    assert classifier.rules.labels[0] == "class 0"
    assert (
        np.abs(probabilities(classifier, pixels) - expected).max() > 0.1
    )  # it is wrong, and says why


def test_bytes_without_a_scale_and_logits(tmp_path, seen):
    pixels, expected = seen
    classifier = opened(tmp_path, described(bytes_to_logits(), mean=(0.0,), std=(1.0,)))
    np.testing.assert_allclose(probabilities(classifier, pixels), expected, atol=1e-5)
    assert any("a softmax was applied" in note for note in classifier.notes)


def test_a_sigmoid_decides_each_label(tmp_path):
    classifier = opened(tmp_path, described(foreign(True, "sigmoid")))
    assert classifier.rules.kind == "multi-label"
    assert any("ends with a sigmoid" in note for note in classifier.notes)


def test_a_list_of_the_wrong_length_is_worse_than_none(tmp_path):
    classifier = opened(tmp_path, described(scaled_softmax(), labels=(*LABELS, "x")))
    assert classifier.rules.labels == ("class 0", "class 1", "class 2", "class 3")
    assert any("5 labels for 4 outputs" in note for note in classifier.notes)


@pytest.mark.parametrize("std", [(0.0,), (float("nan"),), (1.0, 2.0)])
def test_a_scaling_that_is_none_is_not_used(tmp_path, std):
    classifier = opened(tmp_path, described(scaled_softmax(), std=std))
    assert any("scaled is not said" in note for note in classifier.notes)


def test_labels_that_unpack_to_too_much_are_refused(tmp_path):
    import io
    import zipfile

    stream = io.BytesIO(described(scaled_softmax()))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", bytes(65_000_000))
    assert len(stream.getvalue()) < 200_000
    with pytest.raises(ArtifactError, match="damaged metadata"):
        opened(tmp_path, stream.getvalue())


def test_the_model_of_a_bundle_alone_still_knows_its_labels(tmp_path):
    """As edgecell bundle describes it, in a folder without model.json."""
    card = json.loads((make_bundle(tmp_path) / "model.json").read_text(encoding="utf-8"))
    subject = SimpleNamespace(name="toy", labels=toys.CLASSES, task=TASKS[MULTI_CLASS])
    classifier = opened(tmp_path, attach(toys.converted("int8"), metadata(subject, card)))
    assert classifier.rules.labels == toys.CLASSES
