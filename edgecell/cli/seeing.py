"""Verbs for looking into a model. Each imports its stage inside, as in `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli.options import PATH, named_data
from edgecell.cli.show import measurement
from edgecell.cli.terminal import display, print_json, print_line, print_table
from edgecell.config import MAX_SEED

_SPLIT = click.option(
    "--split", type=click.Choice(["val", "test"]), default="val", show_default=True, help="Split."
)


@click.command(short_help="Heat maps: where the model saw what it said.")
@click.argument("target", type=PATH)
@_SPLIT
@click.option(
    "--images",
    type=click.IntRange(1, 48),
    default=3,
    show_default=True,
    help="Surest and least sure images of each class; 8 times as many mistakes.",
)
@click.option("--class", "class_name", default="", help="This class alone [default: all].")
@click.option(
    "--layer", default="", help="Layer whose maps are looked at [default: the last with maps]."
)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def explain(
    target: Path,
    split: str,
    images: int,
    class_name: str,
    layer: str,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Grad-CAM heat maps of a run's trained model, or of a Keras file, over the images.

    Per class the surest and the least sure right answers; of the most confident mistakes what spoke for
    the prediction and what for the label. A map shows what raises a class's score, as coarsely as the
    layer sees; it does not show what lowers it.
    """
    from edgecell.pipeline import explaining

    data = named_data(parameters)
    wish = explaining.Wish(split, images, class_name, layer)
    with display() as progress:
        record, folder = explaining.explain_target(target, wish, data, output, progress)
    if as_json:
        print_json(record)
    else:
        _explained(record, folder)


@click.command(short_help="A map of the images as the model sorts them.")
@click.argument("target", type=PATH)
@_SPLIT
@click.option(
    "--images",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    help="Images of the split, drawn at random (0: all).",
)
@click.option(
    "--perplexity",
    type=click.FloatRange(2.0, 500.0),
    default=30.0,
    show_default=True,
    help="Of t-SNE: about how many neighbours count; at most a third of the images.",
)
@click.option(
    "--neighbors",
    "neighbours",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Nearest images of which the purity is counted.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    default=0,
    show_default=True,
    help="Seed of the draw, of t-SNE and of the intervals.",
)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def embed(
    target: Path,
    split: str,
    images: int,
    perplexity: float,
    neighbours: int,
    seed: int,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """The last features of a run's trained model, or of a Keras file, as a map of the images (t-SNE).

    Points are coloured by label, mistakes are ringed. The purity says how many of an image's nearest
    images in the features have its class. Features and map are written as .npz and .csv.
    """
    from edgecell.pipeline import embedding

    data = named_data(parameters)
    wish = embedding.Wish(split, images, perplexity, neighbours, seed)
    with display() as progress:
        record, folder = embedding.embed_target(target, wish, data, output, progress)
    if as_json:
        print_json(record)
    else:
        _embedded(record, folder)


def _embedded(record: dict[str, Any], folder: Path) -> None:
    results = record["results"]
    print_line(
        f"{results['features']} last features of {results['model']} on {results['split']},"
        f" {results['n']} of {results['of']} images, {results['wrong']} mistakes"
    )
    print_line(
        f"purity of the {results['neighbours']} nearest {measurement(results['purity'])}, by chance"
        f" {results['chance']:.4f}; trustworthiness of the map"
        f" {measurement(results['plane']['trustworthiness'])}"
    )
    rows = [
        [each["name"], str(each["support"]), measurement(each["purity"])]
        for each in results["classes"]
    ]
    print_table("per class", ["class", "images", "purity"], rows)
    print_line(str(folder / "embedding.png"))


def _explained(record: dict[str, Any], folder: Path) -> None:
    results = record["results"]
    rows, columns = results["map_size"]
    print_line(
        f"{results['maps']} maps of {rows} × {columns} cells, layer {results['layer']} of"
        f" {results['model']}, on {results['split']} (n={results['n']})"
    )
    if results["maps_without_evidence"]:
        print_line(
            f"{results['maps_without_evidence']} of them are empty: nothing in the image raises that"
            " class's score at this layer"
        )
    table = [[each["name"], str(each["right"]), str(each["wrong"])] for each in results["classes"]]
    print_table("answers", ["class", "right", "wrong"], table)
    for name in ("classes.png", "mistakes.png"):
        print_line(str(folder / name))


COMMANDS: tuple[click.Command, ...] = (explain, embed)
