"""Heat maps and embeddings as sections of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecell.report.elements import Html, Pictures, element, measurement, section, table


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


def embed_section(
    record: dict[str, Any], folder: Path, pictures: Pictures, _: dict[str, bool]
) -> Html:
    """The map of the images, and how pure their neighbourhoods are."""
    results = record["results"]
    laid = results["plane"]
    rows = [
        [
            row["name"],
            row["support"],
            measurement(row["purity"], count=False),
            f"{row['chance']:.3f}" if "chance" in row else "–",
            f"{row['best']:.3f}" if "best" in row else "–",
        ]
        for row in results["classes"]
    ]
    rows.append(
        [
            "all",
            results["n"],
            measurement(results["purity"], count=False),
            f"{results['chance']:.3f}",
            "",
        ]
    )
    return section(
        f"Embedding of {results['model']} on {results['split']}",
        f"embed-{folder.name}",
        element(
            "div",
            pictures.figure(
                folder / "embedding.png", "Images by their last features; rings: mistakes"
            ),
            pictures.figure(
                folder / "purity.png", "How many of the nearest images are of one class"
            ),
            cls="figures",
        ),
        table(["Class", "Images", "Purity", "By chance", "At best"], rows, numeric=(1, 2, 3, 4)),
        lead=f"{results['features']} features before the last layer, {results['n']} of "
        f"{results['of']} images. Purity: of the {results['neighbours']} nearest images in the "
        "features, the share of the same class, with a 95 % interval over images. In the map only "
        "neighbourhoods mean something, not the distances or sizes of clusters; trustworthiness "
        f"{measurement(laid['trustworthiness'])} of 1, {laid['explained_variance']:.0%} of the "
        f"variance kept, perplexity {laid['perplexity']:.3g}.",
    )
