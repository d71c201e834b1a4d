"""The parts of a page that a reader works with: sortable table, chart, heat map, confusion matrices.

The table and the heat map are plain HTML, readable without a script; chart and matrices are drawn by
the scripts in ``assets`` from the figures embedded in the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgecell.report.contenders import ACCURACY, SIZE, Axis, Contender, axes_of
from edgecell.report.elements import Html, badge, element, is_measurement, join, section
from edgecell.report.ramp import background, gradient, ink

# As in the PNG plots: colour and mark of each precision; others take what is left in turn.
_LOOKS = {
    "float32": (0, "square"),
    "float16": (1, "diamond"),
    "dynamic": (2, "up"),
    "int8": (3, "circle"),
    "int16x8": (4, "down"),
}
_OTHER_LOOKS = ((5, "plus"), (6, "square"), (7, "diamond"), (5, "up"), (6, "circle"), (7, "down"))
_NO_SCRIPT = "Needs JavaScript, which is switched off here; every figure is in the tables."


def figures_table(contenders: Sequence[Contender], *, name: str = "Model") -> Html:
    """One row per model, one column per axis that is shown; sortable by each."""
    axes = [axis for axis in axes_of(contenders) if axis.shown]
    heads = [element("th", name, scope="col")]
    for axis in axes:
        first = "descending" if axis.better == "high" else "ascending"
        heads.append(element("th", axis.title, cls="n", scope="col", **{"data-first": first}))
    rows = []
    for each in contenders:
        verdict = "" if each.passed is None else "verified" if each.passed else "refused"
        first_cell = join(
            element("b", each.name),
            element("small", each.group),
            badge(verdict, each.passed) if verdict else "",
        )
        cells = (_cell(each, axis) for axis in axes)
        rows.append(element("tr", element("td", first_cell), *cells))
    whole = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        cls="sortable",
    )
    return element("div", whole, cls="scroll", tabindex="0")


def chart_section(contenders: Sequence[Contender]) -> Html:
    """The scatter plot of any two axes."""
    return section(
        "Trade-off",
        "tradeoff",
        element("div", element("noscript", _NO_SCRIPT), id="scatter"),
        lead="Choose what stands on the axes. Lines are 95 % intervals. Point at a mark, tap it, or reach it "
        "with the Tab key for its figures.",
    )


def heat_section(contenders: Sequence[Contender]) -> Html:
    """F1 of each model and class, coloured; a map for each list of class names.

    Where several labels can hold for an image, their AUC comes first.
    """
    maps: list[Html] = []
    with_classes = [each for each in contenders if each.classes]
    ranked = False
    for names in dict.fromkeys(tuple(each.class_names) for each in with_classes):
        group = [each for each in with_classes if tuple(each.class_names) == names]
        labels = [each for each in group if all("auc" in row for row in each.classes)]
        if labels:
            ranked = True
            maps += [element("h3", "AUC"), _heat(labels, "auc"), element("h3", "F1 above 0.5")]
        maps.append(_heat(group, "f1"))
    kind, few = ("label", "labels") if ranked else ("class", "classes")
    return section(
        "AUC and F1 of each label" if ranked else "F1 of each class",
        "classes",
        *maps,
        lead=f"Each model's weakest {kind} is bold and underlined. Small {few} have wide intervals: the number "
        "of images stands below the name, the interval appears when a cell is pointed at.",
    )


def confusion_section(contenders: Sequence[Contender]) -> Html:
    """Two confusion matrices of choice and their difference."""
    widest = max(len(each.confusion) for each in contenders)
    return section(
        "Confusion matrices",
        "confusion",
        element(
            "div",
            element("noscript", _NO_SCRIPT),
            id="matrices",
            style=f"--matrix:{100 + 29 * widest}px",
        ),
        lead="Rows are labels, columns predictions. In the difference blue is better (more on the diagonal, "
        "less beside it) and orange worse.",
    )


def payload(
    contenders: Sequence[Contender], *, x: Axis | None = None, y: Axis | None = None
) -> dict[str, Any]:
    """What the scripts draw from; x and y are the first choice of axes [default: size, accuracy]."""
    axes = axes_of(contenders)
    known = list(dict.fromkeys(each.group for each in contenders))
    return {
        "axes": [
            {
                "key": axis.key,
                "title": axis.title,
                "unit": axis.unit,
                "better": axis.better,
                "shown": axis.shown,
            }
            for axis in axes
        ],
        "groups": _looks(known),
        "x": _chosen(x, SIZE, axes, -1),
        "y": _chosen(y, ACCURACY, axes, 0),
        "entries": [_entry(each, axes, known.index(each.group)) for each in contenders],
    }


def embedded(data: dict[str, Any]) -> Html:
    """JSON as a data block that no text in it can end: <, > and & are written as escapes."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="figures">{text}</script>')


