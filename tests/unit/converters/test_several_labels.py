"""Converting models that decide several labels of an image: what is drawn, judged, searched and trained."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
import toys
import toys_labels
from hypothesis import given
from hypothesis import strategies as st
from lessons import labelled, lesson_of_labels
from sklearn.metrics import f1_score, roc_auc_score

from converters import audit
from converters.calibration import calibration_set, choose
from converters.clustering import cluster
from converters.fake_quant import build_twin
from converters.fine_tuning import Judge, make_step, tune
from converters.lowering import calibrate, quantize_int8
from converters.pruning import prune
from converters.qat import Rounded, fine_tune
from converters.scoring import CLASSES, LABELS, scoring_of
from converters.search import METHODS, PLAIN, Method, build, judge, prepare, search
from converters.search import choose as best_of
from converters.sensitivity import analyze, quantizable, worst_nodes
from converters.tflite import check_reference, convert
from edgecell import tflite_file
from edgecell.anatomy import decides_labels
from edgecell.checkpoint import Checkpoint
from edgecell.config import ClusterConfig, PruneConfig, QatConfig
from edgecell.data.sources import ArraySource
from edgecell.data.types import Split
from edgecell.distillation import divergence
from edgecell.errors import ConvertError, DataError
from edgecell.metrics import mean_auc
from edgecell.preprocess import PreprocessSpec
from edgecell.progress import Silent
from edgecell.runtime import KerasPredictor, TFLitePredictor

NAMES = toys_labels.LABELS
SHORT = QatConfig(epochs=1, batch_size=16, learning_rate=1e-3)


@cache
def reference() -> KerasPredictor:
    return KerasPredictor(toys_labels.trained())


@cache
def prepared():
    return prepare(toys_labels.trained(), toys_labels.images(48, seed=1)[0])


# ------------------------------------------------------------------------------------ calibration


@given(st.integers(0, 300), st.integers(1, 80), st.integers(0, 4))
def test_every_label_that_occurs_is_in_the_sample(pattern, count, seed):
    random = np.random.default_rng(pattern)
    labels = (random.random((random.integers(1, 60), 5)) < random.random(5) ** 3).astype(np.int64)
    present = labels.any(axis=0)
    if count < present.sum():
        with pytest.raises(DataError, match=f"{count} calibration images for {present.sum()} lab"):
            choose(labels, count, seed)
        return
    chosen = choose(labels, count, seed)
    assert len(chosen) == min(count, len(labels)) and (np.diff(chosen) > 0).all()
    assert chosen.dtype == np.int64 and chosen.min() >= 0 and chosen.max() < len(labels)
    np.testing.assert_array_equal(labels[chosen].any(axis=0), present)
    np.testing.assert_array_equal(chosen, choose(labels, count, seed))


def test_every_label_gets_its_share_and_images_without_any_the_rest():
    labels = (np.random.default_rng(0).random((4000, 4)) < [0.5, 0.2, 0.05, 0.004]).astype(np.int64)
    drawn = labels[choose(labels, 400, 3)]
    exact = labels.sum(axis=0) / 10
    assert np.abs(drawn.sum(axis=0) - exact).max() <= 2
    # Which labels meet in an image is left to chance: of 153 images without any 1.3 σ.
    assert abs((drawn.sum(axis=1) == 0).sum() - (labels.sum(axis=1) == 0).sum() / 10) <= 13
    assert not np.array_equal(choose(labels, 400, 3), choose(labels, 400, 4))


def test_labels_of_one_image_each_are_all_drawn():
    """The draw alone would leave about a half of them to the other part."""
    labels = np.vstack([np.eye(6, dtype=np.int64), np.zeros((44, 6), np.int64)])
    for seed in range(20):
        assert set(range(6)) <= set(choose(labels, 6, seed).tolist())


def test_the_manifest_counts_images_having_each_label():
    images, labels = toys_labels.images(60, seed=4)
    labels[:, 3] = 0
    split = Split("train", ArraySource(images, "train"), labels)
    drawn = calibration_set(split, PreprocessSpec(16, 16), count=20, seed=1, fingerprint="f")
    counted = json.loads(json.dumps(drawn.manifest))["per_class"]
    mine = labels[drawn.indices]
    assert counted == {
        **{str(k): int(mine[:, k].sum()) for k in range(4)},
        "none": int((mine.sum(axis=1) == 0).sum()),
    }
    assert counted["3"] == 0 < counted["none"]


# ----------------------------------------------------------------------------------- the reference


def head(last, units=3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, last(x, units))


def dense(activation):
    return lambda x, units: keras.layers.Dense(units, activation)(x)


def apart(activation):
    return lambda x, units: keras.layers.Activation(activation)(keras.layers.Dense(units)(x))


def inner(activation):
    def last(x, units):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation)])(x)

    return last


@pytest.mark.parametrize("last", [dense("sigmoid"), apart("sigmoid"), inner("sigmoid")])
def test_a_sigmoid_is_taken_and_known(last):
    model = head(last)
    assert decides_labels(model)
    check_reference(model, "m.keras")


@pytest.mark.parametrize("last", [dense("softmax"), apart("softmax"), inner("softmax")])
def test_a_softmax_is_no_sigmoid(last):
    model = head(last)
    assert not decides_labels(model)
    check_reference(model, "m.keras")


def fractions(x, units):
    """Numbers within 0..1 that no sigmoid made."""
    return keras.layers.Activation("hard_sigmoid")(keras.layers.Dense(units)(x))


@pytest.mark.parametrize("last", [dense("linear"), fractions, dense("relu")])
def test_numbers_between_0_and_1_are_no_proof(last):
    model = head(last)
    if last is fractions:
        rows = model(np.full((1, 16, 16, 3), 96.0, np.float32)).numpy()
        assert rows.min() >= 0 and rows.max() <= 1
    assert not decides_labels(model)
    with pytest.raises(ConvertError, match="end it with a softmax layer, or a sigmoid layer where"):
        check_reference(model, "m.keras")


def test_one_label_and_a_broken_model_are_refused():
    with pytest.raises(ConvertError, match="allowed: one row of at least 2"):
        check_reference(head(dense("sigmoid"), 1), "m.keras")
    broken = head(dense("sigmoid"))
    broken.set_weights([np.full_like(w, np.nan) for w in broken.get_weights()])
    with pytest.raises(ConvertError, match="does not give probabilities"):
        check_reference(broken, "m.keras")


# ---------------------------------------------------------------------------------------- scoring


def test_the_error_is_noise_in_the_label_s_own_variance():
    expected = np.array([[0.1, 0.5, 0.3], [0.3, 0.5, 0.9]])  # variances 0.01, 0, 0.09
    found = np.array([[0.2, 0.6, 0.3], [0.3, 0.4, 0.9]])  # noise 0.005, 0.01, 0
    assert LABELS.error(expected, found) == pytest.approx((0.005 / 0.015 + 0) / 2)
    assert LABELS.error(expected, expected) == 0.0
    # A label on a hundredth of the scale counts as much.
    assert LABELS.error(expected / 100, found / 100) == pytest.approx(LABELS.error(expected, found))
    assert LABELS.error(np.full((4, 2), 0.5), np.zeros((4, 2))) == 0.0


def test_quality_is_that_of_decisions_and_ranks():
    random = np.random.default_rng(3)
    labels = (random.random((50, 3)) < 0.4).astype(np.int64)
    p = (0.5 * labels + random.random((50, 3)) * 0.7).clip(0, 1)
    found = scoring_of(labels).quality(labels, p)
    said = (p > 0.5).astype(int)
    assert found.accuracy == pytest.approx((said == labels).mean())
    assert found.macro_f1 == pytest.approx(f1_score(labels, said, average="macro"))
    np.testing.assert_allclose(found.f1, f1_score(labels, said, average=None))
    assert found.auc == pytest.approx(roc_auc_score(labels, p))
    # A label that no image has and none was given has no part in the mean.
    labels[:, 2], p[:, 2] = 0, 0.1
    rare = LABELS.quality(labels, p)
    assert rare.present.tolist() == [True, True, False]
    assert rare.macro_f1 == pytest.approx(f1_score(labels[:, :2], said[:, :2], average="macro"))
    assert LABELS.quality(0 * labels, 0 * p).macro_f1 == 0.0


def test_judge_counts_decisions():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    expected = np.array([[0.9, 0.2], [0.8, 0.3], [0.4, 0.1], [0.3, 0.2], [0.6, 0.6]], np.float32)
    found = np.array([[0.9, 0.7], [0.4, 0.6], [0.4, 0.1], [0.3, 0.2], [0.6, 0.4]], np.float32)
    made = judge("m", b"xyz", expected, found, labels, ("a", "b"), 1.0)
    # Val: (0, b) lost, (1, a) lost, (1, b) gained; the fifth image is unseen and changed once.
    assert (made.changed, made.lost, made.gained, made.size_bytes) == (4, 2, 1, 3)
    assert made.agreement == pytest.approx(5 / 8)
    assert made.accuracy == pytest.approx(5 / 8)
    assert made.accuracy_drop == pytest.approx(1 / 8)
    # a: F1 of 1 falls to 2·1/(2 + 1); b: of 0 rises to 2·1/(2 + 2).
    assert (made.worst_class, made.worst_class_f1_drop) == ("a", pytest.approx(1 / 3))
    assert made.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    # a: 1, then 3.5 of 4 pairs (0.4 is met by 0.4); b: 0.3 and 0.2 over 0.2 and 0.1, a tie: 3.5 of 4,
    # then 0.6 and 0.2 over 0.7 and 0.1: 2 of 4.
    assert made.auc_drop == pytest.approx((1 + 3.5 / 4) / 2 - (3.5 / 4 + 2 / 4) / 2)
    assert made.to_json()["auc_drop"] == made.auc_drop
    assert made.probability_error == LABELS.error(expected, found)


def test_a_rare_label_that_never_reaches_one_half_still_chooses():
    """Its decisions are all no, whatever a file does to its probabilities."""
    random = np.random.default_rng(0)
    labels = np.stack([random.random(200) < 0.5, random.random(200) < 0.1], axis=1).astype(np.int64)
    common = 0.25 + 0.5 * labels[:, 0] + random.normal(0, 0.02, 200)
    rare = 0.01 + 0.01 * labels[:, 1] + random.normal(0, 0.002, 200)
    common[0] = 0.501
    expected = np.stack([common, rare], axis=1).astype(np.float32)
    coarse, near = expected.copy(), expected.copy()
    coarse[:, 1] = np.round(coarse[:, 1] * 20) / 20  # order gone, no decision changed
    near[:, 0] -= 0.002  # one decision changed, order as it was
    found = [
        judge(name, b"", expected, rows, labels, ("common", "rare"), 0.0)
        for name, rows in (("coarse", coarse), ("near", near))
    ]
    assert [each.changed for each in found] == [0, 1]
    assert found[0].auc_drop > 0.2 and abs(found[1].auc_drop) < 1e-9
    assert best_of(found, CLASSES).method == "coarse"  # what counting answers would keep
    assert best_of(found, LABELS).method == "near"


def test_a_loss_of_auc_counts_and_a_gain_buys_nothing():
    labels = (np.arange(12).reshape(6, 2) % 5 < 2).astype(np.int64)
    rows = np.linspace(0.1, 0.9, 12).reshape(6, 2).astype(np.float32)
    made = judge("m", b"", rows, rows, labels, ("a", "b"), 0.0)
    worse, better = replace(made, auc_drop=0.01), replace(made, auc_drop=-0.3)
    assert LABELS.badness(worse) > LABELS.badness(made) == LABELS.badness(better)
    assert best_of([replace(made, changed=3), made], LABELS).changed == 0

    def figures(error, drop):
        return {"val_probability_error": error, "val_auc_drop": drop}

    score = LABELS.epoch_score
    assert score(figures(0.01, 0.0)) > score(figures(0.01, 0.001))
    assert score(figures(0.01, -0.01)) == score(figures(0.01, 0.0))
    assert score(figures(0.005, 0.0)) > score(figures(0.01, -0.01))
    assert score(figures(0.999, 1.0)) > -1.0


# ----------------------------------------------------------------------------------------- search


def test_a_planted_bad_method_is_not_kept():
    images, labels = toys_labels.images(64, seed=9)
    methods = {"ptq-bad": Method("percentile-55"), "ptq-mse+bias": METHODS["ptq-mse+bias"]}
    unseen = toys_labels.images(40, seed=10)[0]
    notes: list[str] = []
    result = search(
        *(prepared(), reference(), images, labels, NAMES),
        unseen=unseen,
        methods=methods,
        step=notes.append,
    )
    bad, good = result.candidates
    assert result.chosen == "ptq-mse+bias" and bad.probability_error > 3 * good.probability_error
    assert (result.n, result.n_unseen, result.answers) == (64, 40, 104 * 4)
    both = np.concatenate([images, unseen])
    expected, found = reference().predict(both), TFLitePredictor(good.data).predict(both)
    assert good.changed == ((expected > 0.5) != (found > 0.5)).sum()
    was, now = (mean_auc(labels, rows[:64]) for rows in (expected, found))
    assert good.auc_drop == pytest.approx(was - now)
    assert result.reference_accuracy == pytest.approx(((expected[:64] > 0.5) == labels).mean())
    stored = json.loads(json.dumps(result.to_json()))
    assert stored["rule"] == LABELS.rule != CLASSES.rule
    assert all("auc_drop" in each for each in stored["candidates"])
    assert "AUC drop" in notes[0]


def test_a_search_goes_by_the_labels_rule(monkeypatch):
    images, labels = toys_labels.images(16, seed=9)
    planted = {PLAIN: {"changed": 0, "probability_error": 0.2}, "ptq-mse": {"changed": 9}}

    def judged(name, *arguments):
        return replace(judge(name, *arguments), **planted[name])

    monkeypatch.setattr("converters.search.judge", judged)
    methods = {name: METHODS[name] for name in planted}
    result = search(prepared(), reference(), images, labels, NAMES, methods=methods)
    assert best_of(list(result.candidates), CLASSES).method == PLAIN
    assert result.chosen == "ptq-mse"


def test_classes_have_no_auc_in_their_record():
    """Records of one class to an image stay as they were."""
    images, labels = toys.images(16, seed=9)
    rows = np.eye(4, dtype=np.float32)[labels]
    made = judge("m", b"", rows, rows, labels, toys.CLASSES, 0.0)
    assert made.auc_drop is None and "auc_drop" not in made.to_json()
    assert CLASSES.rule == (
        "fewest answers changed on val and on the unseen images of train, to which those add that val lost"
        " more than it gained; then the smallest mean squared difference of probabilities; then the simplest"
    )


def test_layers_are_ranked_by_noise():
    images, labels = toys_labels.images(48, seed=9)
    expected = reference().predict(images)
    ready = prepared()
    costs = analyze(ready.calibrated, ready.scaling, expected, images, labels)
    nodes = [node for node, _, _ in quantizable(ready.calibrated)]
    assert sorted(cost.node for cost in costs) == sorted(nodes)
    assert "LOGISTIC" not in {cost.operator for cost in costs}
    errors = [cost.probability_error for cost in costs]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0
    # The same by hand: only that operator is integer.
    worst, graph = costs[0], tflite_file.parse(ready.calibrated.flatbuffer)
    everything = frozenset(graph.tensors[op.outputs[0]].name for op in graph.operators)
    file = quantize_int8(ready.calibrated, float_nodes=everything - {worst.node})
    plain = quantize_int8(ready.calibrated, float_nodes=everything)
    rows, floats = (TFLitePredictor(data).predict(images) for data in (file, plain))
    assert worst.probability_error == pytest.approx(LABELS.error(floats, rows), rel=1e-4)
    assert worst.agreement == pytest.approx(((rows > 0.5) == (expected > 0.5)).mean())
    hits = [((each > 0.5) == labels).mean() for each in (floats, rows)]
    assert worst.accuracy_drop == pytest.approx(hits[0] - hits[1])


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize(("precision", "input_type"), [*toys.KINDS, ("dynamic", None)])
def test_every_precision_is_what_it_says_and_keeps_the_ranks(precision, input_type):
    data = toys_labels.converted(precision, input_type)
    assert audit.audit(data, precision, input_type).violations == ()
    images, labels = toys_labels.images(600, seed=8)
    expected, found = reference().predict(images), TFLitePredictor(data).predict(images)
    was, now = mean_auc(labels, expected), mean_auc(labels, found)
    assert was > 0.8
    # The rounding of an int8 file's outputs alone moves AUC by less than 0.001 here; a file whose
    # labels were in another order would lose 0.3.
    assert was - now < {"int8": 0.01, "dynamic": 0.005}.get(precision, 0.002)
    assert LABELS.error(expected, found) < 0.02


def test_a_mixed_file_has_its_sigmoid_too():
    images, labels = toys_labels.images(48, seed=9)
    ready = prepared()
    costs = analyze(ready.calibrated, ready.scaling, reference().predict(images), images, labels)
    data = build(ready, METHODS[PLAIN], float_nodes=worst_nodes(costs, 1))
    assert audit.audit(data, "mixed").violations == ()
    plain = build(ready, METHODS[PLAIN])
    many = toys_labels.images(300, seed=8)[0]
    expected = reference().predict(many)
    errors = [LABELS.error(expected, TFLitePredictor(each).predict(many)) for each in (data, plain)]
    # Not always the smaller one: what a layer makes good another may have cancelled (1.03 of it, once).
    assert errors[0] < 1.5 * errors[1]


# ------------------------------------------------------------------------------------ fine-tuning


def test_one_epoch_of_qat_and_its_figures_are_those_of_the_file(tmp_path):
    lesson = lesson_of_labels()
    tuned = fine_tune(toys_labels.trained(), lesson, SHORT, Checkpoint(tmp_path), "k", Silent())
    data = tuned.int8()
    assert audit.audit(data, "int8").violations == ()
    images, labels = toys_labels.images(48, seed=2)
    expected, found = reference().predict(images), TFLitePredictor(data).predict(images)
    facts = tuned.facts
    was, now = expected > 0.5, found > 0.5
    assert facts["val_accuracy"] == pytest.approx((now == labels).mean())
    assert facts["val_accuracy_drop"] == pytest.approx(
        (was == labels).mean() - (now == labels).mean()
    )
    assert facts["val_agreement"] == pytest.approx((was == now).mean())
    assert facts["val_auc"] == pytest.approx(roc_auc_score(labels, found))
    drop = roc_auc_score(labels, expected) - roc_auc_score(labels, found)
    assert facts["val_auc_drop"] == pytest.approx(drop)
    drops = [f1_score(labels, rows, average=None) for rows in (was, now)]
    assert facts["val_worst_f1_drop"] == pytest.approx((drops[0] - drops[1]).max())
    assert facts["val_probability_error"] == pytest.approx(LABELS.error(expected, found), rel=1e-3)
    assert 0.9 < facts["twin_agreement"] <= 1.0
    assert [entry["epoch"] for entry in tuned.progression.history] == [0, 1]
    json.dumps([facts, tuned.progression.history], allow_nan=False)
    moved = zip(tuned.model.get_weights(), toys_labels.trained().get_weights(), strict=True)
    assert any(np.abs(a - b).max() > 1e-5 for a, b in moved)


class Planted(Rounded):
    """Says of its epochs what it was told to."""

    epochs = iter(())

    def measure(self, judge):
        wanted = next(self.epochs)
        assert judge.how is LABELS
        return judge.figures(judge.expected) | wanted


def test_the_epoch_of_least_noise_is_kept(tmp_path):
    """Not the one of most decisions in common."""
    twin = build_twin(toys_labels.trained(), toys_labels.images(32, seed=1)[0])
    student = Planted(twin)
    Planted.epochs = iter(
        {"val_agreement": a, "val_probability_error": e, "val_auc_drop": d}
        for a, e, d in ((0.9, 0.3, 0.1), (1.0, 0.2, 0.0), (0.9, 0.1, -0.2), (1.0, 0.05, 0.1))
    )
    how = replace(SHORT, epochs=3, freeze_batchnorm_epochs=1)
    notes = Notes()
    progression, facts = tune(
        *(student, toys_labels.trained(), lesson_of_labels(), how, Checkpoint(tmp_path), "k", notes)
    )
    assert (progression.best_epoch, facts["best_epoch"]) == (2, 2)
    assert facts["val_probability_error"] == 0.1
    assert any("AUC drop -0.2000 *" in line for line in notes.lines)


class Notes(Silent):
    """Keeps what is said at the end of an epoch."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def advance(self, done: int, note: str = "") -> None:
        self.lines.append(note)


