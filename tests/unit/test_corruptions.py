from __future__ import annotations

import numpy as np
import pytest

from edgecell.config import CORRUPTIONS as NAMES
from edgecell.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from edgecell.errors import ConfigError


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Coloured discs with an edge of three pixels, uint8 (3, 48, 48, 3)."""
    rows, columns = np.mgrid[:48, :48]
    disc = np.clip(4 - np.hypot(rows - 24, columns - 24) / 3, 0, 1)[..., None]
    ground, ink = np.array([214, 190, 186.0]), np.array([96, 48, 140.0])
    images = [ground * (1 - disc) + (ink + 10 * i) * disc for i in range(3)]
    return np.rint(images).astype(np.uint8)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


def test_the_settings_name_what_there_is():
    assert tuple(CORRUPTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_stronger_is_further_away(cells, name):
    before = cells.copy()
    away = [distance(corrupt(cells, name, strength), cells) for strength in STRENGTHS]
    assert (np.diff(away) > 0).all() and away[0] > 0.05
    assert (cells == before).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_gives_the_same_bytes(cells, name):
    first = corrupt(cells, name, 3, seed=5)
    assert first.dtype == np.uint8 and first.shape == cells.shape
    assert (first == corrupt(cells, name, 3, seed=5)).all()
    # An image's corruption does not hang on how many follow it.
    assert (first[:1] == corrupt(cells[:1], name, 3, seed=5)).all()
    assert (first == corrupt(cells, name, 3, seed=6)).all() == (name != "noise")


def test_noise_has_its_standard_deviation():
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    noisy = corrupt(grey, "noise", 3).astype(float) - 128
    # 24,576 values: the standard error of the deviation is sd / sqrt(2 · 24,576), 0.5 %.
    assert noisy.std() == pytest.approx(255 * 0.06, rel=0.02)
    assert abs(noisy.mean()) < 4 * 255 * 0.06 / np.sqrt(noisy.size)
    assert not (noisy[0] == noisy[1]).all()


def test_light_moves_the_largest_channel_and_keeps_the_hue():
    image = np.array([[[[200, 100, 50]]]], np.uint8)
    assert corrupt(image, "dark", 4)[0, 0, 0].tolist() == [149, 74, 37]  # 200 - 51 of 200
    assert corrupt(image, "bright", 5)[0, 0, 0].tolist() == [255, 128, 64]  # clipped at white
    black = np.zeros((1, 1, 1, 3), np.uint8)
    assert corrupt(black, "bright", 2)[0, 0, 0].tolist() == [26, 26, 26]
    assert corrupt(black, "dark", 5).max() == 0


def test_white_balance_moves_red_and_blue_against_each_other(cells):
    for name, red, blue in (("warm", 1, -1), ("cool", -1, 1)):
        moved = corrupt(cells, name, 2).astype(int) - cells
        assert (np.sign(moved[..., 0]) == red).all() and (np.sign(moved[..., 2]) == blue).all()
        assert (moved[..., 1] == 0).all()
    # Linear light: 0.8 of mid grey (linear 0.2159) is 0.1727, in sRGB 115.
    grey = np.full((1, 1, 1, 3), 128, np.uint8)
    assert corrupt(grey, "warm", 4)[0, 0, 0, 2] == 115


def test_blur_keeps_the_mean_and_flattens_edges(cells):
    blurred = corrupt(cells, "blur", 5)
    assert blurred.mean() == pytest.approx(cells.mean(), abs=1)
    steps = [np.abs(np.diff(x.astype(int), axis=2)).max() for x in (cells, blurred)]
    assert steps[1] < steps[0]


def test_what_there_is_not(cells):
    with pytest.raises(ConfigError, match="no corruption 'fog' of strength 1; allowed: blur, jpeg"):
        corrupt(cells, "fog", 1)
    with pytest.raises(ConfigError, match="of strength 6; .* strengths 1 to 5"):
        corrupt(cells, "blur", 6)
