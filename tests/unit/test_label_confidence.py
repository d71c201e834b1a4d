"""Scaling and thresholds of several labels: formulas against scikit-learn, promises against new draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score

from edgecell import label_confidence as trust
from edgecell import metrics
from edgecell.confidence import rank_of
from edgecell.config import ConfidenceConfig
from edgecell.errors import DataError
from edgecell.pipeline import label_confidence as stage
from edgecell.pipeline.measured import Seen

MEANS = np.array([0.0, -1.5, -4.0])
"""Log odds of three labels: that of half of the images, of a quarter, of one in eighteen."""


def draw(n, seed, *, slope=1.0, offset=0.0):
    """Labels drawn from the probabilities of a calibrated model, told with other log odds."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(n, 3)) * 2 + MEANS
    labels = (random.random(z.shape) < special.expit(z)).astype(np.int64)
    return labels, special.expit(slope * z + offset)


def as_uint8(p):
    return np.round(p * 255).clip(0, 255) / 256


# ----------------------------------------------------------------------------------- figures


def test_losses_and_eces_are_scikit_learn_s():
    labels, p = draw(4000, 1, slope=1.7)
    losses = metrics.label_losses(labels, p).mean(axis=0)
    for i, found in enumerate(metrics.label_eces(labels, p)):
        assert losses[i] == pytest.approx(log_loss(labels[:, i], p[:, i]))
        share, said = calibration_curve(labels[:, i], p[:, i], n_bins=metrics.ECE_BINS)
        edges = np.linspace(0, 1, metrics.ECE_BINS + 1)
        count = np.histogram(p[:, i], edges)[0]
        expected = (np.abs(share - said) * count[count > 0]).sum() / len(labels)
        assert found == pytest.approx(expected) and found > 0.005


def test_an_ece_is_of_presence_not_of_decisions():
    # 0.2 and 0.8 with 30 % and 70 % of the images: off by 0.1 wherever it is said.
    p = np.repeat([0.2, 0.8], 10)[:, None]
    labels = np.array([1] * 3 + [0] * 7 + [1] * 7 + [0] * 3)[:, None]
    assert metrics.label_eces(labels, p) == [pytest.approx(0.1)]


def test_decisions_are_counted_as_scikit_learn_does():
    labels, p = draw(800, 2)
    called = trust.present(p, [0.3, None, 0.1])
    for i, quality in enumerate(trust.judge_labels(labels, called)):
        shares = {name: right / of for name, (right, of) in quality.shares.items()}
        y, said = labels[:, i], called[:, i]
        assert shares["sensitivity"] == pytest.approx(recall_score(y, said))
        assert shares["specificity"] == pytest.approx(recall_score(1 - y, ~said))
        assert shares["precision"] == pytest.approx(precision_score(y, said))


# ----------------------------------------------------------------------------------- scaling


def test_slopes_are_those_of_a_logistic_regression():
    labels, p = draw(20_000, 3, slope=1.6, offset=-1.0)
    slopes, offsets = trust.fit_slopes(labels, p)
    for i in range(3):
        fit = LogisticRegression(C=np.inf, tol=1e-8)
        fit.fit(special.logit(p[:, i])[:, None], labels[:, i])
        # Platt's targets move the fit by about one image in as many as have the label.
        assert slopes[i] == pytest.approx(fit.coef_[0, 0], abs=0.02)
        assert offsets[i] == pytest.approx(fit.intercept_[0], abs=0.05)


def test_an_offset_needs_a_scale_of_each_label():
    """As training with class weights leaves it: no temperature undoes a shift of the log odds."""
    labels, p = draw(3000, 4, offset=np.array([0.0, 1.5, 4.0]))
    found = trust.choose_scaling(labels, p)
    assert found.kind == "labels" and found.gain_labels.sure
    other, shifted = draw(20_000, 5, offset=np.array([0.0, 1.5, 4.0]))
    mended = trust.scaled(shifted, found.slopes, found.offsets)
    before, after = (metrics.label_losses(other, q).mean(axis=0) for q in (shifted, mended))
    assert (after[1:] < before[1:] - 0.05).all()
    assert after == pytest.approx(
        metrics.label_losses(other, draw(20_000, 5)[1]).mean(axis=0), abs=0.01
    )


def test_sharpness_needs_one_temperature():
    labels, p = draw(2000, 6, slope=2.0)
    found = trust.choose_scaling(labels, p)
    assert found.kind == "temperature" and found.temperature == pytest.approx(2.0, rel=0.08)
    assert found.slopes == (pytest.approx(1 / found.temperature),) * 3 and found.offsets == (0,) * 3


