"""Figures and report parts of the gate, confidence and robustness, with their odd cases."""

from __future__ import annotations

import numpy as np
import pytest

from converters.gate import judge
from edgecell import plots
from edgecell.report.elements import Pictures
from edgecell.report.trust import gate_part, robustness_section
from edgecell.tasks import MULTI_LABEL


def gate(class_count=4, n=400, absent=False, spoil=0):
    random = np.random.default_rng(0)
    labels = random.integers(0, class_count - absent, n)
    converted = labels.copy()
    mine = np.flatnonzero(labels == 0)[:spoil]
    converted[mine] = 1
    names = tuple(f"$class_{i} & <co>" for i in range(class_count))
    return judge(labels, labels, converted, names, margin=0.005, class_budget=0.02).to_json()


@pytest.mark.parametrize("options", [{}, {"class_count": 40}, {"absent": True}, {"spoil": 30}])
def test_the_gate_is_drawn(options, tmp_path):
    report = gate(**options)
    assert len(plots.gate_intervals(report).axes) == 2
    first, again = (
        plots.save(plots.gate_intervals(report), tmp_path / name) for name in ("a.png", "b.png")
    )
    assert first.read_bytes() == again.read_bytes()


def test_a_class_that_got_worse_is_drawn_in_another_colour():
    figure = plots.gate_intervals(gate(spoil=30))
    colors = [label.get_color() for label in figure.axes[1].get_yticklabels()]
    assert colors[0] not in colors[2:]


def test_the_gate_in_the_report():
    said = gate_part(gate(spoil=30))
    assert "worse: accuracy, &#x27;$class_0 &amp; &lt;co&gt;&#x27;" in said and "<co>" not in said
    assert "none: no images of this class" in gate_part(gate(absent=True))
    assert "badge none" in gate_part(gate(n=100))
    assert "badge good" in gate_part(gate(n=2000))


def test_selective_accuracy_with_and_without_a_threshold(tmp_path):
    curve = (np.arange(1, 101) / 100, np.linspace(1, 0.8, 100))
    curves = {"a": curve, "b": curve}
    with_one = plots.selective_accuracy(curves, target=0.95, chosen=(0.4, 0.97, 0.91))
    labels = with_one.axes[0].get_legend_handles_labels()[1]
    assert "threshold 0.910: 40.0% answered" in labels
    without = plots.selective_accuracy(curves, target=0.95, chosen=None)
    assert not any("threshold" in t for t in without.axes[0].get_legend_handles_labels()[1])
    plots.save(without, tmp_path / "x.png")


def test_coverage_of_a_class_without_images_is_left_open(tmp_path):
    row = {"value": 0.9, "unit": "fraction", "low": 0.8, "high": 0.95, "n": 40}
    none = {"reason": "no images", "unit": "fraction"}
    figure = plots.set_coverage(["a", "b"], {"one": [row, none], "own": [row, row]}, promised=0.9)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in drawn] == [1, 2]
    plots.save(figure, tmp_path / "x.png")


def corrupted(figure="accuracy", **more):
    """Results of robustness with ``figure`` of two models."""
    score = {"value": 0.9, "unit": "fraction", "low": 0.85, "high": 0.93, "n": 100}
    fall = {"value": 0.02, "unit": "fraction", "low": 0.01, "high": 0.03, "n": 100}
    models = [{"model": name, figure: score} for name in ("float", "int8")]
    conditions = [("clean", 0)] + [(c, s) for c in ("blur", "noise") for s in range(1, 6)]
    told = {"model": "int8", "extra_fall": fall, "verdict": "falls faster"}
    return {
        **{"n": 100, "of": 200, "split": "val"},
        "corruptions": ["blur", "noise"],
        "models": ["float", "int8"],
        "conditions": [{"corruption": c, "strength": s, "models": models} for c, s in conditions],
        "falls": [{**told, "corruption": "all"}],
        **more,
    }


def of_labels():
    fall = {"value": 0.07, "unit": "fraction", "low": 0.01, "high": 0.13, "n": 100}
    row = {"model": "int8", "extra_fall": fall, "verdict": "falls faster", "support": 12}
    less = row | {"extra_fall": fall | {"value": 0.01, "low": -0.01}, "verdict": "falls slower"}
    rows = [less | {"label": "cyst"}, row | {"label": "<mass>"}]
    return corrupted("auc", task=MULTI_LABEL, labels=rows, unranked=["hernia"])


def test_strip_and_curves(tmp_path):
    tile = np.zeros((8, 8, 3), np.uint8)
    strip = plots.corruption_strip({"blur": [tile] * 6, "noise": [tile] * 6})
    assert [axes.get_title() for axes in strip.axes[:6]] == ["as it is", "1", "2", "3", "4", "5"]
    curves = plots.robustness_curves(corrupted())
    assert [axes.get_title(loc="left") for axes in curves.axes] == ["blur", "noise"]
    for name, figure in (("strip", strip), ("curves", curves)):
        plots.save(figure, tmp_path / f"{name}.png")


def test_curves_are_of_the_task_s_figure():
    for results, said in ((corrupted(), "accuracy"), (of_labels(), "mean AUC")):
        assert plots.robustness_curves(results).get_supylabel() == said


def test_robustness_in_the_report(tmp_path):
    def page(results):
        figures = {"curves": plots.robustness_curves(results), "strip": plots.reliability_lines({})}
        for name, figure in figures.items():
            plots.save(figure, tmp_path / f"{name}.png")
        return str(robustness_section({"results": results}, tmp_path, Pictures(), {}))

    # A record of one label to an image names no task and no labels, as those of earlier versions.
    single, several = page(corrupted()), page(of_labels())
    assert "Accuracy at each strength" in single and "beats the commonest class" in single
    assert "mean auc" not in single.lower() and "Each label by itself" not in single
    assert "Mean AUC at each strength" in several and "above chance" in several
    assert several.index("&lt;mass&gt;") < several.index("cyst") and "<mass>" not in several
    assert "Too few images with the label or without it: hernia." in several


def test_reliability_lines_leave_empty_bins_out():
    table = {"count": [0, 5], "confidence": [0.0, 0.9], "accuracy": [0.0, 0.8]}
    figure = plots.reliability_lines({"float": table, "int8": table})
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 1, 1]
