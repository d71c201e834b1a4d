"""Small pieces of HTML. Every text is escaped here and nowhere else."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from edgecell.errors import ArtifactError
from edgecell.record import Measurement

PICTURE_BUDGET = 4_500_000  # characters of base64, so that a report can be mailed

HEAVY_BYTES = 150_000  # a larger PNG holds photographs
WIDE_PIXELS = 1000  # a wider figure takes the whole column

_MANY = 24  # longer lists of plain values are shortened


class Html(str):
    """Text that is HTML already."""


def text(value: object) -> Html:
    """Escape anything that is not Html yet."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def element(tag: str, *children: object, cls: str = "", **attributes: str) -> Html:
    """`<tag class=…>children</tag>`, children and attribute values escaped."""
    values = ({"class": cls} if cls else {}) | attributes
    head = "".join(f' {name}="{escape(value)}"' for name, value in values.items())
    return Html(f"<{tag}{head}>{join(*children)}</{tag}>")


def join(*children: object) -> Html:
    """Concatenate, escaping what is not Html."""
    return Html("".join(text(child) for child in children))


def section(title: str, anchor: str, *children: object, lead: str = "") -> Html:
    """A titled part of the page."""
    opening = element("p", lead, cls="lead") if lead else ""
    return element("section", element("h2", title), opening, *children, id=anchor)


def note_list(lines: Sequence[str]) -> Html:
    """Lines in small print below what they are about; nothing of none."""
    if not lines:
        return Html()
    return element("ul", *(element("li", line) for line in lines), cls="notes")


MOST_ROWS = 100
"""Rows that a table of classes has before it is folded."""


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, numeric: Sequence[int] = ()
) -> Html:
    """A table that scrolls sideways on its own where the screen is narrow."""

    def row(tag: str, cells: Sequence[object]) -> Html:
        return element(
            "tr",
            *(element(tag, cell, cls="n" if i in numeric else "") for i, cell in enumerate(cells)),
        )

    body = join(*(row("td", cells) for cells in rows))
    whole = element("table", element("thead", row("th", columns)), element("tbody", body))
    return element("div", whole, cls="scroll", tabindex="0")


def long_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    urgency: Sequence[float],
    *,
    numeric: Sequence[int] = (),
) -> Html:
    """A table of classes: of more than MOST_ROWS those of the least ``urgency``, all of them folded away."""
    if len(rows) <= MOST_ROWS:
        return table(columns, rows, numeric=numeric)
    first = sorted(range(len(rows)), key=lambda i: urgency[i])[:MOST_ROWS]
    return join(
        element("p", f"The {MOST_ROWS} lowest of {len(rows):,} classes, the lowest first:"),
        table(columns, [rows[i] for i in first], numeric=numeric),
        details(f"All {len(rows):,} classes", table(columns, rows, numeric=numeric)),
    )


def details(summary: str, *children: object) -> Html:
    """Folded away until asked for."""
    return element("details", element("summary", summary), *children)


def badge(label: str, passed: bool | None) -> Html:
    """A verdict: green, red, or grey where nothing was judged; the words carry the meaning too."""
    sign, cls = {True: ("✓ ", "good"), False: ("✗ ", "bad"), None: ("– ", "none")}[passed]
    return element("span", sign, label, cls=f"badge {cls}")


def card(title: str, value: str, note: str = "") -> Html:
    """One headline figure."""
    return element(
        "div",
        element("div", title, cls="card-title"),
        element("div", value, cls="card-value"),
        element("div", note, cls="card-note"),
        cls="card",
    )


class Pictures:
    """Inlines PNGs until the budget is spent; later ones are named instead."""

    def __init__(self, budget: int = PICTURE_BUDGET) -> None:
        self.left = budget

    def figure(self, path: Path, caption: str) -> Html:
        """ArtifactError when the file is missing or no PNG."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"cannot read the picture {path}: {error.strerror}") from error
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ArtifactError(f"{path} is not a PNG picture; run the stage that made it again")
        kind, shown = _lighter(data)
        code = base64.b64encode(shown).decode("ascii")
        if len(code) > self.left:
            return element(
                "p", f"{caption}: see {path.parent.name}/{path.name}, too large for one file."
            )
        self.left -= len(code)
        image = Html(
            f'<img src="data:image/{kind};base64,{code}" alt="{escape(caption)}" loading="lazy">'
        )
        wide = int.from_bytes(data[16:20], "big") > WIDE_PIXELS
        return element("figure", image, element("figcaption", caption), cls="wide" if wide else "")


def _lighter(png: bytes) -> tuple[str, bytes]:
    """A PNG as it is; one that is heavy for its size, which is one of photographs, as JPEG."""
    if len(png) <= HEAVY_BYTES:
        return "png", png
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    jpeg = buffer.getvalue()
    return ("jpeg", jpeg) if len(jpeg) < len(png) else ("png", png)


# ------------------------------------------------------------------------- values of any shape


def is_measurement(value: object) -> bool:
    """Whether a JSON value is a measurement of `edgecell.record`."""
    return (
        isinstance(value, Mapping) and "unit" in value and ("value" in value or "reason" in value)
    )


def measurement(data: Mapping[str, Any], *, count: bool = True) -> str:
    """`0.978 [0.970, 0.984] (n=1712)`, `635.2 kB`, `0.131 ms`, or the reason why there is none.

    Raises:
        ArtifactError: not a measurement.
    """
    found = Measurement.from_json(dict(data))
    if found.value is None:
        return f"none: {found.reason}"
    words = _with_unit(found.value, found.unit)
    if found.low is not None and found.high is not None:
        words += f" [{_plain(found.low, found.unit)}, {_plain(found.high, found.unit)}]"
    if count and found.n is not None:
        words += f" (n={found.n})"
    return words + (" estimated" if found.kind == "estimated" else "")


def _with_unit(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB" if value >= 2e6 else f"{value / 1e3:.1f} kB"
    suffix = "" if unit in ("fraction", "1", "count") else f" {unit}"
    return _plain(value, unit) + suffix


def _plain(value: float, unit: str) -> str:
    if unit in ("count", "bytes"):
        return f"{value:,.0f}"
    if unit in ("ms", "s"):
        return f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"
    return f"{value:.3f}"


def value(data: object) -> Html:
    """Any JSON value, so that keys added later show up too."""
    if is_measurement(data):
        return text(measurement(data))  # type: ignore[arg-type]
    if isinstance(data, Mapping):
        return facts(data)
    if isinstance(data, list | tuple):
        return _sequence(data)
    if isinstance(data, bool):
        return text("yes" if data else "no")
    if data is None:
        return text("–")
    if isinstance(data, float):
        return text(f"{data:.4g}")
    return text(f"{data:,}" if isinstance(data, int) and abs(data) >= 10_000 else data)


def facts(data: Mapping[str, Any]) -> Html:
    """Keys and values below each other."""
    pairs = [
        join(element("dt", words(key)), element("dd", value(entry))) for key, entry in data.items()
    ]
    return element("dl", *pairs)


def words(key: str) -> str:
    """A JSON key as words."""
    return key.replace("_", " ")


def _sequence(data: Sequence[Any]) -> Html:
    if data and all(isinstance(entry, Mapping) and not is_measurement(entry) for entry in data):
        columns = list(dict.fromkeys(key for entry in data for key in entry))
        rows = [[value(entry.get(key)) for key in columns] for entry in data]
        return table([words(key) for key in columns], rows)
    shown = ", ".join(value(entry) for entry in data[:_MANY])
    return (
        Html(shown + (f", … ({len(data)} in all)" if len(data) > _MANY else ""))
        if data
        else text("–")
    )
