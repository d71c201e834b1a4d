"""``edgecell sweep``. The stage is imported inside the command, as in `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from edgecell.cli import options as opt
from edgecell.cli.flags import (
    BENCH,
    CALIBRATION,
    DATA,
    MODEL,
    QAT,
    SEARCH,
    SLIM,
    TEACHER,
    TRAIN,
    VERIFY,
)
from edgecell.cli.options import PATH
from edgecell.cli.show import measurement
from edgecell.cli.terminal import display, print_json, print_line, print_next, print_table
from edgecell.config import ALPHAS, PRECISIONS, Config
from edgecell.errors import UnmetError
from edgecell.tasks import Task, task_of_record

DEFAULT_ALPHAS = (0.35, 0.5, 0.75)
DEFAULT_SIZES = (64, 96, 128)
DEFAULT_PRECISIONS = ("float16", "dynamic", "int8")
_AXES = ("model.name", "model.alpha", "model.image_size")
_OTHER_MODEL = tuple(flag for flag in MODEL if flag.field not in _AXES)
_SEARCH = tuple(flag for flag in SEARCH if flag.field == "quantize.search")

_LIMITS = ("max_bytes", "max_latency_ms", "min_f1", "min_accuracy", "min_auc", "sure")
_OWN = (
    *("alphas", "sizes", "precisions", "models", *_LIMITS),
    *("prefer", "by", "jobs", "storage", "study", "heartbeat"),
)

T = TypeVar("T")


class _List(click.ParamType, Generic[T]):
    """Values between commas, each of a type of its own."""

    name = "A,B,…"

    def __init__(self, kind: click.ParamType) -> None:
        self._kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[T, ...]:
        """The values, in the order given."""
        if isinstance(value, tuple):
            return value
        return tuple(self._kind.convert(each.strip(), param, ctx) for each in value.split(","))


class _Alpha(click.Choice[str]):
    """A width that weights are published for."""

    def __init__(self) -> None:
        super().__init__([str(alpha) for alpha in ALPHAS])

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """As a number."""
        text = {"1": "1.0"}.get(value, value)
        return float(super().convert(text, param, ctx))


@click.command(short_help="Width × input size × precision: which file to ship.")
@click.option(
    "--alpha",
    "alphas",
    type=_List(_Alpha()),
    help=f"Widths, {', '.join(map(str, ALPHAS))}; those of mobilenet_v2 [default: 0.35,0.5,0.75].",
)
@click.option(
    "--image-size",
    "sizes",
    type=_List(click.INT),
    help="Sides of the models' square input, pixels [default: 64,96,128].",
)
@click.option(
    "--precision",
    "precisions",
    type=_List(click.Choice(PRECISIONS)),
    help=f"Precisions: {', '.join(PRECISIONS)} [default: float16,dynamic,int8].",
)
@click.option(
    "--model", "models", type=_List(click.STRING), help="Networks [default: mobilenet_v2]."
)
@click.option("--max-bytes", type=click.INT, help="Largest size of the file to ship.")
@click.option("--max-latency-ms", type=click.FLOAT, help="Largest p50 of it at 1 thread, ms.")
@click.option("--min-f1", type=click.FLOAT, help="Least macro-F1 of it on val, below 1.")
@click.option("--min-accuracy", type=click.FLOAT, help="Least accuracy of it on val, below 1.")
@click.option(
    "--min-auc", type=click.FLOAT, help="Of several labels: least mean AUC of it on val, below 1."
)
@click.option(
    "--sure", is_flag=True, help="Hold the worse end of each 95 % interval against the limits."
)
@click.option(
    "--prefer",
    type=click.Choice(["f1", "accuracy", "auc", "bytes", "latency"]),
    help="Which of the cells that keep the limits is the answer [default: f1, of several labels auc].",
)
@click.option(
    "--by",
    type=click.Choice(["f1", "accuracy", "auc"]),
    help="Quality of the Pareto front [default: f1, of several labels auc].",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Trainings at once [default: a quarter of the cores, 3 GB of memory each, 1 with a GPU].",
)
@click.option(
    "--storage",
    envvar="EDGECELL_STORAGE",
    help="Where workers meet: the path of a journal file, sqlite:///PATH, postgresql+psycopg://…;"
    " also $EDGECELL_STORAGE [default: study.journal in the folder].",
)
@click.option("--study", help="Name of the study in the storage [default: from the data set].")
@click.option(
    "--heartbeat",
    type=click.IntRange(1, 3600),
    default=20,
    show_default=True,
    help="Seconds between signs of life in a database of several machines; three missed ones are a death.",
)
@click.option(
    "--recipe", help="Recipe that the trainings start from: a name or a .toml file [default: none]."
)
@opt.device_flags
@opt.pace_flags
@opt.flags(DATA, _OTHER_MODEL, TRAIN, TEACHER, CALIBRATION, _SEARCH, QAT, SLIM)
@opt.flags(VERIFY, tuple(flag for flag in BENCH if flag.field != "bench.profile"))
@click.option(
    "--output", type=PATH, help="Folder to write to [default: artifacts/sweep/<study>, every time]."
)
@opt.json_option
def sweep(
    recipe: str | None,
    device: str,
    remote_python: str,
    benchmark_model: str,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train, quantize, verify and bench every width, input size and precision; say which to ship.

    Precisions of one network share its training. All files are timed in turn in one bench at the
    end. Val chooses; test is looked at for the chosen file only. Exit code 5 where limits are given
    and no file keeps them: the nearest miss is shown. The same command goes on where it was
    interrupted; given again in a second terminal or on a second machine, it joins in.

    --weights may hold {model}, {alpha} and {size}.
    """
    chosen = {name: parameters.pop(name) for name in _OWN}
    opt.take_pace(parameters)
    base = opt.base_config(recipe)
    axes = _axes(chosen, base, named=recipe is not None)
    config = opt.configure_conversion(parameters, base, axes["precisions"])

    from benchmarks.choice import SCORES, Limits
    from edgecell.pipeline import sweep_grid, sweeping

    limits = Limits(**{name: chosen[name] for name in _LIMITS})
    plan = sweeping.Plan(
        sweep_grid.Grid(**axes),
        limits,
        chosen["prefer"],
        SCORES.get(chosen["by"]),
        chosen["jobs"] or 0,
        chosen["storage"],
        chosen["study"],
        chosen["heartbeat"],
        device,
        sweeping.DeviceOptions(remote_python, benchmark_model),
    )
    with display() as progress:
        record, run = sweeping.sweep_run(config, plan, output, progress)
    if as_json:
        print_json(record)
    else:
        swept(record, run.path)
    _refuse_a_miss(record["results"])


