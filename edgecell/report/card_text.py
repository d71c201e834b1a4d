"""A model card as Markdown and as one HTML page."""

from __future__ import annotations

from edgecell.report import elements
from edgecell.report.card import Card
from edgecell.report.card_parts import Grid, Part
from edgecell.report.elements import Html, badge, element, join, section, table
from edgecell.report.page import page


def markdown(card: Card) -> str:
    """For a repository, a review, a terminal."""
    lines = [f"# Model card: {_plain(card.name)}", "", f"**{_plain(card.notice)}**", ""]
    lines += [f"> {_plain(card.verdict)}", ""]
    lines += [
        f"- **{title}**: {_plain(value)} ({_plain(note)})" for title, value, note in card.headline
    ]
    for part in card.parts:
        lines += ["", f"## {part.title}", ""]
        for paragraph in part.text:
            lines += [_plain(paragraph), ""]
        for grid in part.grids:
            lines += [*_rows(grid), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def html(card: Card) -> str:
    """One page without scripts or outside links."""
    links = [(_anchor(part), part.title) for part in card.parts]
    cards = element(
        "div",
        *(elements.card(title, value, note) for title, value, note in card.headline),
        cls="cards",
    )
    notices = join(
        element("p", card.notice, cls="warning"), element("p", badge(card.verdict, card.passed))
    )
    bodies = [section(part.title, _anchor(part), *_body(part)) for part in card.parts]
    return page(card.name, "Model card", join(notices, cards), links, bodies)


def _rows(grid: Grid) -> list[str]:
    def row(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = " | ".join(
        "---:" if at >= grid.numeric_from else "---" for at in range(len(grid.columns))
    )
    return [row(grid.columns), f"| {rule} |", *map(row, grid.rows)]


def _plain(text: str) -> str:
    """One line, without what a Markdown reader would take for HTML."""
    return " ".join(text.split()).replace("<", "&lt;")


def _anchor(part: Part) -> str:
    return part.title.lower().replace(" ", "-").replace("'", "")


def _body(part: Part) -> list[Html]:
    kind = "warning" if part.missing else ""
    return [
        *(element("p", paragraph, cls=kind) for paragraph in part.text),
        *(_grid(grid) for grid in part.grids),
    ]


def _grid(grid: Grid) -> Html:
    if not any(grid.columns):
        pairs = (join(element("dt", name), element("dd", text)) for name, text in grid.rows)
        return element("dl", *pairs)
    numeric = tuple(range(grid.numeric_from, len(grid.columns)))
    return table(grid.columns, grid.rows, numeric=numeric)
