"""Verbs about files that are shipped. Each imports its stage inside, as in `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecell.bundle.targets import TARGETS
from edgecell.cli import options as opt
from edgecell.cli.options import PATH, named_data
from edgecell.cli.terminal import display, print_json, print_line


@click.command(short_help="A verified file as a folder and a zip for an app.")
@click.argument("model", type=PATH)
@click.option(
    "--target",
    type=click.Choice([*TARGETS, "all"]),
    default="all",
    show_default=True,
    help="Whose sample code to put in.",
)
@click.option(
    "--golden",
    "images",
    type=click.Choice(["val", "synthetic"]),
    default="val",
    show_default=True,
    help="Golden images: 28 of val and 4 drawn ones, or drawn ones only.",
)
@click.option("--licence", help="The licence of the model, as it shall be stated.")
@click.option("--intended-use", help="What the model is for, in a sentence or two.")
@click.option(
    "--unverified", is_flag=True, help="Also bundle a file without a passing verify; said inside."
)
@click.option(
    "--sign", type=PATH, help="Sign it with this Ed25519 private key in PEM; see 'edgecell audit'."
)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def bundle(
    model: Path,
    target: str,
    images: str,
    licence: str | None,
    intended_use: str | None,
    unverified: bool,
    sign: Path | None,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Pack one .tflite file for an app: model with metadata, model.json, labels, model card, golden
    images, sample code with a self-test, and a README, as a folder and a zip in --output.

    MODEL has to have passed verify: exit code 6 where it was never verified, 5 where it failed.
    """
    from edgecell.pipeline import bundling

    data = named_data(parameters)
    wishes = bundling.Wishes(target, images, unverified, licence, intended_use, sign)
    with display() as progress:
        done = bundling.bundle_model(model, wishes, data, output, progress)
    if as_json:
        print_json(done.record)
        return
    results = done.record["results"]
    if results["verified"] != "passed":
        print_line(f"UNVERIFIED ({results['verified']}): the bundle says so inside")
    print_line(f"{done.folder}: {results['files']} files for {', '.join(results['targets'])}")
    print_line(f"{done.archive}: {results['archive_bytes']:,} bytes")


@click.command(short_help="What any .tflite file is.")
@click.argument("file", type=PATH)
@click.option("--layers", is_flag=True, help="Also every operator, in order.")
@opt.json_option
def inspect(file: Path, layers: bool, as_json: bool) -> None:
    """Inputs, outputs, operators, sizes, scales, labels and metadata of a .tflite file, whoever made it.

    Nothing is run. A damaged file ends with exit code 6.
    """
    from edgecell.cli import show_inspection
    from edgecell.pipeline import inspecting

    found = inspecting.inspect_file(file)
    if as_json:
        print_json(found)
    else:
        show_inspection.inspected(found, layers)


COMMANDS: tuple[click.Command, ...] = (bundle, inspect)
