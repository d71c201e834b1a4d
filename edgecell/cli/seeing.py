"""Verbs for looking into a model. Each imports its stage inside, as in `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli.commands import PATH, display, named_data
from edgecell.cli.terminal import print_json, print_line, print_table

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
@opt.flags(opt.DATA)
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


COMMANDS: tuple[click.Command, ...] = (explain,)