def _axes(chosen: dict[str, Any], config: Config, *, named: bool) -> dict[str, Any]:
    """The axes that were given; of others the recipe's own value, or the default without a recipe."""
    model = config.model
    usual: dict[str, tuple[Any, ...]] = {
        "models": (model.name,),
        "alphas": (model.alpha,) if named else DEFAULT_ALPHAS,
        "sizes": (model.image_size,) if named else DEFAULT_SIZES,
        "precisions": config.quantize.precisions if named else DEFAULT_PRECISIONS,
    }
    return {axis: chosen[axis] or values for axis, values in usual.items()}


def swept(record: dict[str, Any], folder: Path) -> None:
    """Every cell, then the answer and what to do next."""
    results = record["results"]
    found = results["answer"]
    chosen = None if found is None else found["cell"]
    task = task_of_record(results)
    scores = task.file_scores
    rows = [_row(cell, chosen, [key for _, key in scores]) for cell in results["cells"]]
    columns = ["", "cell", "verify", *(name for name, _ in scores), "bytes", "p50 ms"]
    title = f"study '{results['study']}': on val, n={results['val_images']:,}"
    columns += ["× reference", "front"]
    print_table(title, columns, rows, numeric_from=3)
    if results["reference"] is not None:
        print_line(f"× reference: the time against that of {results['reference']}, in turn")
    for line in results["warnings"]:
        print_line(f"warning: {line}")
    for line in results["notes"]:
        print_line(line)
    if found is None:
        print_line("no limits given: nothing chosen, test not looked at; on the front:")
        print_line("  " + (", ".join(results["front"]) or "none"))
        if results["front"]:
            least = "--min-auc" if task.multi_label else "--min-f1"
            print_line(f"next: the same command with --max-bytes, --max-latency-ms or {least}")
        else:
            print_line("next: nothing can be chosen yet; the warnings above say what to change")
    else:
        _answered(results, folder, task)
    print_line(f"page: {folder / 'sweep' / 'sweep.html'}")
    print_line(f"report: {folder / 'report.html'}")


def _row(cell: dict[str, Any], chosen: str | None, scores: list[str]) -> list[str]:
    share = cell["front_share"]
    front = "–"
    if cell["front"] is not None:
        front = f"{'yes' if cell['front'] else 'no'} ({share['value']:.0%})"
    verdict = {True: "passed", False: "REFUSED", None: cell["state"]}[cell["passed"]]
    return [
        "→" if cell["name"] == chosen else "",
        cell["name"],
        verdict,
        *(_short(cell[key]) for key in scores),
        f"{cell['size']['value']:,}" if "value" in cell["size"] else "–",
        _short(cell["p50"]),
        f"{cell['ratio']['value']:.2f}" if "value" in cell["ratio"] else "–",
        front,
    ]


def _short(data: dict[str, Any]) -> str:
    return f"{measurement(data)}" if "value" in data else "–"


def _answered(results: dict[str, Any], folder: Path, task: Task) -> None:
    from edgecell.report.sweep import cell_named, limit_words, miss_words, smaller_words

    found = results["answer"]
    if found["cell"] is None:
        print_line(f"no cell to ship: {found['reason']}")
        return
    print_line(
        f"{'to ship' if found['met'] else 'nearest miss'}: {found['cell']} ({miss_words(found)})"
    )
    for entry in found["limits"]:
        print_line(f"  {limit_words(entry)}")
    smaller = smaller_words(found, task)
    if smaller is not None:
        print_line(f"  {smaller}")
    file = folder / cell_named(results, found["cell"])["file"]
    print_line(f"file: {file}")
    test = found["test"]
    if test is None:
        return
    # Of one class accuracy comes first here, of several labels what they are chosen by.
    shown = task.file_scores if task.multi_label else task.file_scores[::-1]
    scores = ", ".join(f"{name} {measurement(test[key])}" for name, key in shown)
    worst = f"worst {'label' if task.multi_label else 'class'} {test['worst_class']['name']}"
    print_line(f"on test, n={test['n']:,}: {scores}, {worst}")
    print_next("bundle", file)


def _refuse_a_miss(results: dict[str, Any]) -> None:
    """Raise UnmetError where limits were given and none of the cells keeps them."""
    found = results["answer"]
    if found is None or found["met"]:
        return
    if found["cell"] is None:
        raise UnmetError(
            f"no cell to ship: {found['reason']}; the table and the warnings above say why and what to change"
        )
    missed = [entry["limit"] for entry in found["limits"] if not entry["kept"]]
    flags = ", ".join("--" + name.replace("_", "-") for name in missed)
    raise UnmetError(
        f"no cell keeps all limits; {found['cell']} misses {flags}, by {found['distance']:.1%} of the"
        " limit at most; loosen them, or widen the sweep"
    )


COMMANDS: tuple[click.Command, ...] = (sweep,)
