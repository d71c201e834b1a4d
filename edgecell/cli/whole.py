"""Verbs about whole runs, and about the program: run, demo, report, recipes, doctor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli import show
from edgecell.cli.flags import (
    BENCH,
    CALIBRATION,
    DATA,
    MODEL,
    QAT,
    RESIZE,
    SEARCH,
    TEACHER,
    TRAIN,
    VERIFY,
)
from edgecell.cli.options import PATH
from edgecell.cli.terminal import display, print_json, print_line
from edgecell.config import Config


@click.command(short_help="All stages of a recipe, finished ones skipped.")
@click.argument("recipe", required=False)
@opt.flags(DATA, MODEL, TRAIN, TEACHER)
@opt.precision_flags
@opt.pace_flags
@opt.flags(CALIBRATION, SEARCH, QAT, RESIZE, VERIFY, BENCH)
@click.option("--name", help="Name of the run [default: the recipe's, or from the data set].")
@opt.new_run_option
@opt.json_option
def run(
    recipe: str | None, name: str | None, output: Path | None, as_json: bool, **parameters: Any
) -> None:
    """Train, evaluate, quantize, verify and bench: all stages of a RECIPE or of flags.

    With --output a finished stage whose inputs and settings are unchanged is skipped.
    """
    from edgecell.pipeline import train_settings

    opt.take_pace(parameters)
    precisions = opt.take_precisions(parameters)
    config = opt.configure_conversion(parameters, opt.base_config(recipe), precisions)
    default = config.name if recipe else train_settings.default_name(config)
    config = replace(config, name=name or default)
    _run_all(config, output, as_json)


@click.command(short_help="All stages on synthetic cells, no download.")
@opt.new_run_option
@opt.json_option
def demo(output: Path | None, as_json: bool) -> None:
    """Everything on synthetic cells, without a download, in a few minutes."""
    _run_all(opt.base_config("synthetic"), output, as_json)


def _run_all(config: Config, output: Path | None, as_json: bool) -> None:
    from edgecell.pipeline import running

    with display() as progress:
        outcome = running.run_all(config, output, progress)
    if as_json:
        print_json(outcome.records)
    else:
        show.verified(outcome.records["verify"])
        show.benched(outcome.records["bench"], outcome.run.stage("bench"))
        print_line(f"report: {outcome.run.path / 'report.html'}")
    if outcome.failure is not None:
        raise outcome.failure


@click.command(short_help="Write the HTML report of a run anew.")
@click.argument("run_folder", type=PATH, metavar="RUN")
@click.option("--xlsx", is_flag=True, help="Also RUN/report.xlsx, an Excel workbook.")
def report(run_folder: Path, xlsx: bool) -> None:
    """Write RUN/report.html anew from the records of the run's stages."""
    from edgecell.pipeline import reporting

    run = reporting.open_run(run_folder)
    print_line(str(reporting.write_report(run)))
    if xlsx:
        print_line(str(reporting.write_workbook(run)))


@click.command(short_help="List the recipes, or print one.")
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes, or print one (a start for your own: edgecell recipes NAME > my.toml)."""
    from edgecell.recipes import names, recipe_text

    if name is None:
        width = max(len(known) for known in names())
        for known in names():
            print_line(f"{known:{width}}  {recipe_text(known).splitlines()[0].lstrip('# ')}")
    else:
        print_line(recipe_text(name).rstrip())


@click.command(short_help="Versions, devices, memory, what is missing.")
@opt.json_option
def doctor(as_json: bool) -> None:
    """Versions, devices, cores, free memory and disk, and what is missing."""
    from edgecell.pipeline import doctor

    facts = doctor.diagnose()
    if as_json:
        print_json(facts)
    else:
        show.diagnosed(facts)


COMMANDS: tuple[click.Command, ...] = (demo, run)
LAST: tuple[click.Command, ...] = (report, recipes, doctor)
