from __future__ import annotations

import json

import numpy as np
import pytest
import toys

from converters import audit
from converters.constants import replace_constants
from converters.lowering import calibrated_model, quantize_int8
from converters.search import METHODS, PLAIN, Method, build, choose, judge, prepare, search
from converters.sensitivity import analyze, label, quantizable, worst_nodes
from converters.weighted import weighted_layers
from edgecell.errors import ConvertError, DataError
from edgecell.runtime import KerasPredictor, TFLitePredictor
from edgecell.tflite_file import parse

IMAGES, LABELS = toys.images(64, seed=9)


@pytest.fixture(scope="module")
def prepared():
    return prepare(toys.trained(), toys.images(48, seed=1)[0])


@pytest.fixture(scope="module")
def reference():
    return KerasPredictor(toys.trained())


def rows(*answers: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[list(answers)]


# ----------------------------------------------------------------------------------------- search


def test_a_planted_bad_method_is_tried_reported_and_not_kept(prepared, reference):
    methods = {"ptq-bad": Method("percentile-55"), "ptq-minmax+bias": Method("minmax", bias=True)}
    notes = []
    result = search(
        prepared, reference, IMAGES, LABELS, toys.CLASSES, methods=methods, step=notes.append
    )
    assert [each.method for each in result.candidates] == list(methods)
    bad, good = result.candidates
    assert bad.agreement < 0.9 and bad.probability_error > 10 * good.probability_error
    assert result.chosen == "ptq-minmax+bias" and result.best is good
    assert len(notes) == 2 and notes[0].startswith("ptq-bad: accuracy drop +")
    stored = json.loads(json.dumps(result.to_json()))
    assert stored["candidates"][1]["size_bytes"] == len(good.data)
    assert all("data" not in each for each in stored["candidates"])


def test_every_method_makes_a_strict_int8_file(prepared, reference):
    result = search(prepared, reference, IMAGES, LABELS, toys.CLASSES)
    split = [name for name, method in METHODS.items() if method.split]
    assert list(result.skipped) == split  # for which the toy has no room
    assert [each.method for each in result.candidates] == [m for m in METHODS if m not in split]
    apart = (PLAIN, "ptq-minmax+bias", "ptq-minmax+gptq+bias", "ptq-cle+mse+gptq+bias")
    assert len({each.data for each in result.candidates if each.method in apart}) == len(apart)
    assert result.best.changed == min(each.changed for each in result.candidates)
    assert (result.n, result.n_unseen) == (64, 0)


def test_the_plain_method_is_the_plain_conversion(prepared):
    assert build(prepared, METHODS[PLAIN]) == quantize_int8(prepared.calibrated)


@pytest.mark.parametrize("ranges", ["kl", "percentile-", "percentile-100", "percentile-20"])
def test_ranges_of_an_unknown_name_are_refused(prepared, ranges):
    with pytest.raises(ConvertError, match="allowed: minmax, mse, percentile-P"):
        build(prepared, Method(ranges))


def test_nothing_to_search_in_is_refused(prepared, reference):
    with pytest.raises(ConvertError, match="no method to try"):
        search(prepared, reference, IMAGES, LABELS, toys.CLASSES, methods={})
    with pytest.raises(DataError, match="0 images"):
        search(prepared, reference, IMAGES[:0], LABELS[:0], toys.CLASSES)
    with pytest.raises(ConvertError, match="needs calibration images"):
        prepare(toys.trained(), IMAGES[:0])


def test_unseen_images_choose_too_and_val_alone_gives_the_figures(prepared, reference):
    """A file that is right on the few images of val and wrong beyond is not kept for it."""
    methods = {
        "ptq-bad": Method("percentile-55"),
        "ptq-mse+gptq+bias": METHODS["ptq-mse+gptq+bias"],
    }
    answers = reference.predict(IMAGES).argmax(axis=1)
    bad = TFLitePredictor(build(prepared, methods["ptq-bad"])).predict(IMAGES).argmax(axis=1)
    kind = np.flatnonzero(bad == answers)[:6]
    assert len(kind) == 6 and (bad != answers).any()  # the plant bites
    val, labels = IMAGES[kind], LABELS[kind]
    alone = search(prepared, reference, val, labels, toys.CLASSES, methods=methods)
    beside = search(prepared, reference, val, labels, toys.CLASSES, unseen=IMAGES, methods=methods)
    assert alone.candidates[0].changed == 0 < beside.candidates[0].changed
    assert beside.chosen == "ptq-mse+gptq+bias"
    assert (beside.n, beside.n_unseen) == (6, 64)
    assert beside.reference_accuracy == alone.reference_accuracy
    for one, other in zip(alone.candidates, beside.candidates, strict=True):
        assert (one.accuracy, one.agreement) == (other.accuracy, other.agreement)
    assert beside.to_json()["n_unseen"] == 64


def test_the_rule_prefers_agreement_over_lucky_answers():
    expected, labels = rows(0, 1, 2, 3, 3, 2), np.array([0, 1, 2, 3, 2, 3])
    answers = {
        "worse": rows(0, 1, 2, 0, 3, 2),
        "lucky": rows(0, 1, 2, 3, 2, 3),  # right where the reference errs
        "same": expected * 0.9 + 0.025,
        "equal": expected,
        "twin": expected,
    }
    found = [
        judge(name, b"", expected, found, labels, toys.CLASSES, 0.0)
        for name, found in answers.items()
    ]
    by_name = {each.method: each for each in found}
    assert [by_name[name].changed for name in answers] == [1, 2, 0, 0, 0]
    assert by_name["lucky"].accuracy_drop == pytest.approx(-2 / 6)
    assert by_name["worse"].accuracy_drop == pytest.approx(1 / 6)
    # Class 3: F1 of 2·1/(2 + 2) falls to 2·0/(2 + 1).
    assert by_name["worse"].worst_class == toys.CLASSES[3]
    assert by_name["worse"].worst_class_f1_drop == pytest.approx(0.5)
    assert choose(found).method == "equal"
    assert choose([by_name["worse"], by_name["lucky"], by_name["same"]]).method == "same"
    assert [(by_name[name].lost, by_name[name].gained) for name in ("worse", "lucky")] == [
        (1, 0),
        (0, 2),
    ]
    # One changed and lost, or two changed and gained: as many, and the smaller difference decides.
    assert choose([by_name["worse"], by_name["lucky"]]).method == "worse"
    twice = judge("twice", b"", expected, rows(1, 0, 2, 3, 3, 2), labels, toys.CLASSES, 0.0)
    assert twice.changed == by_name["lucky"].changed
    assert choose([twice, by_name["lucky"]]).method == "lucky"


# ------------------------------------------------------------------------------------ sensitivity


@pytest.fixture(scope="module")
def expected(reference):
    return reference.predict(IMAGES)


def test_a_planted_bad_layer_comes_first(prepared):
    """A dead channel with huge dense weights: nothing changes in float, int8 loses the others."""
    flatbuffer = prepared.calibrated.flatbuffer
    depthwise, dense = weighted_layers(flatbuffer)[1:]
    values = {
        index: parse(flatbuffer).constant(index).copy()
        for index in (depthwise.weights, depthwise.bias, dense.weights)
    }
    values[depthwise.weights][..., 0] = 0
    values[depthwise.bias][0] = 0
    values[dense.weights][:, 0] = 127.0  # steps of 1, where the other weights are smaller
    planted = calibrated_model(replace_constants(flatbuffer, values))
    nothing = quantize_int8(planted, float_nodes=frozenset(planted.ranges))
    expected = TFLitePredictor(nothing).predict(IMAGES)
    notes = []
    costs = analyze(planted, prepared.scaling, expected, IMAGES, LABELS, step=notes.append)
    assert len(costs) == len(notes) == len(quantizable(planted))
    assert costs[0].node == dense.name and costs[0].weights == 32
    ratios = [cost.sqnr_db for cost in costs]
    assert ratios[0] < 20 < 35 < min(ratios[1:])
    assert costs[0].probability_error > 10 * costs[1].probability_error
    json.dumps([cost.to_json() for cost in costs])


def test_without_a_plant_no_layer_costs_much(prepared, expected):
    costs = analyze(prepared.calibrated, prepared.scaling, expected, IMAGES, LABELS)
    assert max(cost.agreement_drop for cost in costs) <= 2 / len(IMAGES)
    errors = [cost.probability_error for cost in costs]
    assert errors == sorted(errors, reverse=True)


def test_mixed_is_mixed_and_never_int8(prepared, expected):
    costs = analyze(prepared.calibrated, prepared.scaling, expected, IMAGES, LABELS)
    nodes = worst_nodes(costs, 1)
    mixed = build(prepared, METHODS["ptq-mse+gptq+bias"], float_nodes=nodes)
    assert audit.audit(mixed, "mixed").passed
    refused = audit.audit(mixed, "int8")
    assert any("FLOAT32, allowed integers only" in line for line in refused.violations)
    plain = audit.audit(build(prepared, METHODS[PLAIN]), "mixed")
    assert plain.violations == ("no convolution or dense operator in FLOAT32; mixed has both",)
    for file in ("float32", "dynamic", "int16x8"):
        assert not audit.audit(toys.converted(file), "mixed").passed


def test_some_layer_must_stay_integer(prepared, expected):
    costs = analyze(prepared.calibrated, prepared.scaling, expected, IMAGES, LABELS)
    assert len(worst_nodes(costs, 2)) == 2
    for count in (0, 3):
        with pytest.raises(ConvertError, match=f"{count} layers in float; allowed: 1 to 2 of 3"):
            worst_nodes(costs, count)


def test_images_and_predictions_must_fit(prepared, expected):
    with pytest.raises(DataError, match="64 images, 64 labels and 63"):
        analyze(prepared.calibrated, prepared.scaling, expected[1:], IMAGES, LABELS)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("net/bn/FusedBatchNormV3;net/block_1_project/Conv2D1", "block_1_project"),
        ("net/r/Relu6;net/block_1_depthwise/depthwise;net/block_1_pad/Pad1", "block_1_depthwise"),
        ("net/block_2_add/add", "block_2_add"),
        ("odd", "odd"),
    ],
)
def test_labels_name_the_layer(node, said):
    assert label(node) == said
