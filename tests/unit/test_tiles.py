"""Sheets of images: what stands where, and that no word is cut off or over another."""

from __future__ import annotations

import numpy as np
import pytest
from legible import boxes, check_legible
from PIL import Image

from edgecell import plots
from edgecell.examples import examples
from edgecell.plots.heat import beside
from edgecell.plots.style import BLUE, DPI, VERMILION
from edgecell.plots.tiles import WIDE, Tile, text_width, tile_grid, tile_table, wrapped
from edgecell.predictions import Predictions

LONG = "immature granulocytes (myelocytes, metamyelocytes and promyelocytes)"
NAMES = [LONG, "Pneumocystis_jirovecii_pneumonia", "$5_x$", "=SUM(A1)", "W" * 40, "a", "b c", "d/e"]
NAMES += [f"{LONG} {i}" for i in range(6)]


def flat(color, height=8, width=8):
    return np.full((height, width, 3), color, np.uint8)


def paper(figure):
    """The sheet's pixels below its text, rows from the top."""
    (image,) = figure.images
    return np.asarray(image.get_array())[::-1]


def predictions(count=400):
    random = np.random.default_rng(0)
    labels = random.integers(0, len(NAMES), count)
    probabilities = random.dirichlet(np.ones(len(NAMES)), count)
    probabilities[np.arange(count), labels] += random.uniform(0, 1, count)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(NAMES, [str(i) for i in range(count)], labels, probabilities)


@pytest.mark.filterwarnings("error")
def test_fourteen_long_names_are_legible_in_both_sheets(tmp_path):
    found = examples(predictions())
    images = np.random.default_rng(1).integers(0, 255, (400, 12, 10, 3)).astype(np.uint8)
    for draw in (plots.confident_mistakes, plots.examples_by_class):
        figure = draw(images, found)
        check_legible(figure)
        path = plots.save(figure, tmp_path / "sheet.png")
        with Image.open(path) as picture:
            assert picture.size == paper(figure).shape[1::-1]
            assert picture.width == round(WIDE * DPI)
    texts = [text for text, _ in boxes(figure)]
    for row in found["classes"]:
        assert f"{row['right']} right, {row['wrong']} wrong" in texts


def test_the_check_for_legibility_can_fail():
    figure = tile_grid([Tile(flat(0), ("a",))], title="x")
    figure.text(0.99, 0.5, "runs off the page")
    with pytest.raises(AssertionError, match="runs off"):
        check_legible(figure)
    figure = tile_grid([Tile(flat(0), ("a",))], title="over")
    figure.texts[0].set_position(figure.texts[1].get_position())
    with pytest.raises(AssertionError, match="over"):
        check_legible(figure)


