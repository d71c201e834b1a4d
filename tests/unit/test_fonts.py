"""Letters that DejaVu Sans lacks come from another font; matplotlib's own STIX stands for an installed one."""

from __future__ import annotations

import warnings

import pytest
from matplotlib import rcParams
from matplotlib.ft2font import FT2Font

from edgecell import fonts
from edgecell.plots import style

STIX = "STIXGeneral"


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(fonts, "FALLBACKS", ("no such font", STIX))
    fonts.families.cache_clear()
    yield
    fonts.families.cache_clear()


@pytest.fixture
def letter():
    """One that only STIX has, of the plane that both fonts can show."""
    first, second = (set(FT2Font(str(fonts._file(f))).get_charmap()) for f in (fonts.FIRST, STIX))
    return chr(min(code for code in second - first if code < 0xE000))


def test_only_fonts_that_are_there_are_asked_for(installed):
    assert fonts.families() == [fonts.FIRST, STIX]


def test_pillow_gets_the_font_with_the_most_letters(installed, letter):
    assert fonts.font_file(["Zürich 3"]).name == "DejaVuSans.ttf"
    assert fonts.font_file(["Zürich 3", letter]).name.startswith("STIXGeneral")


@pytest.mark.parametrize("helped", [False, True])
def test_a_figure_has_no_box_where_another_font_has_the_letter(
    installed, letter, tmp_path, monkeypatch, helped
):
    assert rcParams["font.family"][0] == fonts.FIRST
    monkeypatch.setitem(rcParams, "font.family", fonts.families() if helped else [fonts.FIRST])
    figure = style.new_figure(1)
    figure.text(0.5, 0.5, f"class {letter}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        style.save(figure, tmp_path / "figure.png")
    assert any("missing from font" in str(each.message) for each in said) is not helped
