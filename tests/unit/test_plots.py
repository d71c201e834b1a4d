from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from legible import check_inside, check_legible
from PIL import Image

from edgecell import plots
from edgecell.plots.tradeoff import place_labels

LONG = "immature granulocyte (myelocytes, metamyelocytes and promyelocytes) $5_x"


def score(value):
    return {"value": value, "low": value - 0.02, "high": min(value + 0.01, 1.0), "unit": "fraction"}


def classes(count):
    rows = [
        {
            "name": f"{LONG} {i}",
            "support": 9,
            "precision": score(0.9),
            "recall": score(0.95),
            "f1": score(0.92),
        }
        for i in range(count)
    ]
    rows[-1] |= {
        "f1": {"reason": "no image", "unit": "fraction"},
        "recall": {"reason": "no image", "unit": "1"},
    }
    return rows


def drops(count):
    return [
        {
            "name": LONG,
            "reference": 0.97,
            "converted": 0.95,
            "drop": 0.02,
            "passed": i % 2 == 0,
        }
        for i in range(count)
    ]


def gate(count):
    """A gate report of so many classes, none of which lost anything."""
    none = {"unit": "fraction", "value": 0.0, "low": -0.01, "high": 0.01}
    rows = [
        {"name": f"{LONG} {i}", "support": 9, "recall_drop": none, "f1_drop": none, "worse": False}
        for i in range(count)
    ]
    return {
        **{"verdict": "equivalent", "n": 9 * count, "margin": 0.01, "class_budget": 0.02},
        **{"accuracy_drop": none, "macro_f1_drop": none, "accuracy_worse": False, "classes": rows},
    }


def history(epochs):
    return [
        {
            "epoch": i + 1,
            "stage": "head" if i < 2 else "fine_tune",
            "loss": 1 / (i + 1),
            "accuracy": 0.5,
            "val_loss": 1.0,
            "val_accuracy": 0.4,
            "learning_rate": 1e-3,
            "seconds": 1.0,
        }
        for i in range(epochs)
    ]


def tuning(epochs, **more):
    return [
        {"epoch": i, "val_agreement": 0.9 + 0.01 * i, "val_accuracy_drop": 0.02 - 0.01 * i} | more
        for i in range(epochs)
    ]


