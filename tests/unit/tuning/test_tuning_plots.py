from __future__ import annotations

import numpy as np
import pytest

from edgecell import plots

SPACE = {
    "train.learning_rate": {"low": 1e-4, "high": 1e-2, "step": None, "log": True},
    "train.epochs": {"low": 2, "high": 10, "step": 2, "log": False},
    "train.optimizer": {"choices": ["adam", "sgd"]},
    "augment.flip": {"choices": [True, False]},
}
IMPORTANCE = {"train.learning_rate": 0.7, "train.epochs": 0.3}


def trial(number: int, state: str, score: float | None, epochs: int) -> dict:
    found = {"value": score} if score is not None else {"reason": "no epoch was finished"}
    return {
        "number": number,
        "state": state,
        "score": found,
        "epochs": {str(epoch): (score or 0) * epoch / epochs for epoch in range(1, epochs + 1)},
        "values": {
            "train.learning_rate": 10.0 ** (-4 + number % 3),
            "train.epochs": 2 + 2 * (number % 5),
            "train.optimizer": ["adam", "sgd"][number % 2],
            "augment.flip": number % 2 == 0,
        },
    }


TRIALS = [
    *(trial(number, "finished", 0.5 + 0.05 * number, 6) for number in range(4)),
    trial(4, "given up", 0.3, 2),
    trial(5, "broken off", None, 0),
    trial(6, "finished", 0.6, 6),
]
DRAWN = {
    "history": lambda: plots.tuning_history(TRIALS, "val accuracy"),
    "epochs": lambda: plots.tuning_epochs(TRIALS, "val accuracy", best=3),
    "importance": lambda: plots.tuning_importance(IMPORTANCE, "val accuracy"),
    "slices": lambda: plots.tuning_slices(TRIALS, SPACE, "val accuracy", best=3),
    "parallel": lambda: plots.tuning_parallel(TRIALS, SPACE, "val accuracy", best=3),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_saved_the_same_every_time(name, tmp_path):
    one = plots.save(DRAWN[name](), tmp_path / "1.png").read_bytes()
    two = plots.save(DRAWN[name](), tmp_path / "2.png").read_bytes()
    assert one == two and one.startswith(b"\x89PNG") and len(one) > 5_000


def test_the_history_rises_to_the_best_and_stays_there():
    (axes,) = DRAWN["history"]().axes
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.55, 0.6, 0.65, 0.65, 0.65])
    marks = [group.get_offsets().tolist() for group in axes.collections]
    assert marks == [
        [[0.0, 0.5], [1.0, 0.55], [2.0, 0.6], [3.0, pytest.approx(0.65)], [6.0, 0.6]],
        [[4.0, 0.3]],
    ]


def test_each_trial_has_its_line_and_the_best_is_named():
    figure = DRAWN["epochs"]()
    (axes,) = figure.axes
    assert [len(line.get_xdata()) for line in axes.get_lines()] == [6, 6, 6, 2, 6, 6]
    np.testing.assert_allclose(axes.get_lines()[-1].get_ydata()[-1], 0.65)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["finished", "given up", "the best, trial 3"]


def test_bars_are_in_the_order_of_importance():
    (axes,) = DRAWN["importance"]().axes
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.7]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("train.epochs", "train.learning_rate")
    ]


def test_a_panel_per_setting_with_the_best_circled():
    shown = [axes for axes in DRAWN["slices"]().axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in shown] == list(SPACE)
    assert shown[0].get_xscale() == "log"
    assert [text.get_text() for text in shown[3].get_xticklabels()] == ["on", "off"]
    for axes, place in zip(shown, (1e-4, 8, 1, 1), strict=True):
        np.testing.assert_allclose(axes.collections[2].get_offsets(), [[place, 0.65]])


def test_lines_of_finished_trials_cross_all_axes():
    axes = DRAWN["parallel"]().axes[0]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == len(SPACE)]
    assert len(lines) == 5
    np.testing.assert_allclose(lines[-1].get_ydata(), [0.0, 0.75, 1.0, 1.0], atol=1e-12)