def test_no_temperature_is_kept_where_no_decision_is_wrong():
    labels = (np.arange(240).reshape(80, 3) // 3 + np.arange(3)) % 2
    found = trust.choose_scaling(labels, np.where(labels, 0.9, 0.1))
    assert found.gain_temperature.sure
    assert found.kind != "temperature"
    # What a slope and an offset gain is then over no scaling, not over a temperature that is not kept.
    assert found.gain_labels.value > 0


def test_a_calibrated_model_is_left_alone():
    """Over many draws a scaling is kept where there is nothing to mend in few of them."""
    kept = [trust.choose_scaling(*draw(400, seed)).kind != "none" for seed in range(30)]
    assert sum(kept) <= 4
    labels, p = draw(400, 0)
    found = trust.choose_scaling(labels, p)
    assert found.kind == "none" and (found.slopes, found.offsets) == ((1,) * 3, (0,) * 3)


def test_the_gain_is_of_images_that_fitted_nothing():
    """Labels without any order: the fit to them gains, the folds do not."""
    random = np.random.default_rng(7)
    labels = (random.random((60, 6)) < 0.3).astype(np.int64)
    p = np.full((60, 6), 0.3) + random.normal(0, 0.02, (60, 6))
    found = trust.choose_scaling(labels, p)
    slopes, offsets = trust.fit_slopes(labels, p)
    seen = metrics.label_losses(labels, p) - metrics.label_losses(
        labels, trust.scaled(p, slopes, offsets)
    )
    assert seen.mean() > 0 > found.gain_labels.value and found.kind == "none"


def test_scaling_keeps_the_order_of_a_label():
    labels, p = draw(500, 8)
    turned = 1 - labels  # the model says the opposite: its log odds would have to be turned round
    slopes, offsets = trust.fit_slopes(turned, p)
    assert (slopes > 0).all()
    shown = trust.scaled(p, slopes, offsets)
    for before, after in zip(p.T, shown.T, strict=True):
        assert (np.diff(after[np.argsort(before)]) >= 0).all()


def test_a_label_that_all_or_no_images_have_stays_as_it_is():
    labels, p = draw(200, 9)
    labels[:, 0], labels[:, 2] = 1, 0
    slopes, offsets = trust.fit_slopes(labels, p)
    assert (slopes[[0, 2]] == 1).all() and (offsets[[0, 2]] == 0).all() and slopes[1] != 1


def test_zeros_and_ones_of_bytes_stay_finite():
    p = trust.floored_labels(np.array([[0.0, 1.0, 255 / 256]]), 1 / 256)
    assert p.tolist() == [[1 / 512, 1 - 1 / 512, 255 / 256]]
    assert np.isfinite(trust.scaled(p, [1.3] * 3, [0.2] * 3)).all()


def test_the_brier_of_a_label_is_scikit_learn_s():
    labels, p = draw(600, 10)
    results, _ = calibrated(labels, p, labels, p)
    entry = results["val"]["labels"]["b"]["scores"]["reference"]
    assert entry["brier"]["value"] == pytest.approx(
        brier_score_loss(labels[:, 1], p[:, 1]), abs=1e-6
    )
    assert entry["log_loss"]["value"] == pytest.approx(log_loss(labels[:, 1], p[:, 1]), abs=1e-5)


# -------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("read", [np.asarray, as_uint8])
@pytest.mark.parametrize("sensitivity", [0.8, 0.9, 0.95])
def test_the_promise_holds_on_new_images(read, sensitivity):
    """The mean over validation sets is (rank / (n + 1)) for continuous outputs, and more with ties."""
    everyone, told = draw(200_000, 99)
    mine = [np.sort(read(told)[everyone[:, i] == 1, i]) for i in range(3)]
    reached, promised, below = [[], [], []], [[], [], []], 0
    for seed in range(400):
        labels, p = draw(600, seed)
        for i, found in enumerate(trust.choose_label_thresholds(labels, read(p), sensitivity)):
            if found.threshold is None:
                continue
            true = 1 - np.searchsorted(mine[i], found.threshold - trust.SLACK) / len(mine[i])
            reached[i].append(true)
            promised[i].append(rank_of(found.positives, sensitivity) / (found.positives + 1))
            below += true < found.at_least
    for true, said in zip(reached, promised, strict=True):
        assert len(true) > 350  # a rule that never chooses promises nothing
        error = np.std(true) / math.sqrt(len(true))
        assert np.mean(said) >= sensitivity
        assert np.mean(true) >= np.mean(said) - 3 * error
        if read is np.asarray:
            assert np.mean(true) <= np.mean(said) + 3 * error  # and no laxer than it has to be
    count = sum(map(len, reached))
    assert below / count <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)


