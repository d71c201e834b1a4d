"""The race of two recipes: what is read from a record, and when there is a ratio."""

from __future__ import annotations

import pytest

from benchmarks import time_to_accuracy
from benchmarks.time_to_accuracy import OURS, Timing, measure, ratio, read, stopped, table


def timing(seconds: float, reached: bool = True) -> Timing:
    return Timing("r", reached, 0.95 if reached else 0.5, 3, seconds)


def test_a_record_tells_whether_it_got_there():
    results = {"val_accuracy": {"value": 0.94}, "epochs": 3, "process_seconds": 12.5}
    assert read("r", 0.94, results) == Timing("r", True, 0.94, 3, 12.5)
    assert not read("r", 0.9401, results).reached


def test_the_ratio_spans_our_rounds_and_needs_both_to_arrive():
    assert ratio([timing(10), timing(20)], timing(200)) == (10.0, 20.0)
    assert ratio([timing(10), timing(20, reached=False)], timing(200)) is None
    assert "| r | no |" in table([timing(1, reached=False)])


def test_a_stopped_training_counts_for_the_epochs_it_had_finished():
    history = [{"val_accuracy": 0.8, "seconds": 5.0}, {"val_accuracy": 0.7, "seconds": 6.5}]
    assert stopped("r", 0.9, history) == Timing("r", False, 0.8, 2, 11.5)
    assert stopped("r", 0.8, history).reached
    assert stopped("r", 0.9, []) == Timing("r", False, 0.0, 0, 0.0)


def test_a_training_is_stopped_at_the_limit(tmp_path):
    """Before an epoch has ended: Python alone takes longer than that to start."""
    flags = ["--data", "synthetic", "--weights", "none"]
    assert measure(OURS, 1.0, flags, tmp_path / "run", 0.2) == Timing(OURS, False, 0.0, 0, 0.0)


def test_a_failed_training_ends_the_race(tmp_path, capfd):
    with pytest.raises(SystemExit, match="failed with exit code 2"):
        measure("no-such-recipe", 0.9, [], tmp_path / "run")
    assert "no-such-recipe" in capfd.readouterr().err


def test_our_recipe_exists():
    from edgecell.recipes import load_recipe

    assert load_recipe(OURS).model.alpha == 0.35
    assert 0 < time_to_accuracy.ACCURACY < 1


@pytest.mark.slow
def test_a_real_race_on_easy_images(tmp_path):
    flags = ["--data", "synthetic", "--weights", "none", "--image-size", "32", "--limit", "64"]
    found = measure(OURS, 0.01, [*flags, "--batch-size", "16"], tmp_path / "run")
    assert found.reached and found.epochs == 1 and found.seconds > 0
