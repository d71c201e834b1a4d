"""Whether a person can read a figure: no word off the page, none over another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text


def boxes(figure: Figure) -> list[tuple[str, Any]]:
    """Each text that is drawn and where it stands, in pixels of the figure."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    beyond = set(_ticks_out_of_view(figure))
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in beyond
    ]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


def _ticks_out_of_view(figure: Figure) -> Iterator[int]:
    """Labels of ticks beyond an axis' ends: they exist and are not drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high or not axes.axison:
                    yield from (id(tick.label1), id(tick.label2))


def check_inside(figure: Figure) -> None:
    """No text is cut off at the figure's edge."""
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes(figure):
        assert box.x0 >= -1 and box.x1 <= width + 1, text
        assert box.y0 >= -1 and box.y1 <= height + 1, text


def check_legible(figure: Figure) -> None:
    """No text is cut off, and none stands over another."""
    check_inside(figure)
    found = boxes(figure)
    for i, (text, box) in enumerate(found):
        for other, another in found[i + 1 :]:
            # Lines of one caption may touch, as lines do: two pixels of slack.
            shared = (
                min(box.x1, another.x1) - max(box.x0, another.x0),
                min(box.y1, another.y1) - max(box.y0, another.y0),
            )
            assert min(shared) < 3, (text, other)
