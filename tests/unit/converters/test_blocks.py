"""The converters on graphs other than MobileNetV2's: max-pooling, several dense layers, sums behind a
ReLU, swish, squeeze and excitation."""

from __future__ import annotations

import blocks
import lessons
import numpy as np
import pytest
import tf_keras as keras
import toys

from converters import audit
from converters.fake_quant import build_twin, match_layers
from converters.lowering import quantize_int8
from converters.qat import fine_tune
from converters.search import METHODS, build, prepare, search
from converters.sensitivity import analyze, quantizable, worst_nodes
from converters.tflite import PRECISIONS, convert
from edgecell.checkpoint import Checkpoint
from edgecell.config import QatConfig
from edgecell.progress import Silent
from edgecell.runtime import KerasPredictor, TFLitePredictor

SAMPLE = toys.images(32, seed=1)[0]
IMAGES, LABELS = toys.images(96, seed=9)
KINDS = pytest.mark.parametrize("kind", list(blocks.KINDS))


@pytest.fixture(scope="module")
def prepared():
    return {kind: prepare(blocks.trained(kind), SAMPLE) for kind in blocks.KINDS}


@pytest.fixture(scope="module")
def expected():
    return {kind: KerasPredictor(blocks.trained(kind)).predict(IMAGES) for kind in blocks.KINDS}


@KINDS
def test_every_precision_is_what_it_says_and_answers_alike(kind, expected):
    assert (expected[kind].argmax(axis=1) == LABELS).mean() > 0.9  # alive, or nothing is shown
    for precision in PRECISIONS:
        data = convert(blocks.trained(kind), precision, calibration=SAMPLE)
        assert audit.audit(data, precision).violations == ()
        found = TFLitePredictor(data).predict(IMAGES)
        assert (found.argmax(axis=1) == expected[kind].argmax(axis=1)).mean() >= 0.98, precision


@KINDS
def test_every_method_makes_a_strict_int8_file_or_says_why_not(kind, prepared):
    reference = KerasPredictor(blocks.trained(kind))
    notes: list[str] = []
    result = search(prepared[kind], reference, IMAGES, LABELS, toys.CLASSES, step=notes.append)
    # Behind a swish no factor gets through, and the toy's bottleneck is summed with one.
    uneven = [name for name, m in METHODS.items() if m.equalized and kind == "excited"]
    full = [name for name, m in METHODS.items() if m.split and name not in uneven]
    assert list(result.skipped) == [name for name in METHODS if name in (*uneven, *full)]
    tried = [each.method for each in result.candidates]
    assert tried == [name for name in METHODS if name not in result.skipped]
    assert len(notes) == len(METHODS)
    assert min(each.agreement for each in result.candidates) >= 0.98
    for name, reason in result.skipped.items():
        if name in uneven:
            assert reason == "no two layers of this network can be evened out against each other"
        else:
            assert reason == "no layer of this network has room for a second copy of a channel"


@KINDS
def test_every_operator_is_ranked_and_the_worst_can_stay_in_float(kind, prepared, expected):
    graph, scaling = prepared[kind].calibrated, prepared[kind].scaling
    costs = analyze(graph, scaling, expected[kind], IMAGES, LABELS)
    assert sorted(cost.node for cost in costs) == sorted(node for node, _, _ in quantizable(graph))
    mixed = build(prepared[kind], METHODS["ptq-mse+gptq+bias"], float_nodes=worst_nodes(costs, 2))
    assert audit.audit(mixed, "mixed").violations == ()
    assert audit.audit(mixed, "int8").violations
    found = TFLitePredictor(mixed).predict(IMAGES)
    assert (found.argmax(axis=1) == expected[kind].argmax(axis=1)).mean() >= 0.98


@pytest.mark.parametrize(
    ("kind", "rounded", "within"),
    [
        ("plain", "relu1 relu2 pool hidden1 hidden2 probabilities", 0),
        ("residual", "stem_relu relu1 bn2 shortcut_bn relu2 pool probabilities", 0),
        (
            "excited",
            "stem_bn stem_activation bn activation se_reshape se_reduce se_expand se_excite"
            " project_bn add top_bn top_activation pool probabilities",
            1,  # between se_reduce's convolution and its swish
        ),
    ],
)
def test_the_twin_rounds_where_the_file_has_a_range_of_its_own(kind, rounded, within, prepared):
    """Not behind max-pooling or padding, which keep their input's scale, nor behind a sigmoid."""
    tensors, unmatched = match_layers(blocks.trained(kind), prepared[kind].calibrated)
    assert sorted(tensors) == sorted(rounded.split())
    assert len(unmatched) == within


@KINDS
def test_twin_and_file_round_alike(kind, expected):
    twin = build_twin(blocks.trained(kind), SAMPLE)
    # Narrower than measured: a range that only the twin or only the file keeps to would show.
    twin.set_ranges({name: (0.7 * low, 0.7 * high) for name, (low, high) in twin.ranges().items()})
    file = TFLitePredictor(quantize_int8(twin.calibrated())).predict(IMAGES)
    rounded = twin.model.predict_on_batch(twin.scaling.apply(IMAGES))
    assert (file.argmax(axis=1) == rounded.argmax(axis=1)).mean() >= 0.98
    assert np.abs(file - rounded).mean() < np.abs(file - expected[kind]).mean() / 8


def test_twin_and_file_round_alike_behind_a_sigmoid_head():
    trained = blocks.trained("residual")
    head = keras.layers.Dense(4, activation="sigmoid", name="probabilities")
    model = keras.Model(trained.input, head(trained.get_layer("pool").output))
    head.set_weights(trained.get_layer("probabilities").get_weights())
    twin = build_twin(model, SAMPLE)
    assert twin.ranges()["probabilities"][1] > 1  # of what goes into the sigmoid
    twin.set_ranges({name: (0.7 * low, 0.7 * high) for name, (low, high) in twin.ranges().items()})
    file = TFLitePredictor(quantize_int8(twin.calibrated())).predict(IMAGES)
    rounded = twin.model.predict_on_batch(twin.scaling.apply(IMAGES))
    plain = KerasPredictor(model).predict(IMAGES)
    assert np.abs(file - rounded).mean() < np.abs(file - plain).mean() / 8


@pytest.mark.slow
@KINDS
def test_quantization_aware_training_ends_in_a_strict_file(kind, tmp_path):
    settings = QatConfig(epochs=2, batch_size=16, learning_rate=1e-3, freeze_batchnorm_epochs=1)
    state = Checkpoint(tmp_path)
    tuned = fine_tune(blocks.trained(kind), lessons.lesson(), settings, state, "k", Silent())
    assert tuned.facts["val_accuracy"] > 0.9
    assert tuned.facts["twin_agreement"] >= 0.95
    assert audit.audit(quantize_int8(tuned.calibrated), "int8").violations == ()
