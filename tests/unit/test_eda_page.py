"""Pictures and page of an exploration: what they show, and that everything can be read."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from legible import boxes, check_inside, check_legible

from edgecell import plots
from edgecell.config import DataConfig
from edgecell.errors import ArtifactError
from edgecell.pipeline import exploring
from edgecell.report.eda import CAPTIONS, render, write_page

LONG = "immature granulocytes (myelocytes, metamyelocytes and promyelocytes)"
NAMES = [LONG, "Pneumocystis_jirovecii_pneumonia", "$5_x$", "W" * 40]
NAMES += [f"a rather long class name {i}" for i in range(10)]
SPLITS = ("train", "val", "test")


class Silent:
    def begin(self, label, total): ...
    def advance(self, done, note=""): ...
    def say(self, line): ...


def picture(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def image_of(split, row, label="a"):
    return {"split": split, "row": row, "image": f"{split}/{row}_{'x' * 40}.png", "label": label}


PAIR = {"bits": 12, "second": "mirrored left to right"}
COUNTS = {split: [10**i % 9973 for i in range(14)] for split in SPLITS}
HISTOGRAMS = np.random.default_rng(0).integers(1, 999, (14, 3, 256))
FIGURES = {
    "classes": lambda: plots.class_distribution(NAMES, COUNTS),
    "classes of 80": lambda: plots.class_distribution(
        [f"{LONG} {i}" for i in range(80)], {split: list(range(80)) for split in SPLITS}
    ),
    "histograms": lambda: plots.channel_histograms(
        {split: HISTOGRAMS[i] for i, split in enumerate(SPLITS)}
    ),
    "channels": lambda: plots.channels_by_class(
        NAMES, HISTOGRAMS, np.full((14, 3), 120.0), np.full((14, 3), 30.0)
    ),
    "light": lambda: plots.light_and_contrast(
        {
            key: {split: np.linspace(i, 90, 50) for i, split in enumerate(SPLITS)}
            for key in ("brightness", "contrast")
        }
    ),
    "light of one value": lambda: plots.light_and_contrast({"brightness": {"train": np.ones(5)}}),
    "sizes": lambda: plots.image_sizes({"train": [(30, 20, 5), (400, 90, 1)], "val": [(8, 8, 2)]}),
}
SHEETS = {
    "samples": lambda: plots.samples(
        NAMES, COUNTS, {split: [[picture(i)] * 4 for i in range(14)] for split in SPLITS}
    ),
    "means": lambda: plots.mean_images(
        NAMES, [picture(i, (48, 48, 3)) for i in range(14)], [np.ones((48, 48, 3))] * 14
    ),
    "outliers": lambda: plots.outliers(
        {
            kind: [
                image_of("train", i, LONG) | {"brightness": 3.0, "contrast": 0.0} for i in range(8)
            ]
            for kind in ("darkest", "brightest", "least_contrast")
        },
        {("train", i): picture(i) for i in range(8)},
    ),
    "near-duplicates": lambda: plots.near_duplicates(
        [PAIR | {"a": image_of("train", i, LONG), "b": image_of("val", i)} for i in range(6)],
        {(split, i): picture(i) for split in SPLITS for i in range(6)},
        99,
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_no_word_of_a_figure_is_cut_off(name, tmp_path):
    figure = FIGURES[name]()
    check_inside(figure)
    assert plots.save(figure, tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SHEETS)
def test_every_word_of_a_sheet_can_be_read(name):
    check_legible(SHEETS[name]())


def test_bars_are_the_counts():
    figure = plots.class_distribution(["a", "b"], {"train": [30, 10], "val": [1, 0]})
    widths = [[bar.get_width() for bar in axes.patches] for axes in figure.axes]
    assert widths == [[30, 10], [1, 0]]
    said = [text for text, _ in boxes(figure)]
    assert "30  75.0%" in said and "val (1)" in said and "0  0.0%" in said


def test_shares_of_several_labels_are_of_the_images():
    counts, images = {"train": [30, 10], "val": [2, 0]}, {"train": 120, "val": 4}
    said = [text for text, _ in boxes(plots.class_distribution(["a", "b"], counts, images))]
    assert {"30  25.0%", "10  8.3%", "2  50.0%", "train (120)", "val (4)"} <= set(said)


def test_strips_and_lines_are_the_histograms():
    histogram = np.zeros((3, 256), int)
    histogram[0, 8:12] = 5  # one bin of four values holds all of the red
    histogram[1:] = 1
    figure = plots.channel_histograms({"train": histogram})
    red = figure.axes[0].get_lines()[0].get_ydata()
    assert red[2] == 1 and red.sum() == 1
    strips = plots.channels_by_class(["a"], histogram[None], [[10.0, 0, 0]], [[2.0, 0, 0]])
    shown = np.asarray(strips.axes[0].get_images()[0].get_array())
    assert shown.shape == (1, 64) and shown[0, 2] == 1 and shown.sum() == 1


def test_no_channel_is_higher_than_the_axis():
    histogram = np.ones((3, 256), int)
    histogram[2, 100:104] = 500  # blue is steeper than red, whose panel is drawn first
    for axes in plots.channel_histograms({"train": histogram}).axes:
        low, high = axes.get_ylim()
        drawn = [line.get_ydata() for line in axes.get_lines()]
        assert low == 0 and np.max(drawn) < high


def test_a_pair_in_two_splits_is_framed_and_one_within_is_not():
    def framed(one, other):
        rows = [PAIR | {"a": image_of(one, 0), "b": image_of(other, 1)}]
        figure = plots.near_duplicates(rows, {(one, 0): picture(0), (other, 1): picture(1)}, 1)
        sheet = np.asarray(figure.images[0].get_array())
        return bool((sheet == [0xD5, 0x5E, 0x00]).all(axis=2).any())

    assert framed("train", "val") and not framed("train", "train")


# ----------------------------------------------------------------------------------- the whole verb


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """An exploration of a file with a leak, a label conflict and hostile class names."""
    folder = tmp_path_factory.mktemp("eda")
    images = {
        split: [picture([i, n], (16, 16, 3)) for n in range(12)] for i, split in enumerate(SPLITS)
    }
    images["val"][3] = np.minimum(images["train"][4] * 1.02, 255).astype(np.uint8)
    arrays = {f"{split}_images": np.stack(found) for split, found in images.items()}
    arrays |= {f"{split}_labels": np.arange(12)[:, None] % 3 for split in SPLITS}
    np.savez(folder / "set.npz", class_names=["<script>alert(1)</script>", "b & c", "d"], **arrays)
    found = exploring.explore_data(
        DataConfig(str(folder / "set.npz")), folder / "out", 24, Silent()
    )
    return found, folder / "out"


def test_files_and_their_content(explored):
    found, folder = explored
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", "eda.json", "near_duplicates.csv", *CAPTIONS} - {"sizes.png"}
    assert json.loads((folder / "eda.json").read_text()) == json.loads(json.dumps(found.report))
    head, row = (folder / "near_duplicates.csv").read_text().splitlines()
    assert head.startswith("a_split,a_image,a_label,b_split")
    assert row.startswith("train,train[4],b & c,val,val[3],<script>alert(1)</script>,")
    near = found.report["near_duplicates"]
    assert (near["pairs"], near["conflicts"], near["across"]["train/val"]) == (1, 1, 1)


def test_the_page_is_self_contained_and_shows_the_findings(explored):
    _, folder = explored
    page = (folder / "index.html").read_text()
    without = re.sub(r'src="data:image/(png|jpeg);base64,[^"]*"', "", page)
    assert "http" not in without and "src=" not in without
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<img") == len(CAPTIONS) - 1
    assert "1 val image is nearly equal to images of train" in page
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


def test_a_second_exploration_leaves_no_picture_of_the_first(explored, tmp_path):
    _, folder = explored
    (folder / "sizes.png").write_bytes(b"of other images")
    exploring.explore_data(DataConfig(str(folder.parent / "set.npz")), folder, 0, Silent())
    assert not (folder / "sizes.png").exists()
    assert (folder / "near_duplicates.csv").read_text().count("\n") == 1  # 0 bits: none so near


def test_the_table_of_near_duplicates_has_no_formulas():
    ends = [image_of("train", 0, "=1+1"), image_of("val", 1, "+x")]
    ends[0]["image"] = "=1+1/a.png"
    row = {"a": ends[0], "b": ends[1], "bits": 3, "second": "as it is"}
    cells = exploring._pairs_csv([row]).splitlines()[1].split(",")
    assert cells[1:3] == ["./=1+1/a.png", "'=1+1"] and cells[5] == "'+x"


def test_a_missing_picture_is_an_error_and_no_page(explored, tmp_path):
    found, folder = explored
    with pytest.raises(ArtifactError, match=r"cannot read the picture .*classes\.png"):
        write_page(tmp_path, found.report, [tmp_path / "classes.png"])
    assert not (tmp_path / "index.html").exists()
    assert "<img" not in render(found.report, {})


def test_of_very_many_classes_the_largest_and_the_smallest_are_drawn() -> None:
    counts = {"train": [5] * 60 + [1] * 50 + [9] * 50, "val": [1] * 160}
    kept = exploring._extremes(counts)
    assert kept == list(range(60, 160))
    names = [f"kind {i}" for i in range(160)]
    report = {"class_names": names, "counts": counts, "task": "multi-class"}
    figure = exploring._distribution(report, kept)
    assert len(figure.axes[0].get_yticklabels()) == 100
    few = {"train": [5, 1, 9]}
    assert exploring._extremes(few) == [0, 1, 2]