def test_the_step_s_loss_is_the_labels():
    """Weighed label by label, smoothed towards one half, and the distance from the reference's answers."""
    twin = build_twin(toys_labels.trained(), toys_labels.images(32, seed=1)[0])
    for variable in twin.model.trainable_variables:
        if "kernel" in variable.name:
            variable.assign(variable * 0.7)
    how = replace(SHORT, distillation=0.6, temperature=2.0)
    step = make_step(
        *(toys_labels.trained(), Rounded(twin), keras.optimizers.Adam(1e-3), how, 0.1), several=True
    )
    batch = labelled("train", 32, 1)
    x = tf.constant(batch.pixels, tf.float32)
    targets, weights = batch.targets(np.arange(32)), batch.sample_weights
    taught = toys_labels.trained().predict_on_batch(x)
    p = twin.model(twin.scaling.apply(batch.pixels), training=False).numpy().astype(np.float64)
    smooth = targets * 0.9 + 0.05
    hard = (weights * -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p))).mean()
    soft = divergence(taught, p.astype(np.float32), 2.0, several=True).numpy().mean()
    losses = [float(step(x, tf.constant(targets), tf.constant(weights), True)) for _ in range(25)]
    assert losses[0] == pytest.approx(0.4 * hard + 0.6 * soft, rel=1e-3)
    assert losses[-1] < 0.9 * losses[0]