def sizes(count):
    return [
        {"label": f"{LONG} {i}", "size_bytes": 10**6 // (i + 1), "packed_bytes": 10**6 // (i + 2)}
        for i in range(count)
    ]


FIGURES = {
    "qat": lambda: plots.fine_tuning_curves(tuning(4), best_epoch=3, what="The int8 file"),
    "pruning": lambda: plots.fine_tuning_curves(
        tuning(2, sparsity=0.5), best_epoch=1, what="The pruned model"
    ),
    "sizes_1": lambda: plots.file_sizes(sizes(1)),
    "sizes_14": lambda: plots.file_sizes(sizes(14)),
    "confusion_2": lambda: plots.confusion_matrix(np.array([[5, 0], [1, 3]]), [LONG, "b"]),
    "confusion_8": lambda: plots.confusion_matrix(np.eye(8) * 0.999, [LONG] * 8, normalized=True),
    "confusion_100": lambda: plots.confusion_matrix(np.eye(100, dtype=int), [LONG] * 100),
    "confusion_empty": lambda: plots.confusion_matrix(np.zeros((3, 3), int), list("abc")),
    "bars_2": lambda: plots.per_class_bars(classes(2)),
    "bars_100": lambda: plots.per_class_bars(classes(100)),
    "drops_2": lambda: plots.score_drops(drops(2), allowed=0.01),
    "drops_100": lambda: plots.score_drops(drops(100)),
    "histogram": lambda: plots.confidence_histogram([0, 0.5, 1], [3, 9], [0, 0]),
    "reliability": lambda: plots.reliability_diagram(
        [0, 0.5, 1], [0, 4], [0, 0.8], [0, 0.9], caption="ECE"
    ),
    "curves": lambda: plots.learning_curves(history(5), best_epoch=4),
    "curves_1": lambda: plots.learning_curves(history(1)),
    "tradeoff": lambda: plots.tradeoff(
        [plots.Point("a", 3.0, 0.9, "int8", (2.0, 4.0), (0.8, 0.95))], x="", y="", title=""
    ),
    "tradeoff_none": lambda: plots.tradeoff([], x="size", y="accuracy", title="none"),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_figure_is_a_picture_of_sensible_size(name, tmp_path):
    path = plots.save(FIGURES[name](), tmp_path / "figures" / f"{name}.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 400 < image.width < 2000
        assert 200 < image.height < 5000
        assert np.asarray(image.convert("L")).std() > 3  # something is drawn
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_of_a_thousand_classes_the_worst_are_drawn():
    lost = {"unit": "fraction", "value": 0.5, "low": 0.4, "high": 0.6}
    bars, dropped, tested = classes(1000), drops(1000), gate(1000)
    bars[700] |= {"name": "weakest", "f1": score(0.1)}
    dropped[700] |= {"name": "weakest", "drop": 0.3}
    tested["classes"][700] |= {"name": "weakest", "f1_drop": lost, "worse": True}
    figures = plots.per_class_bars(bars), plots.score_drops(dropped), plots.gate_intervals(tested)
    for figure in figures:
        assert figure.get_size_inches()[1] < 32
        axes = figure.axes[-1]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert len(names) == 100
        assert any(name.startswith("weakest") for name in names)
        titles = [each.get_title(loc="left") for each in figure.axes]
        assert any("the 100 worst of 1,000" in title for title in titles)


def test_of_a_hundred_classes_all_are_drawn():
    [axes] = plots.per_class_bars(classes(100)).axes
    assert len(axes.get_yticklabels()) == 100
    assert "worst" not in axes.get_title(loc="left")


@pytest.mark.parametrize("name", FIGURES)
def test_every_word_can_be_read(name):
    check_inside(FIGURES[name]())


@pytest.mark.parametrize("names", [[LONG, "b"], ["malignant", "normal, benign"]])
def test_words_of_two_columns_do_not_stand_over_one_another(names):
    check_legible(
        plots.confusion_matrix(np.array([[0.5, 0.5], [0.1, 0.9]]), names, normalized=True)
    )


def test_the_gate_says_what_each_colour_is_where_the_first_label_lacks_a_figure():
    tested = gate(3)
    missing = {"unit": "fraction", "reason": "fewer than 3 images with the label, or without it"}
    for place, row in enumerate(tested["classes"]):
        row["auc_drop"] = row["f1_drop"] if place else missing
        row["recall_drop"] = row["f1_drop"] | {"low": -0.9, "high": 0.9}
    figure = plots.gate_intervals(tested)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["AUC", "recall", "F1"]
    check_legible(figure)


def test_zeros_are_drawn_where_there_are_any():
    drawn = FIGURES["pruning"]().axes
    assert [axes.get_ylabel() for axes in drawn][-1] == "zeros, %"
    assert list(drawn[-1].lines[0].get_ydata()) == [50.0, 50.0]
    assert len(FIGURES["qat"]().axes) == 2


def test_same_figure_same_bytes(tmp_path):
    first = plots.save(FIGURES["drops_2"](), tmp_path / "a.png").read_bytes()
    assert first == plots.save(FIGURES["drops_2"](), tmp_path / "b.png").read_bytes()


def test_names_are_not_read_as_mathematics(tmp_path):
    plots.save(
        plots.confusion_matrix(np.eye(2, dtype=int), [r"$\frac{$", "a$b$"]), tmp_path / "a.png"
    )


def test_labels_of_crowded_points_do_not_overlap():
    points = [
        plots.Point(f"pbc-0.35-96-{name}", 635.0 + i, 0.97 + 0.0005 * i, name, None, (0.96, 0.985))
        for i, name in enumerate(["int8", "dynamic", "int8", "float16", "int16x8", "other"])
    ]
    figure = plots.tradeoff(points, x="kB", y="accuracy", title="crowded")
    axes = figure.axes[0]
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    assert len(boxes) == 6
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    # the naive placement has overlaps: the check above can fail
    naive = plots.tradeoff([], x="kB", y="accuracy", title="crowded").axes[0]
    naive.set_xlim(axes.get_xlim())
    naive.set_ylim(axes.get_ylim())
    notes = [naive.annotate(p.label, (p.x, p.y)).get_window_extent(renderer) for p in points]
    assert any(a.overlaps(b) for a in notes for b in notes if a is not b)


def test_place_labels_returns_one_per_point():
    figure = plots.tradeoff([], x="", y="", title="")
    points = [plots.Point("a", 0.2, 0.2), plots.Point("b", 0.8, 0.8)]
    assert len(place_labels(figure, figure.axes[0], points, ["#000", "#000"])) == 2


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys; from edgecell import plots; import numpy as np;"
        "plots.confusion_matrix(np.eye(2), ['a', 'b']);"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def drawn(axes, color):
    """(x, y) of each curve of a colour."""
    return [line.get_xydata() for line in axes.get_lines() if line.get_color() == color]


def test_curves_show_the_history_with_both_stages_and_the_kept_epoch():
    told = [
        entry | {"val_accuracy": 0.5 + 0.01 * i, "learning_rate": 1e-3 / (i + 1)}
        for i, entry in enumerate(history(6))
    ]
    figure = plots.learning_curves(told, best_epoch=4)
    accuracy, loss, rate = figure.axes
    validation, star = drawn(accuracy, "#E69F00")
    np.testing.assert_allclose(validation[:, 1], [entry["val_accuracy"] for entry in told])
    assert star.tolist() == [[4, told[3]["val_accuracy"]]]
    (_, star) = drawn(loss, "#E69F00")
    assert star.tolist() == [[4, told[3]["val_loss"]]]
    for axes in figure.axes:  # the head ends after two epochs
        ends = [line for line in axes.get_lines() if line.get_gid() == "stage boundary"]
        assert [line.get_xdata()[0] for line in ends] == [2.5]
    texts = [text.get_text() for text in accuracy.texts]
    assert texts == ["head", "fine tune", "kept: epoch 4, 0.5300"]
    steps = rate.get_lines()[0].get_ydata()
    assert set(np.round(steps, 12)) == {round(1e-3 / (i + 1), 12) for i in range(6)}
    assert rate.get_yscale() == "log"


def test_curves_of_one_stage_have_no_boundary_and_a_metric_may_be_missing_on_train():
    told = [
        {key: value for key, value in entry.items() if "accuracy" not in key} | {"val_auc": 0.7}
        for entry in history(2)
    ]
    figure = plots.learning_curves(told, best_epoch=1, metric="auc")
    top = figure.axes[0]
    assert top.get_ylabel() == "mean AUC"
    assert [len(curve) for curve in drawn(top, "#0072B2")] == [0]
    assert not any(line.get_gid() == "stage boundary" for line in top.get_lines())
