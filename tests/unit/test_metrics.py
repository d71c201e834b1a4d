from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from edgecell import metrics
from edgecell.errors import DataError


def sample(n: int, classes: int, seed: int, skill: float = 1.5):
    """Labels that occur at least once each, and softmax scores that know something about them."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += skill
    odds = np.exp(logits)
    return labels, odds / odds.sum(axis=1, keepdims=True)


def confusion_of(labels, probabilities):
    return metrics.confusion_matrix(labels, probabilities.argmax(1), probabilities.shape[1])


cases = pytest.mark.parametrize(("n", "classes", "seed"), [(60, 2, 0), (300, 8, 1), (500, 40, 2)])


@cases
def test_counts_agree_with_scikit_learn(n, classes, seed):
    labels, probabilities = sample(n, classes, seed)
    predicted = probabilities.argmax(1)
    confusion = confusion_of(labels, probabilities)
    scores = metrics.per_class(confusion)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=range(classes), zero_division=0
    )
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(labels, predicted))
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    np.testing.assert_array_equal(scores.support, support)
    assert metrics.accuracy(confusion) == pytest.approx(sk.accuracy_score(labels, predicted))
    assert metrics.macro_f1(confusion) == pytest.approx(
        sk.f1_score(labels, predicted, average="macro")
    )
    assert metrics.weighted_f1(confusion) == pytest.approx(
        sk.f1_score(labels, predicted, average="weighted")
    )


@cases
def test_probability_scores_agree_with_scikit_learn(n, classes, seed):
    labels, probabilities = sample(n, classes, seed)
    assert metrics.log_loss(labels, probabilities) == pytest.approx(
        sk.log_loss(labels, probabilities)
    )
    one_hot = np.eye(classes)[labels]
    squares = sum(sk.brier_score_loss(one_hot[:, c], probabilities[:, c]) for c in range(classes))
    assert metrics.brier(labels, probabilities) == pytest.approx(squares)


@pytest.fixture(scope="module")
def medmnist_auc():
    with contextlib.redirect_stdout(io.StringIO()):  # medmnist prints a plea for torch
        from medmnist.evaluator import getAUC
    return getAUC


@cases
@pytest.mark.parametrize("levels", [None, 8])  # few score levels: many ties, as int8 outputs have
def test_auc_agrees_with_medmnist(medmnist_auc, n, classes, seed, levels):
    labels, probabilities = sample(n, classes, seed)
    if levels:
        probabilities = np.round(probabilities * levels) / levels
    task = "binary-class" if classes == 2 else "multi-class"
    expected = medmnist_auc(labels[:, None], probabilities, task)
    assert metrics.auc(labels, probabilities) == pytest.approx(expected)


def test_auc_leaves_out_an_absent_class_and_needs_two():
    labels, probabilities = sample(200, 4, 3)
    kept = labels != 2
    labels, probabilities = labels[kept], probabilities[kept]
    expected = np.mean([sk.roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1, 3)])
    assert metrics.auc(labels, probabilities) == pytest.approx(expected)
    assert metrics.auc(np.zeros(5, int), np.full((5, 4), 0.25)) is None


def test_ece_by_hand():
    # two bins are filled: (0.6, 0.667] with 1 of 2 right, (0.867, 0.933] with 1 of 1 right
    probabilities = np.array([[0.65, 0.35], [0.61, 0.39], [0.1, 0.9]])
    labels = np.array([0, 1, 1])
    expected = (2 * abs(0.5 - 0.63) + 1 * abs(1 - 0.9)) / 3
    assert metrics.ece(labels, probabilities) == pytest.approx(expected)


def test_ece_puts_an_edge_into_the_bin_below():
    table = metrics.reliability(np.array([0, 0]), np.array([[0.5, 0.5], [1.0, 0.0]]), bins=10)
    assert table.count[4] == 1
    assert table.count[9] == 1


def test_ece_sees_overconfidence():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    probabilities = np.stack([p, 1 - p], axis=1)
    calibrated = (rng.uniform(size=p.size) > p).astype(int)
    coin = rng.integers(0, 2, p.size)
    # a bin's accuracy is known to about 0.5/sqrt(20000/8) = 0.01; a coin is 0.25 off on average
    assert metrics.ece(calibrated, probabilities) < 0.02
    assert metrics.ece(coin, probabilities) > 0.2


def test_quantized_zero_keeps_the_loss_finite():
    loss = metrics.log_loss(np.array([0]), np.array([[0.0, 255 / 256]]))
    assert 10 < loss < 17  # about -ln 1e-7 = 16.1


def test_all_zero_row_is_uniform():
    assert metrics.log_loss(np.array([2]), np.zeros((1, 4))) == pytest.approx(np.log(4))


def test_class_without_images_is_flagged_and_not_nan():
    confusion = np.array([[3, 0, 0], [1, 2, 0], [0, 0, 0]])
    scores = metrics.per_class(confusion)
    assert scores.f1.tolist()[2] == 0.0
    assert scores.recall_undefined.tolist() == [False, False, True]
    assert scores.precision_undefined.tolist() == [False, False, True]
    assert metrics.macro_f1(confusion) == pytest.approx(scores.f1[:2].mean())
    assert metrics.normalize_rows(confusion)[2].tolist() == [0, 0, 0]


def test_a_class_without_images_does_not_enter_macro_f1_though_it_is_predicted():
    confusion = np.array([[3, 0, 1], [0, 3, 0], [0, 0, 0]])
    assert metrics.macro_f1(confusion) == pytest.approx(metrics.per_class(confusion).f1[:2].mean())
    other = np.array([[3, 1, 0], [0, 3, 0], [0, 0, 0]])  # wrong as often: the mean stays near
    assert abs(metrics.macro_f1(confusion) - metrics.macro_f1(other)) < 0.1


def test_one_sample():
    labels, probabilities = np.array([1]), np.array([[0.2, 0.5, 0.3]])
    confusion = confusion_of(labels, probabilities)
    assert metrics.accuracy(confusion) == 1.0
    assert metrics.macro_f1(confusion) == 1.0
    assert metrics.auc(labels, probabilities) is None
    assert metrics.ece(labels, probabilities) == pytest.approx(0.5)
    low, high = metrics.wilson_interval(1, 1)
    assert low < 0.3
    assert high == 1.0


def test_perfect_predictions():
    labels = np.arange(30) % 3
    probabilities = np.eye(3)[labels]
    confusion = confusion_of(labels, probabilities)
    assert metrics.macro_f1(confusion) == metrics.weighted_f1(confusion) == 1.0
    assert metrics.auc(labels, probabilities) == 1.0
    assert metrics.brier(labels, probabilities) == metrics.ece(labels, probabilities) == 0.0
    assert metrics.log_loss(labels, probabilities) < 1e-6


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(9, 80))
def test_order_of_samples_does_not_matter(seed, classes, n):
    labels, probabilities = sample(n, classes, seed)
    order = np.random.default_rng(seed + 1).permutation(n)
    for metric in (metrics.auc, metrics.ece, metrics.brier, metrics.log_loss):
        before, after = metric(labels, probabilities), metric(labels[order], probabilities[order])
        assert before == pytest.approx(after)
    np.testing.assert_array_equal(
        confusion_of(labels, probabilities), confusion_of(labels[order], probabilities[order])
    )


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_scores_stay_in_range_whatever_is_absent(pairs):
    labels, predictions = np.array(pairs).T
    confusion = metrics.confusion_matrix(labels, predictions, 5)
    scores = metrics.per_class(confusion)
    for values in (scores.precision, scores.recall, scores.f1):
        assert ((values >= 0) & (values <= 1)).all()
    assert metrics.macro_f1(confusion) == pytest.approx(
        sk.f1_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0)
    )
    assert confusion.sum() == len(pairs)


@pytest.mark.parametrize(
    "metric", ["accuracy", "macro_f1", "weighted_f1", "log_loss", "brier", "auc"]
)
def test_bootstrap_agrees_with_resampling_images(metric):
    labels, probabilities = sample(150, 3, 5)

    def score(rows):
        y, p = labels[rows], probabilities[rows]
        by_confusion = {
            "accuracy": metrics.accuracy,
            "macro_f1": metrics.macro_f1,
            "weighted_f1": metrics.weighted_f1,
        }
        if metric in by_confusion:
            return by_confusion[metric](confusion_of(y, p))
        return getattr(metrics, metric)(y, p)

    rng = np.random.default_rng(9)
    direct = [score(rng.integers(0, 150, 150)) for _ in range(1500)]
    low, high = metrics.bootstrap_interval(metric, labels, probabilities, n=1500, seed=1)
    # a 2.5 % quantile of 1500 normal draws has a standard error of sqrt(.025*.975/1500)/0.058 = 0.07 sigma;
    # two of them differ by 0.1 sigma, so four standard errors are 0.4 sigma
    tolerance = 0.4 * np.std(direct)
    assert low == pytest.approx(np.quantile(direct, 0.025), abs=tolerance)
    assert high == pytest.approx(np.quantile(direct, 0.975), abs=tolerance)
    assert low < score(np.arange(150)) < high


def test_bootstrap_is_seeded():
    labels, probabilities = sample(80, 3, 6)
    first = metrics.bootstrap_interval("brier", labels, probabilities, n=200, seed=1)
    assert first == metrics.bootstrap_interval("brier", labels, probabilities, n=200, seed=1)
    assert first != metrics.bootstrap_interval("brier", labels, probabilities, n=200, seed=2)


def test_bootstrap_per_class_shapes_and_coverage():
    labels, probabilities = sample(400, 5, 7)
    confusion = confusion_of(labels, probabilities)
    draws = metrics.bootstrap_confusion(confusion, n=500, seed=0)
    assert draws["f1"].shape == (500, 5)
    # resampled means lie around the value: |bias| is far below one standard deviation
    bias = draws["f1"].mean(axis=0) - metrics.per_class(confusion).f1
    assert (abs(bias) < 0.3 * draws["f1"].std(axis=0)).all()


def test_bootstrap_refuses_ece():
    labels, probabilities = sample(20, 3, 0)
    with pytest.raises(DataError, match="no bootstrap interval for 'ece'.*accuracy"):
        metrics.bootstrap_interval("ece", labels, probabilities)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1674, 1712), (3, 7)])
def test_wilson_agrees_with_statsmodels(successes, n):
    from statsmodels.stats.proportion import proportion_confint

    expected = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert metrics.wilson_interval(successes, n) == pytest.approx(expected, abs=1e-12)


def test_wilson_of_nothing_is_nothing():
    assert metrics.wilson_interval(0, 0) is None


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], np.ones((3, 2)), "2 labels for 3 predictions"),
        ([], np.ones((0, 2)), "0 images"),
        ([0, 5], np.ones((2, 3)), "labels run from 0 to 5.*allows 0 to 2"),
        ([0, -1], np.ones((2, 3)), "labels run from -1 to 0"),
        ([0, 1], np.ones((2, 1)), "at least 2 classes"),
        ([0, 1], np.array([[0.5, 0.5], [np.nan, 1]]), "1 of 2 predictions hold NaN"),
    ],
)
def test_bad_input_is_named(labels, probabilities, message):
    with pytest.raises(DataError, match=message):
        metrics.check_inputs(np.array(labels, dtype=int), probabilities)


def test_confusion_refuses_predictions_out_of_range():
    with pytest.raises(DataError, match="predictions run from 0 to 3"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([0, 3]), 3)


def test_together_models_are_drawn_on_the_same_images():
    random = np.random.default_rng(5)
    labels = random.integers(0, 4, 300)
    good = np.where(random.random(300) < 0.9, labels, random.integers(0, 4, 300))
    worse = np.where(random.random(300) < 0.1, (labels + 1) % 4, good)
    drawn = metrics.bootstrap_together(labels, np.stack([good, worse, good]), 4, 400, seed=1)
    assert drawn["macro_f1"].shape == drawn["accuracy"].shape == (400, 3)
    assert (drawn["macro_f1"][:, 0] == drawn["macro_f1"][:, 2]).all()
    # As the bootstrap of one model alone: same spread, with the noise of 400 draws (5 %).
    for k, said in enumerate((good, worse)):
        confusion = metrics.confusion_matrix(labels, said, 4)
        alone = metrics.bootstrap_confusion(confusion, 4000)
        for name in ("accuracy", "macro_f1"):
            assert drawn[name][:, k].mean() == pytest.approx(alone[name].mean(), abs=0.005)
            assert drawn[name][:, k].std() == pytest.approx(alone[name].std(), rel=0.15)
    # Every draw is a count of whole images, and what is hard for both cancels in the difference.
    assert drawn["accuracy"] * 300 == pytest.approx((drawn["accuracy"] * 300).round())
    apart = drawn["accuracy"][:, 0] - drawn["accuracy"][:, 1]
    assert apart.std() < np.hypot(*drawn["accuracy"][:, :2].std(axis=0))
