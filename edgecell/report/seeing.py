"""Heat maps as a section of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.report.elements import Html, Pictures, element, section


def explain_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """The sheets of maps, and how to read them."""
    results = record["results"]
    rows, columns = results["map_size"]
    empty = results["maps_without_evidence"]
    asked = record["config"]["class_name"]
    title = f"Explanation of {results['model']} on {results['split']}"
    return section(
        title + (f", {asked}" if asked else ""),
        f"explain-{folder.name}",
        element(
            "div",
            pictures.figure(folder / "classes.png", "Right answers and what speaks for them"),
            pictures.figure(folder / "mistakes.png", "Mistakes and what spoke for them"),
            cls="figures",
        ),
        element(
            "p",
            f"{empty} of {results['maps']} maps are empty: nothing in the image raises the class's "
            "score at this layer.",
        )
        if empty
        else "",
        lead=f"Grad-CAM of the layer {results['layer']}, which sees {rows} × {columns} cells; "
        f"n={results['n']}. Bright is what raises the score of the class most within the image; what "
        "lowers it is not shown. A map that lies beside the object says that the model looks at "
        "something else; one that lies on it does not prove that the model is right.",
    )
