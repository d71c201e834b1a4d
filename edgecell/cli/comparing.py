"""``compare``. The stage is imported inside, as in `commands`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecell.cli import options as opt
from edgecell.cli import show_comparison
from edgecell.cli.options import PATH
from edgecell.cli.terminal import print_json, print_line


@click.command(short_help="Benches and runs side by side, tested on the same images.")
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="RUN_OR_BENCH...")
@click.option("--baseline", help="Model that the others are tested against [default: the first].")
@click.option(
    "--output",
    type=PATH,
    help="Folder for compare.html and compare.json [default: artifacts/compare/<names>].",
)
@opt.json_option
def compare(
    paths: tuple[Path, ...], baseline: str | None, output: Path | None, as_json: bool
) -> None:
    """Compare the models of runs, bench folders, bench.json or record.json files.

    Where two models saw the same images, their answers are compared image by image: McNemar's exact
    test, intervals of the differences. Times of two benches compare through a model that is in both.
    A run without a bench takes part with its evaluations, those on test if there are any.
    """
    from edgecell.pipeline import comparing

    comparison, folder = comparing.compare_paths(list(paths), baseline, output)
    if as_json:
        print_json(comparison)
    else:
        show_comparison.compared(comparison)
        print_line(f"files: {folder / 'compare.html'}, {folder / 'compare.json'}")


COMMANDS: tuple[click.Command, ...] = (compare,)
