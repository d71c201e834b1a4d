"""``peers``. The stage is imported inside, as in `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli.flags import BENCH
from edgecell.cli.options import PATH, named_data
from edgecell.cli.terminal import display, print_json, print_line, print_table

_PACE = tuple(flag for flag in BENCH if flag.name in ("--runs", "--seconds", "--warmup-runs"))


@click.command(short_help="The same network in other runtimes, side by side.")
@click.argument("run_folder", type=PATH, metavar="RUN")
@click.option(
    "--peers",
    "names",
    default="",
    help="Of onnxruntime, openvino and keras, with commas between [default: all].",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of every runtime.",
)
@opt.pace_flags
@opt.flags(_PACE)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def peers(
    run_folder: Path,
    names: str,
    threads: int,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Compare a run's float32 and int8 files with its network in ONNX Runtime, OpenVINO and Keras.

    Each runtime makes its own int8, calibrated on the same training images. All answer the same test
    images, and are timed in turn in one process. A runtime that is not installed is named as missing.
    """
    from edgecell.pipeline import peering

    opt.take_pace(parameters)
    data = named_data(parameters)
    with display() as progress:
        record, folder = peering.compare_with_peers(
            run_folder,
            names,
            threads,
            lambda config: opt.configure(parameters, config),
            data,
            output,
            progress,
        )
    if as_json:
        print_json(record)
    else:
        _compared(record["results"], folder)


def _compared(results: dict[str, Any], folder: Path) -> None:
    from benchmarks.peers.report import rows

    table = rows(results)
    columns = list(table[0])
    threads = "1 thread" if results["threads"] == 1 else f"{results['threads']} threads"
    title = f"the same network, n={results['images']}, {threads}, timed in turn"
    print_table(title, columns, [[row[c] for c in columns] for row in table], numeric_from=3)
    for each in results["absent"]:
        print_line(f"not measured: {each['name']}: {each['reason']}")
    for line in (*results["warnings"], *results["notes"]):
        print_line(line)
    print_line(f"files: {folder / 'peers.html'}, {folder / 'peers.md'}, {folder / 'peers.json'}")


COMMANDS: tuple[click.Command, ...] = (peers,)