def test_tiles_stand_in_order_with_the_frame_of_their_kind():
    tiles = [Tile(flat((40 * i, 0, 200)), (str(i),), i % 2 == 0) for i in range(5)]
    sheet = paper(tile_grid(tiles, title="t", columns=3))
    ink = [
        (tuple(int(c) for c in color), i)
        for i, color in enumerate(tile.image[0, 0] for tile in tiles)
    ]
    centres = [np.argwhere((sheet == color).all(axis=2)).mean(axis=0) for color, _ in ink]
    assert centres[0][0] == pytest.approx(centres[2][0]) and centres[3][0] > centres[0][0] + 50
    assert centres[0][1] < centres[1][1] < centres[2][1]
    assert centres[3][1] == pytest.approx(centres[0][1])
    frames = {
        name: int((sheet == [int(name[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).sum())
        for name in (BLUE, VERMILION)
    }
    assert frames[BLUE] == pytest.approx(1.5 * frames[VERMILION], rel=0.01)  # 3 right, 2 wrong


def test_a_row_of_the_table_is_one_class():
    red, green = flat((255, 0, 0)), flat((0, 255, 0))
    figure = tile_table(
        [(("one", "1"), ([Tile(red)], [])), (("two", "2"), ([], [Tile(green)]))],
        ("left", "right"),
        title="t",
        places=2,
    )
    sheet = paper(figure)
    at_red = np.argwhere((sheet == [255, 0, 0]).all(axis=2)).mean(axis=0)
    at_green = np.argwhere((sheet == [0, 255, 0]).all(axis=2)).mean(axis=0)
    assert at_green[0] > at_red[0] and at_green[1] > at_red[1]
    assert [text for text, _ in boxes(figure)].count("none") == 2


def test_a_row_without_images_is_no_taller_than_one_with():
    def height(tiles):
        rows = [(("one", "1"), ([Tile(flat((255, 0, 0), 4, 8))], [])), (("two", "2"), (tiles, []))]
        figure = tile_table(rows, ("left", "right"), title="t", places=1)
        return figure.get_size_inches()[1]

    assert height([]) < height([Tile(flat((0, 255, 0), 4, 8))])


def test_aspect_is_kept_and_small_pixels_stay_sharp():
    sheet = paper(tile_grid([Tile(flat((1, 2, 3), 4, 8))], title="t", columns=4))
    rows, columns = np.nonzero((sheet == [1, 2, 3]).all(axis=2))
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(2, rel=0.02)


def test_many_classes_are_cut_to_the_worst():
    names = [f"c{i}" for i in range(100)]
    rows = [
        {"name": name, "right": i, "wrong": 99 - i, "surest": [], "least_sure": [], "mistakes": []}
        for i, name in enumerate(names)
    ]
    figure = plots.examples_by_class([], {"classes": rows})
    shown = {text for text, _ in boxes(figure)}
    assert {"c0", "c23"} <= shown and "c24" not in shown
    assert any("24 classes with the largest share of mistakes" in text for text in shown)


def test_no_mistakes_is_said():
    figure = plots.confident_mistakes([], {"mistakes": [], "wrong": 0})
    assert "No mistakes" in [text for text, _ in boxes(figure)]


@pytest.mark.parametrize("width", [0.4, 0.9, 2.0])
@pytest.mark.parametrize("text", [LONG, "Pneumocystis_jirovecii", "x" * 90, "naïve café", ""])
def test_wrapped_lines_fit_and_lose_nothing_but_the_end(text, width):
    lines = wrapped(text, width, 8, 50)
    assert all(text_width(line, 8) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    two = wrapped(text, width, 8, 2)
    assert len(two) <= 2 and all(text_width(line, 8) <= width for line in two)
    assert ("…" in two[-1]) == (len(lines) > 2)


def test_text_width_is_that_of_the_renderer():
    figure = tile_grid([], title="t")
    renderer = figure.canvas.get_renderer()
    for text in ("immature granulocyte", "→ W_i.l", "a  b"):
        box = figure.text(0, 0, text, fontsize=20).get_window_extent(renderer)
        assert text_width(text, 20) * DPI == pytest.approx(box.width, rel=0.06)


def test_maps_stand_beside_their_images_and_are_legible():
    found = examples(predictions(), mistakes=20, per_class=4)
    images = np.random.default_rng(1).integers(0, 255, (400, 12, 10, 3)).astype(np.uint8)
    names = {row["index"]: row for row in found["mistakes"]}
    heat = {(i, name): np.eye(3, dtype=np.float32) for i in range(400) for name in NAMES}
    for draw in (plots.heat_by_class, plots.heat_of_mistakes):
        figure = draw(images, heat, found)
        check_legible(figure)
    texts = " ".join(text for text, _ in boxes(figure))
    assert f"The 20 most confident of {found['wrong']} mistakes" in texts
    assert all(f"{row['confidence']:.3f}" in texts for row in names.values())


def test_heat_lies_where_the_map_says():
    image = flat(100, 10, 20)
    heat = np.zeros((5, 10), np.float32)
    heat[1, 8] = 3.0
    both = beside(image, heat)
    times = both.shape[0] // 10
    left, right = both[:, : 20 * times], both[:, -20 * times :]
    assert (left == 100).all() and both.shape[1] == 2 * 20 * times + 3
    changed = np.abs(right.astype(int) - 100).sum(2)
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert (row // (2 * times), column // (2 * times)) == (1, 8)
    assert changed[:, : 12 * times].max() == 0 and changed[6 * times :].max() == 0
    assert (beside(image, np.zeros((5, 10), np.float32))[:, -20 * times :] == 100).all()
