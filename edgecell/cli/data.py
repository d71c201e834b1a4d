"""``edgecell data show|fetch|list``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli import show
from edgecell.cli.terminal import Display, print_json, print_line, print_table
from edgecell.config import Config


@click.group()
def data() -> None:
    """Look at images before training on them."""


@data.command("show")
@opt.flags(opt.DATA)
@click.option(
    "--per-class", type=click.IntRange(1, 50), default=8, show_default=True, help="Samples a class."
)
@opt.output_option
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


@data.command("fetch")
@click.argument("name")
@opt.flags(tuple(flag for flag in opt.DATA if flag.name in ("--size", "--root")))
def fetch(name: str, **parameters: Any) -> None:
    """Download a MedMNIST 2D data set and check its MD5."""
    from edgecell.data.medmnist_files import fetch as fetch_file

    config = opt.configure(parameters, Config()).data
    print_line(str(fetch_file(name, config.size, config.root, progress=True)))


@data.command("list")
@opt.flags(tuple(flag for flag in opt.DATA if flag.name == "--root"))
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
