"""The frame of a page: head, title, navigation, sections, footer."""

from __future__ import annotations

from edgecell import __version__
from edgecell.report.elements import Html, element, join
from edgecell.report.style import CSS


def page(
    name: str, subtitle: str, headline: Html, links: list[tuple[str, str]], bodies: list[Html]
) -> str:
    """One HTML document without scripts or outside links; ``links``: (anchor, title) of the sections."""
    navigation = element("nav", *(element("a", title, href=f"#{verb}") for verb, title in links))
    head = join(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{name} · edgecell"),
        element("style", Html(CSS)),
    )
    body = join(
        element(
            "header",
            element("h1", name),
            element("div", subtitle, cls="subtitle"),
            navigation,
            headline,
        ),
        element("main", *bodies),
        element(
            "footer",
            f"Written by edgecell {__version__}. Figures hold for the images and the machine named here. "
            "A research tool, not a medical device.",
        ),
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'