def test_a_sigmoid_that_is_a_layer_of_its_own_learns_too():
    """Rounded to 0 in the twin, it would give no gradient back for a label that it is sure is not there."""
    plain = toys_labels.model("linear")
    plain.set_weights(toys_labels.trained().get_weights())
    model = keras.Model(plain.input, keras.layers.Activation("sigmoid", name="last")(plain.output))
    sample = toys_labels.images(32, seed=1)[0]
    twin = build_twin(model, sample)
    dense = next(la for la in twin.model.layers if la.name.endswith("probabilities"))
    bias = next(v for v in dense.weights if "bias" in v.name)
    bias.assign(bias - 18.0)
    twin.set_ranges({**twin.ranges(), "probabilities": (-36.0, 2.0)})
    sure = twin.model(twin.scaling.apply(toys_labels.images(32, 1)[0])).numpy()
    assert 0 < sure.max() < 1 / 512
    how = replace(SHORT, distillation=0.5)  # the other half knows the labels
    step = make_step(*(model, Rounded(twin), keras.optimizers.Adam(0.05), how, 0.0), several=True)
    batch = labelled("train", 32, 1)
    arguments = (
        tf.constant(batch.pixels, tf.float32),
        tf.constant(batch.targets(np.arange(32))),
        tf.constant(batch.sample_weights),
    )
    before = bias.numpy().copy()
    step(*arguments, True)
    assert (bias.numpy() > before).all()
    data = quantize_int8(build_twin(model, sample).calibrated())
    assert data == convert(model, "int8", calibration=sample)


