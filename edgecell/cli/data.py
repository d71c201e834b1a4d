"""``edgecell data show|split|fetch|list``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli import show
from edgecell.cli.flags import DATA
from edgecell.cli.options import PATH
from edgecell.cli.terminal import Display, print_json, print_line, print_table
from edgecell.config import Config


@click.group()
def data() -> None:
    """Look at images before training on them."""


@data.command("show")
@opt.flags(DATA)
@click.option(
    "--per-class", type=click.IntRange(1, 50), default=8, show_default=True, help="Samples a class."
)
@opt.output_to("artifacts/data")
@opt.json_option
def show_data(per_class: int, output: Path | None, as_json: bool, **parameters: Any) -> None:
    """Counts, imbalance, value ranges and duplicates of a data set, and a grid of samples (PNG)."""
    from edgecell.pipeline import looking

    config = opt.configure(parameters, Config()).data
    display = Display(sys.stderr)
    facts, picture = looking.show_data(config, output, per_class, display)
    if as_json:
        print_json(facts)
    else:
        show.described(facts)
        print_line(f"samples: {picture}")


@data.command("split")
@click.argument("source", type=PATH)
@click.option("--output", type=PATH, required=True, help="Folder to write to.")
@click.option(
    "--val", type=float, default=0.1, show_default=True, help="Share of the images (0: no val)."
)
@click.option(
    "--test", type=float, default=0.2, show_default=True, help="Share of the images (0: no test)."
)
@click.option(
    "--group-by",
    metavar="REGEX|CSV|copies",
    default="",
    help="What images of one patient or photograph share: a pattern in their paths, a CSV with path"
    " and group columns, or 'copies' to find turned and mirrored copies by what they show.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the split."
)
@click.option(
    "--pool", is_flag=True, help="Share out all images anew, also of splits that are given."
)
@opt.flags(tuple(flag for flag in DATA if flag.name == "--columns"))
@opt.json_option
def split_data(
    source: Path,
    output: Path,
    val: float,
    test: float,
    group_by: str,
    seed: int,
    pool: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Split an image folder or a CSV into train, val and test, as a CSV that --data takes.

    Stratified by class. No group is cut: all images of a patient or a photograph are in one split,
    and so are exact copies of an image. Nothing is copied; the CSV points at the images where they
    are. Splits that SOURCE gives are kept, missing ones are made from its train images.
    """
    from edgecell.pipeline import splitting

    columns = opt.configure(parameters, Config()).data.columns
    settings = splitting.SplitSettings(val, test, group_by, seed, pool)
    record = splitting.split_data(source, columns, settings, output, Display(sys.stderr))
    if as_json:
        print_json(record)
    else:
        show.divided(record["results"])
        print_line(f"for --data: {output / splitting.TABLE}")


@data.command("eda")
@opt.flags(DATA)
@click.option(
    "--near-bits",
    type=click.IntRange(0, 64),
    default=24,
    show_default=True,
    help="Bits of 256 in which the hashes of near-duplicates may differ.",
)
@opt.output_to("artifacts/data/<name>-eda")
@opt.json_option
def explore_data(near_bits: int, output: Path | None, as_json: bool, **parameters: Any) -> None:
    """Explore a data set: classes, pixels, sizes, duplicates and near-duplicates, outliers.

    Every image of every split is read once, a few at a time. Ends with pictures, eda.json, a CSV of the
    near-duplicates and one self-contained page, index.html.
    """
    from edgecell.pipeline import exploring

    config = opt.configure(parameters, Config()).data
    display = Display(sys.stderr)
    explored = exploring.explore_data(config, output, near_bits, display)
    if as_json:
        print_json(explored.report)
    else:
        show.explored(explored.report)
        print_line(f"page: {explored.page}")


@data.command("fetch")
@click.argument("name")
@opt.flags(tuple(flag for flag in DATA if flag.name in ("--size", "--root")))
def fetch(name: str, **parameters: Any) -> None:
    """Download a MedMNIST 2D data set and check its MD5."""
    from edgecell.data.medmnist_files import fetch as fetch_file

    config = opt.configure(parameters, Config()).data
    print_line(str(fetch_file(name, config.size, config.root, progress=True)))


@data.command("list")
@opt.flags(tuple(flag for flag in DATA if flag.name == "--root"))
@opt.json_option
def list_data(as_json: bool, **parameters: Any) -> None:
    """The MedMNIST 2D data sets that --data takes by name."""
    from edgecell.data.medmnist_files import list_catalog

    entries = list_catalog(opt.configure(parameters, Config()).data.root)
    if as_json:
        print_json(entries)
        return
    rows = [
        [
            entry["name"],
            entry["task"],
            str(entry["classes"]),
            str(entry["channels"]),
            "/".join(f"{count:,}" for count in entry["samples"].values()),
            ", ".join(map(str, entry["present"])) or "–",
        ]
        for entry in entries
    ]
    columns = ["name", "task", "classes", "channels", "train/val/test", "sizes on disk"]
    print_table("MedMNIST 2D", columns, rows, numeric_from=2)
