"""The verbs from images to a measured file. Each imports its stage inside, so that ``--help`` needs no TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli import show, show_comparison, show_evaluation, show_quantization
from edgecell.cli.flags import (
    BENCH,
    CALIBRATION,
    DATA,
    MODEL,
    QAT,
    RESIZE,
    SEARCH,
    SLIM,
    TEACHER,
    TRAIN,
    VERIFY,
    VERIFY_SPLIT,
)
from edgecell.cli.options import PATH, named_data
from edgecell.cli.terminal import display, print_json, print_line
from edgecell.config import Config
from edgecell.errors import ConfigError
from edgecell.rundir import RunDir


@click.command(short_help="Images to a trained model.")
@opt.flags(DATA, MODEL, TRAIN, TEACHER)
@click.option(
    "--recipe", help="Start from a recipe: a name (see 'edgecell recipes') or a .toml file."
)
@click.option("--resume", type=PATH, help="Go on with the stopped training in this run folder.")
@click.option(
    "--seeds", type=click.IntRange(1, 100), help="Train this many seeds, from --seed on; mean ± sd."
)
@click.option("--name", help="Name of the run [default: from the data set].")
@opt.new_run_option
@opt.json_option
def train(
    recipe: str | None,
    resume: Path | None,
    seeds: int | None,
    name: str | None,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train a classifier: a frozen backbone first, then fine-tuning; the best epoch on val is kept."""
    from edgecell.pipeline import train_settings, training

    before = None
    if resume is not None:
        given = {key: value for key, value in parameters.items() if value not in (None, ())}
        rates = {key: given.pop(f"set_train__{key}", None) for key in train_settings.RATES}
        rates = {key: rate for key, rate in rates.items() if rate is not None}
        if given or recipe or output or seeds:
            raise ConfigError(
                "--resume goes on with the run's own settings, but for --learning-rate and"
                " --head-learning-rate; leave the other flags out"
            )
        before, run = training.resume_config(resume)
        config = train_settings.with_rates(before, rates)
    else:
        config = opt.configure(parameters, opt.base_config(recipe))
        config = replace(config, name=name or train_settings.default_name(config))
        if seeds is not None:
            _train_seeds(config, seeds, output, as_json)
            return
        place = training.worker_place(config, output)
        run = training.start_run(config, output) if place.chief else RunDir(output or Path())
    place = training.worker_place(config, run.path)
    with display() as progress:
        if not place.chief:
            training.assist_run(config, run, progress)
            record = {"worker": place.worker, "workers": place.workers}
        else:
            record = training.train_run(config, run, progress, before=before)
    if as_json:
        print_json(record)
    elif not place.chief:
        print_line(f"worker {place.worker} of {place.workers} is done; worker 0 writes {run.path}")
    else:
        show.trained(record, run.path)


def _train_seeds(config: Config, count: int, output: Path | None, as_json: bool) -> None:
    from edgecell.pipeline import seeds

    with display() as progress:
        folder, trained, spread = seeds.train_seeds(config, count, output, progress)
    if as_json:
        print_json({spread.name: spread.to_json(), "seeds": trained})
    else:
        show.spread(spread, [str(seed) for seed in trained], folder)


