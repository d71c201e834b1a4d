"""The page about a data set: one self-contained HTML file beside the pictures and the JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecell.disk import atomic_write_text
from edgecell.report.elements import (
    Html,
    Pictures,
    card,
    details,
    element,
    facts,
    section,
    table,
)
from edgecell.report.page import page

CAPTIONS = {
    "classes.png": "Images of each class, by split",
    "samples.png": "Samples of each class and split",
    "histograms.png": "Pixel values by channel and split",
    "channels.png": "Pixel values of each class: mean and standard deviation in orange",
    "light.png": "Brightness and contrast of the images",
    "sizes.png": "Sizes and aspect ratios of the images",
    "means.png": "Mean image of each class and its spread",
    "outliers.png": "Darkest, brightest and flattest images",
    "near_duplicates.png": "Near-duplicates",
}


def write_page(folder: Path, report: Mapping[str, Any], drawn: Sequence[Path]) -> Path:
    """Write ``index.html`` into ``folder`` from the exploration and its pictures; its path.

    Raises:
        ArtifactError: a picture is missing, or the folder cannot be written.
    """
    path = folder / "index.html"
    atomic_write_text(path, render(report, {picture.name: picture for picture in drawn}))
    return path


def render(report: Mapping[str, Any], drawn: Mapping[str, Path]) -> str:
    """The page as one HTML document; ``drawn``: name → picture, those of CAPTIONS that there are."""
    pictures = Pictures()

    def figures(*names: str) -> Html:
        shown = [pictures.figure(drawn[name], CAPTIONS[name]) for name in names if name in drawn]
        return element("div", *shown, cls="figures")

    bodies = [
        _findings(report),
        section("Classes", "classes", _counts(report), figures("classes.png", "samples.png")),
        section(
            "Pixels",
            "pixels",
            _channels(report),
            figures("histograms.png", "channels.png", "light.png"),
            details("Channels of each class", _channels_by_class(report)),
            lead="Over all pixels of all images, 0 to 255. Shift is the share of pixel values that would "
            "have to change for a split to be like train (total variation distance).",
        ),
        section("Sizes", "sizes", _sizes(report), figures("sizes.png")),
        section("Mean images and outliers", "looks", figures("means.png", "outliers.png")),
        section(
            "Duplicates",
            "duplicates",
            _duplicates(report),
            figures("near_duplicates.png"),
            details("Examples", _examples(report)),
            details(
                "How near-duplicates were looked for", facts(report["near_duplicates"]["method"])
            ),
            lead="Equal: the same pixels, or the same file. Near: a perceptual hash that differs in few bits, "
            "also mirrored or turned by quarters. Copies turned by other angles are not found here: "
            "'edgecell data split --group-by copies' looks for those.",
        ),
        section("Source", "source", facts(report["origin"])),
    ]
    links = [
        ("classes", "Classes"),
        ("pixels", "Pixels"),
        ("sizes", "Sizes"),
        ("looks", "Looks"),
        ("duplicates", "Duplicates"),
        ("source", "Source"),
    ]
    return page(report["name"], "edgecell data exploration", _cards(report), links, bodies)


def _cards(report: Mapping[str, Any]) -> Html:
    images, near = report["images"], report["near_duplicates"]
    imbalance = report["imbalance"]
    leaking = sum(near["across"].values()) + sum(report["duplicates"]["across"].values())
    return element(
        "div",
        card(
            "Images",
            f"{sum(images.values()):,}",
            " / ".join(f"{count:,} {split}" for split, count in images.items()),
        ),
        card("Classes", str(len(report["class_names"])), report["task"]),
        card(
            "Largest to smallest class",
            "–" if imbalance is None else f"{imbalance:.1f} ×",
            "of train",
        ),
        card("Equal or nearly equal across splits", f"{leaking:,}", "images"),
        cls="cards",
    )


def _findings(report: Mapping[str, Any]) -> Html:
    lines = [element("div", line, cls="warning") for line in report["findings"]]
    notes = [element("li", note) for note in report["notes"]]
    nothing = element("p", "Nothing stands out.") if not lines else ""
    return section(
        "What to look at",
        "findings",
        *lines,
        nothing,
        element("ul", *notes, cls="notes") if notes else "",
    )


def _counts(report: Mapping[str, Any]) -> Html:
    splits = list(report["counts"])
    rows = [
        [name, *(f"{report['counts'][split][label]:,}" for split in splits)]
        for label, name in enumerate(report["class_names"])
    ]
    return table(["Class", *splits], rows, numeric=range(1, 1 + len(splits)))


def _channels(report: Mapping[str, Any]) -> Html:
    rows = []
    for split, found in report["channels"].items():
        shift = report["shift"].get(split)
        rows.append(
            [
                split,
                _triple(found["mean"]),
                _triple(found["sd"]),
                f"{found['low']} to {found['high']}",
                "–" if shift is None else " / ".join(f"{v:.3f}" for v in shift["pixels"]),
                "–" if shift is None else f"{shift['classes']:.3f}",
            ]
        )
    columns = ["Split", "Mean R / G / B", "Standard deviation", "Range"]
    return table([*columns, "Shift R / G / B", "Shift of classes"], rows, numeric=range(1, 6))


def _channels_by_class(report: Mapping[str, Any]) -> Html:
    rows = [
        [split, row["name"], f"{row['images']:,}", _triple(row["mean"]), _triple(row["sd"])]
        for split, classes in report["channels_by_class"].items()
        for row in classes
        if row["images"]
    ]
    columns = ["Split", "Class", "Images", "Mean R / G / B", "Standard deviation"]
    return table(columns, rows, numeric=(2, 3, 4))


def _sizes(report: Mapping[str, Any]) -> Html:
    rows = []
    for split, found in report["sizes"].items():
        low, middle, high = found["aspect"]
        common = ", ".join(f"{w} × {h} ({count:,})" for w, h, count in found["common"][:3])
        more = found["distinct"] - 3
        rows.append(
            [
                split,
                _span(found["widths"]),
                _span(found["heights"]),
                f"{low:.2f} / {middle:.2f} / {high:.2f}",
                common + (f", {more} more" if more > 0 else ""),
            ]
        )
    columns = ["Split", "Widths", "Heights", "Aspect: least / median / most", "Most common"]
    return table(columns, rows, numeric=(1, 2, 3))


def _duplicates(report: Mapping[str, Any]) -> Html:
    equal, near = report["duplicates"], report["near_duplicates"]
    rows = [
        ["Repeated within a split", sum(equal["within"].values()), "–"],
        *([f"Images of {pair.split('/')[1]} also in {pair.split('/')[0]}", equal["across"][pair], count]
          for pair, count in near["across"].items()),
        ["Labelled differently", equal["conflicts"], near["conflicts"]],
        ["Pairs", "–", near["pairs"]],
        ["Groups; images in the largest", "–", f"{near['groups']}; {near['largest_group']}"],
    ]  # fmt: skip
    return table(["", "Equal", "Nearly equal"], rows, numeric=(1, 2))


def _examples(report: Mapping[str, Any]) -> Html:
    rows = [
        [
            *(f"{row[key]['image']} ({row[key]['split']}, {row[key]['label']})" for key in "ab"),
            row["bits"],
            row["second"],
        ]
        for row in report["near_duplicates"]["examples"]
    ]
    equal = report["duplicates"]
    pairs = [
        [one, other, 0, "equal"]
        for key in ("across_examples", "conflict_examples", "within_examples")
        for one, other in equal[key]
    ]
    return table(["Image", "Other image", "Bits", "The other is"], pairs + rows, numeric=(2,))


def _triple(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


def _span(ends: Sequence[int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low} to {high}"
