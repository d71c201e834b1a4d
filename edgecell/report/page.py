"""The frame of a page: head, title, navigation, sections, footer; and the scripts of one that has any."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from edgecell import __version__
from edgecell.report.elements import Html, element, join
from edgecell.report.style import CSS

_SCRIPTS = ("dom.js", "sortable.js", "scales.js", "scatter.js", "confusion.js", "start.js")


def page(
    name: str,
    subtitle: str,
    headline: Html,
    links: list[tuple[str, str]],
    bodies: list[Html],
    *,
    data: Html | None = None,
) -> str:
    """One HTML document without outside links; ``links``: (anchor, title) of the sections.

    Without ``data`` there is no script in it. ``data`` is a block that the scripts of ``assets`` draw
    from; the page then forbids any other script, and every connection.
    """
    navigation = element("nav", *(element("a", title, href=f"#{verb}") for verb, title in links))
    head = join(
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">') if data else "",
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{name} · edgecell"),
        element("style", Html(CSS + (_asset("interactive.css") if data else ""))),
    )
    body = element(
        "body",
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
        join(data, Html(f"<script>{_script()}</script>")) if data else "",
        cls="wide" if data else "",
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'


@cache
def _script() -> str:
    """The scripts as one, nothing of it global."""
    return '"use strict";\n(() => {\n' + "".join(_asset(name) for name in _SCRIPTS) + "})();\n"


def _policy() -> str:
    """Only our own script runs, and nothing is fetched from anywhere."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode("ascii")
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"


@cache
def _asset(name: str) -> str:
    return (resources.files("edgecell.report") / "assets" / name).read_text(encoding="utf-8")