@click.command(short_help="Quality of a model on val, or on test.")
@click.argument("target", type=PATH)
@click.option(
    "--split", type=click.Choice(["val", "test"]), default="val", show_default=True, help="Split."
)
@click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="Threads of LiteRT (0: all cores)."
)
@click.option(
    "--csv", "medmnist_csv", is_flag=True, help="Also a CSV in MedMNIST's official format and name."
)
@click.option("--xlsx", is_flag=True, help="Also an Excel workbook.")
@click.option("--tta", is_flag=True, help="Average over the eight mirrored and turned views.")
@click.option(
    "--ensemble",
    "others",
    type=PATH,
    multiple=True,
    help="Average with this run or model too; repeatable.",
)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def evaluate(
    target: Path,
    split: str,
    threads: int,
    medmnist_csv: bool,
    xlsx: bool,
    tta: bool,
    others: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Accuracy, per-class precision, recall and F1, AUC and calibration of a run, .keras or .tflite.

    The test split is looked at only when --split test asks for it. Each image's probabilities are
    in predictions.csv and .json; mistakes.png and examples.png show the images worth a look. A folder
    of seeds (train --seeds) gives the mean and the spread of its runs.
    """
    from edgecell.pipeline import evaluation, seeds

    data = named_data(parameters)
    runs = seeds.runs_of(target)
    with display() as progress:

        def one(path: Path) -> evaluation.Evaluated:
            return evaluation.evaluate_target(
                *(path, split, data, output),
                threads=threads,
                progress=progress,
                exports=evaluation.Exports(medmnist_csv, xlsx),
                tta=tta,
                others=others,
            )

        if runs is None:
            evaluated = one(target)
        elif output is not None:
            raise ConfigError("--output goes with one run; the seeds are evaluated in their own")
        else:
            found, spread = seeds.evaluate_each(runs, one)
    if runs is not None and as_json:
        print_json({spread.name: spread.to_json(), "seeds": list(found)})
    elif runs is not None:
        show.spread(spread, list(found), target)
    elif as_json:
        print_json(evaluated.results)
    else:
        show_evaluation.evaluated(evaluated)


@click.command(short_help="A trained model to .tflite files.")
@click.argument("target", type=PATH)
@opt.precision_flags
@opt.flags(CALIBRATION, SEARCH, QAT, SLIM, RESIZE)
@opt.run_data_flags
@click.option(
    "--analyze", is_flag=True, help="Quantize every layer alone and rank what it costs on val."
)
@opt.output_option
@opt.json_option
def quantize(
    target: Path, analyze: bool, output: Path | None, as_json: bool, **parameters: Any
) -> None:
    """Convert a run, .keras, .h5 or SavedModel to .tflite files [default: --float16 --int8].

    int8 is static: weights per channel, activations per tensor, ranges measured on a stratified,
    seeded sample of the training split that is written down beside the model. With --qat the model
    is first trained a little further with the rounding of int8 in it; a killed training goes on
    where it stopped. With --search no training is needed. --analyze alone writes no model files.
    --prune and --cluster make files that are smaller once they are packed (zip, gzip, an app's package).
    A .tflite as TARGET takes --resize-in-graph: for a client whose own resize is not the training's.
    """
    from edgecell.cli import next_verify
    from edgecell.pipeline import conversion

    precisions = opt.take_precisions(parameters)
    data = named_data(parameters)
    making = ["quantize__search", "quantize__keep_float", "qat__enabled"]
    making += ["prune__sparsity", "cluster__clusters", "quantize__resize_in_graph"]
    wanted = precisions or any(parameters[f"set_{field}"] for field in making)

    def adjust(config: Config) -> Config:
        return opt.configure_conversion(dict(parameters), config, precisions)

    printed: list[dict[str, Any]] = []
    if analyze:
        with display() as progress:
            record, folder = conversion.analyze_target(target, adjust, data, output, progress)
        printed.append(record)
        if not as_json:
            show_quantization.analyzed(record, folder)
    if wanted or not analyze:
        with display() as progress:
            record, folder = conversion.quantize_target(target, adjust, data, output, progress)
        printed.append(record)
        if not as_json:
            if record["config"]["search"]:
                found = RunDir(folder.parent)
                show_quantization.searched(found.read_record("search"), found.stage("search"))
            show.quantized(record, folder, next_verify.words(target, folder, data))
            show_quantization.slimmed(record)
            show_quantization.mixed(record)
    if as_json:
        print_json(printed[0] if len(printed) == 1 else {each["verb"]: each for each in printed})


@click.command(short_help="Test that .tflite files do what their model does.")
@click.argument("target", type=PATH)
@click.option("--reference", type=PATH, help="The Keras model that files of no run came from.")
@opt.flags(VERIFY, VERIFY_SPLIT)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def verify(
    target: Path, reference: Path | None, output: Path | None, as_json: bool, **parameters: Any
) -> None:
    """Test that converted files do what their reference does, on the val split: what accuracy, and what
    any class, can have lost at most.

    TARGET is a run or a folder of 'quantize --output' (all its files), or one .tflite file. Each file
    is found equivalent, worse, or these images cannot tell. Exit code 5 where a file is worse or
    breaks a budget.
    """
    from edgecell.pipeline import verification

    data = named_data(parameters)
    with display() as progress:
        record, failure = verification.verify_target(
            target,
            reference,
            lambda config: opt.configure(parameters, config),
            data,
            output,
            progress,
        )
    if as_json:
        print_json(record)
    else:
        show.verified(record)
    if failure is not None:
        raise failure


@click.command(short_help="Accuracy, size, memory and latency side by side.")
@click.option(
    "--model", "models", type=PATH, multiple=True, required=True, help=".tflite file; repeatable."
)
@click.option(
    "--unverified", is_flag=True, help="Also bench files without a passing verify; recorded."
)
@opt.device_flags
@click.option("--against", type=PATH, help="bench.json that the files must not be worse than.")
@click.option(
    "--max-regress",
    "limits",
    multiple=True,
    help="How much worse is allowed: 5%, or accuracy=, bytes= or latency=5%; repeatable [default: 5%].",
)
@opt.pace_flags
@opt.flags(BENCH)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def bench(
    models: tuple[Path, ...],
    unverified: bool,
    device: str,
    remote_python: str,
    benchmark_model: str,
    against: Path | None,
    limits: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Accuracy and per-class F1 on test, size, memory and latency of .tflite files, side by side.

    Without --data the images are those that the model's run was trained on. Latency is measured as
    MLPerf's single stream: warm-up, then at least so many runs and at least so long, the files in turn.
    With --against, exit code 5 where accuracy, bytes or latency became worse than allowed.
    """
    from edgecell.pipeline import benching, comparing

    if limits and against is None:
        raise ConfigError("--max-regress goes with --against; name the earlier bench.json too")
    earlier = comparing.against(against, limits) if against is not None else None
    opt.take_pace(parameters)
    data = named_data(parameters)
    with display() as progress:
        record, folder = benching.bench_models(
            list(models),
            lambda config: opt.configure(parameters, config),
            data,
            output,
            progress,
            allow_unverified=unverified,
            device=device,
            device_options=benching.DeviceOptions(remote_python, benchmark_model),
            against=earlier,
        )
    if as_json:
        print_json(record)
    else:
        show.benched(record, folder)
        if earlier is not None:
            show_comparison.regressed(record["results"]["regression"])
    failure = comparing.failure(record["results"])
    if failure is not None:
        raise failure


COMMANDS: tuple[click.Command, ...] = (train, evaluate, quantize, verify, bench)