def test_the_threshold_by_hand():
    # 9 images with the label, 0.9: the ⌈10 · 0.9⌉ = 9th largest, the least of them.
    p = np.arange(1, 10)[:, None] / 10
    labels = np.ones((9, 1), int)
    [found] = trust.choose_label_thresholds(labels, p, 0.9)
    assert (found.threshold, found.positives) == (pytest.approx(0.1), 9)
    # All 9 of 9: the lower bound of Clopper and Pearson, one-sided, at 95 %.
    bound = stats.binomtest(9, 9, alternative="greater").proportion_ci(0.95).low
    assert found.at_least == pytest.approx(bound) == pytest.approx(0.05 ** (1 / 9))
    [found] = trust.choose_label_thresholds(labels, p, 0.8)  # ⌈10 · 0.8⌉ = 8th largest
    assert found.threshold == pytest.approx(0.2)


def test_images_without_the_label_do_not_move_its_threshold():
    labels, p = draw(500, 11)
    other = p.copy()
    other[labels == 0] = 0.999
    assert trust.choose_label_thresholds(labels, p, 0.9) == trust.choose_label_thresholds(
        labels, other, 0.9
    )


def test_too_few_images_are_said_with_the_numbers():
    p = np.linspace(0.2, 0.9, 8)[:, None]
    [found] = trust.choose_label_thresholds(np.ones((8, 1), int), p, 0.9)
    assert (found.threshold, found.at_least, found.positives) == (None, None, 8)
    assert found.reason == "8 images with it, and 9 are needed to promise 0.9"
    # Without a threshold it is called above 0.5, not at it.
    assert trust.present(np.array([[0.5], [0.5000001]]), [None]).tolist() == [[False], [True]]
    for wanted, least in ((0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)):
        assert trust.fewest(wanted) == least
        assert rank_of(least, wanted) <= least and rank_of(least - 1, wanted) > least - 1


def test_a_threshold_is_reached_as_in_bytes():
    found = trust.present(np.array([[77 / 256, 76 / 256]]), [77 / 256, 77 / 256])
    assert found.tolist() == [[True, False]]


def test_val_is_judged_by_thresholds_of_other_images():
    """Labels without any order in the output: judged by themselves they would look as promised too often."""
    random = np.random.default_rng(12)
    labels, p = (
        (random.random((300, 3)) < (0.5, 0.2, 0.05)).astype(np.int64),
        random.random((300, 3)),
    )
    found = trust.choose_label_thresholds(labels, p, 0.9)
    called = trust.cross_present(labels, p, found, 0.9)
    itself = trust.present(p, [each.threshold for each in found])
    assert (called != itself).any()
    assert called[labels == 1].mean() == pytest.approx(0.9, abs=0.06)


def test_rare_labels_are_in_every_fold():
    labels, _ = draw(600, 13)
    folds = [fold for _, fold in trust._label_folds(labels, 0)]
    assert sorted(np.concatenate(folds)) == list(range(600))
    counts = np.array([labels[fold, 2].sum() for fold in folds])
    assert counts.max() - counts.min() <= 1


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="19 images are too few to check confidence on"):
        trust.choose_scaling(*draw(19, 14))


# ------------------------------------------------------------------------------------- stage


def calibrated(labels, p, test_labels, test_p):
    seen = {"val": Seen(labels, p, p), "test": Seen(test_labels, test_p, test_p)}
    calibrate, *_ = stage.CALIBRATION
    return calibrate(seen, ("a", "b", "c"), ConfidenceConfig(), None)


def test_nothing_is_chosen_on_test():
    """Another test split, with every label turned round, changes what is counted there and nothing else."""
    (labels, p), (others, q) = draw(400, 15), draw(300, 16)
    one, _ = calibrated(labels, p, others, q)
    other, _ = calibrated(labels, p, 1 - others, q)
    assert one.keys() == other.keys() == {"scaling", "sensitivity", "val", "test"}
    for part in ("scaling", "sensitivity", "val"):
        assert one[part] == other[part]
    assert one["test"] != other["test"]
    limits = [one["sensitivity"]["labels"][name]["threshold"] for name in "abc"]
    for i, name in enumerate("abc"):
        found = one["test"]["labels"][name]["sensitivity"]["value"]
        assert found == pytest.approx((q[others[:, i] == 1, i] >= limits[i] - 1e-7).mean())


def test_a_label_without_images_is_left_open():
    labels, p = draw(200, 17)
    labels[:, 2] = 0
    p[:, 2] *= 0.01
    results, figures = calibrated(labels, p, labels, p)
    entry = results["sensitivity"]["labels"]["c"]
    assert entry["threshold"] is None and entry["positives"] == 0
    found = results["test"]["labels"]["c"]
    assert found["sensitivity"]["reason"] == "no image of this label"
    assert found["precision"]["reason"] == "never called"
    assert found["specificity"]["value"] == 1.0
    assert set(figures) == {"reliability", "sensitivity"}
