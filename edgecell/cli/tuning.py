"""``edgecell tune``. The stage is imported inside the command, as in `commands`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli.flags import DATA, MODEL, TEACHER, TRAIN
from edgecell.cli.options import PATH
from edgecell.cli.show import measurement
from edgecell.cli.terminal import display, print_json, print_line, print_next, print_table
from edgecell.errors import ConfigError

_MOST_TRIALS = 10


@click.command(short_help="Search for better settings with Optuna.")
@click.argument("space", type=PATH, required=False)
@click.option(
    "--recipe", help="Recipe that the trials start from: a name or a .toml file [default: none]."
)
@opt.flags(DATA, MODEL, TRAIN, TEACHER)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Trials of the study in all, whichever worker makes them.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Begin no trial after this many seconds.",
)
@click.option(
    "--pruner",
    type=click.Choice(["median", "hyperband", "none"]),
    default="median",
    show_default=True,
    help="What gives bad trials up, by their figure on val after every epoch.",
)
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random"]),
    default="tpe",
    show_default=True,
    help="What chooses the next values.",
)
@click.option(
    "--sampler-seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Its seed.",
)
@click.option(
    "--storage",
    envvar="EDGECELL_STORAGE",
    help="Where workers meet: sqlite:///PATH, postgresql+psycopg://…, or the path of a journal file;"
    " also $EDGECELL_STORAGE [default: study.db in the folder].",
)
@click.option("--study", help="Name of the study in the storage [default: from the data set].")
@click.option(
    "--heartbeat",
    type=click.IntRange(1, 3600),
    default=20,
    show_default=True,
    help="Seconds between signs of life in a database of several machines; three missed ones are a death.",
)
@click.option("--print-space", is_flag=True, help="Print the default space, a start for your own.")
@click.option(
    "--output", type=PATH, help="Folder to write to [default: artifacts/tune/<study>, every time]."
)
@opt.json_option
def tune(
    space: Path | None,
    recipe: str | None,
    print_space: bool,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Search for better settings: many trainings, bad ones given up early, the best as a recipe.

    SPACE is a TOML file with a table [space]: settings with their choices or ranges. Only train and
    val are looked at. The same command goes on where it was interrupted; given again in a second
    terminal or on a second machine, it joins in.
    """
    from edgecell.tuning.space import default_space_text, load_space

    if print_space:
        print_line(default_space_text().rstrip())
        return
    own = ("trials", "timeout", "pruner", "sampler", "sampler_seed", "storage", "study")
    chosen = {name: parameters.pop(name) for name in (*own, "heartbeat")}
    config = opt.configure(parameters, opt.base_config(recipe))
    found = load_space(space)

    from edgecell.pipeline import train_settings, tuning

    if not recipe:
        config = replace(config, name=train_settings.default_name(config))
    plan = tuning.Plan(
        found,
        seed=chosen.pop("sampler_seed"),
        heartbeat_seconds=chosen.pop("heartbeat"),
        **chosen,
    )
    with display() as progress:
        record, run = tuning.tune_run(config, plan, output, progress)
    if as_json:
        print_json(record)
    else:
        _tuned(record, run.path)
    if record["results"]["best"] is None:
        raise ConfigError(
            f"no trial has finished (see {run.path / 'tune' / 'trials.csv'}); narrow the space, or give"
            " more --trials or --timeout"
        )


def _tuned(record: dict[str, Any], folder: Path) -> None:
    results, keys = record["results"], list(record["config"]["space"])
    finished = [trial for trial in results["trials"] if trial["state"] == "finished"]
    finished.sort(key=lambda trial: -trial["score"]["value"])
    rows = [
        [
            str(trial["number"]),
            measurement(trial["score"]),
            str(len(trial["epochs"])),
            *(_value(trial["values"][key]) for key in keys),
        ]
        for trial in finished[:_MOST_TRIALS]
    ]
    counts = ", ".join(f"{count} {state}" for state, count in results["counts"].items() if count)
    names = [key.partition(".")[2] for key in keys]
    title = f"study '{results['study']}': {counts}; on val, n={results['val_images']:,}"
    print_table(title, ["trial", results["metric"], "epochs", *names], rows)
    if isinstance(results["importance"], dict):
        shares = [f"{key} {share:.2f}" for key, share in results["importance"].items()]
        print_line(f"importance: {', '.join(shares)}")
    else:
        print_line(f"importance: none, {results['importance']}")
    if results["best"] is not None:
        print_line(f"best: trial {results['best']['number']}, {folder / 'tune' / 'best.toml'}")
        print_next("train", "--recipe", folder / "tune" / "best.toml")
    print_line(f"report: {folder / 'report.html'}")


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


COMMANDS: tuple[click.Command, ...] = (tune,)