def _chosen(wanted: Axis | None, usual: Axis, axes: list[Axis], other: int) -> str:
    for axis in (wanted, usual):
        if axis in axes:
            return axis.key
    return axes[other].key


def _looks(groups: Sequence[str]) -> list[dict[str, Any]]:
    looks, others = [], 0
    for group in groups:
        if group in _LOOKS:
            colour, mark = _LOOKS[group]
        else:
            colour, mark = _OTHER_LOOKS[others % len(_OTHER_LOOKS)]
            others += 1
        looks.append({"name": group, "colour": colour, "mark": mark})
    return looks


def _entry(each: Contender, axes: Sequence[Axis], group: int) -> dict[str, Any]:
    figures = {}
    for axis in axes:
        data = each.figures.get(axis, {})
        if "value" in data:
            ends = {k: data[key] * axis.scale for k, key in _ENDS if key in data}
            figures[axis.key] = {
                "v": data["value"] * axis.scale,
                **ends,
                "t": figure_text(axis, data),
            }
    return {
        "name": each.name,
        "short": each.name if len(each.name) <= 34 else f"…{each.name[-33:]}",
        "group": group,
        "figures": figures,
        "classes": each.class_names,
        "confusion": [list(row) for row in each.confusion] or None,
        "images": each.images,
    }


_ENDS = (("lo", "low"), ("hi", "high"))


def figure_text(axis: Axis, data: Any, *, interval: bool = True) -> str:
    """`0.978 [0.970, 0.984]`, `635.2 kB`; the reason where there is no value."""
    if not is_measurement(data):
        raise ValueError(f"{data!r} is not a measurement")
    if "value" not in data:
        return f"none: {data['reason']}"
    words = f"{data['value'] * axis.scale:,.{axis.digits}f}"
    unit = "" if axis.unit.startswith("×") else axis.unit
    words += f" {unit}" if unit else ""
    if interval and "low" in data:
        words += f" [{_interval(axis, data, ', ')}]"
    return words + (" estimated" if data.get("kind") == "estimated" else "")


def _interval(axis: Axis, data: Any, between: str) -> str:
    ends = (data[key] * axis.scale for key in ("low", "high"))
    return between.join(f"{end:,.{axis.digits}f}" for end in ends)


def _cell(each: Contender, axis: Axis) -> Html:
    data = each.figures.get(axis)
    if data is None or "value" not in data:
        reason = "not measured" if data is None else str(data["reason"])
        return element("td", "–", cls="n", title=reason, **{"data-v": ""})
    small = [element("small", _interval(axis, data, "–"))] if "low" in data else []
    if axis in each.notes:
        small.insert(0, element("small", each.notes[axis]))
    shown = figure_text(axis, data, interval=False)
    return element("td", shown, *small, cls="n", **{"data-v": repr(float(data["value"]))})


def _heat(contenders: Sequence[Contender], key: str) -> Html:
    values = [row[key]["value"] for each in contenders for row in each.classes if _counts(row, key)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    supports = {tuple(row["support"] for row in each.classes) for each in contenders}
    heads = [element("th", "Model", scope="col")]
    for i, name in enumerate(contenders[0].class_names):
        count = contenders[0].classes[i]["support"] if len(supports) == 1 else None
        below = "" if count is None else element("small", f"{count:,}")
        heads.append(
            element("th", name, below, cls="n", scope="col", **{"data-first": "ascending"})
        )
    rows = [
        element("tr", element("td", element("b", each.name)), *_heat_cells(each, key, low, high))
        for each in contenders
    ]
    whole = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        cls="heat sortable",
    )
    legend = element(
        "p",
        f"{low:.3f}",
        element("span", cls="ramp", style=f"background:{gradient()}"),
        f"{high:.3f}",
        cls="notes",
    )
    return join(element("div", whole, cls="scroll", tabindex="0"), legend)


def _heat_cells(each: Contender, key: str, low: float, high: float) -> list[Html]:
    lowest = min((row[key]["value"] for row in each.classes if _counts(row, key)), default=None)
    cells = []
    for row in each.classes:
        data = row[key]
        if not _counts(row, key):
            reason = data.get("reason", "no image of this class")
            cells.append(element("td", "–", cls="n", title=reason, **{"data-v": ""}))
            continue
        share = (data["value"] - low) / (high - low) if high > low else 1.0
        interval = f" [{data['low']:.3f}, {data['high']:.3f}]" if "low" in data else ""
        cells.append(
            element(
                "td",
                f"{data['value']:.3f}",
                cls="n worst" if data["value"] == lowest else "n",
                title=f"{row['name']}: {data['value']:.4f}{interval}, {row['support']:,} images",
                style=f"background:{background(share)};color:{ink(share)}",
                **{"data-v": repr(float(data["value"]))},
            )
        )
    return cells


def _counts(row: Any, key: str) -> bool:
    """Whether a class has images, and so a figure that says something."""
    return row["support"] > 0 and "value" in row[key]