def test_pruned_and_clustered_models_of_labels(tmp_path):
    lesson, trained = lesson_of_labels(), toys_labels.trained()
    half = PruneConfig(epochs=2, batch_size=16, sparsity=0.5, freeze_batchnorm_epochs=1)
    pruned = prune(trained, lesson, half, Checkpoint(tmp_path / "p"), "k", Silent())
    assert pruned.facts["sparsity"] == pytest.approx(0.5, abs=0.01)
    few = ClusterConfig(epochs=1, batch_size=16, clusters=8, freeze_batchnorm_epochs=1)
    made = cluster(
        *(trained, pruned.model, lesson, few, Checkpoint(tmp_path / "c"), "k", Silent()),
        keep_zeros=True,
    )
    for each in (pruned, made):
        judged = Judge.of(trained, lesson.val)
        found = each.model.predict_on_batch(lesson.val.pixels.astype(np.float32))
        for key, value in judged.figures(found).items():
            assert each.facts[key] == pytest.approx(value, abs=1e-5), key
        assert decides_labels(each.model)
    tuned = fine_tune(
        *(trained, lesson, SHORT, Checkpoint(tmp_path / "q"), "k", Silent()),
        slim=made.model,
        clustered=True,
    )
    assert audit.audit(tuned.int8(), "int8").violations == ()


def test_the_last_range_is_what_goes_into_the_sigmoid():
    sample = toys_labels.images(32, seed=1)[0]
    measured, _ = calibrate(toys_labels.trained(), sample)
    twin = build_twin(toys_labels.trained(), sample)
    assert "probabilities" in twin.ranges()
    low, high = twin.ranges()["probabilities"]
    assert low < -1 and high > 0.5, "scores, not probabilities"
    assert (low, high) in measured.ranges.values()
    images = toys_labels.images(120, seed=5)[0]
    file = TFLitePredictor(quantize_int8(twin.calibrated())).predict(images)
    rounded = twin.model.predict_on_batch(twin.scaling.apply(images))
    # Half a step of 1/256 from the output, the rest from the integer sigmoid.
    assert np.abs(file - rounded).mean() < 1 / 256
