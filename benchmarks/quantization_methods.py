"""All that quantization can do to one model, in one table: python -m benchmarks.quantization_methods RUN.

Each file that ``edgecell quantize`` has left in RUN is held against the run's Keras model on the same
images: accuracy and macro-F1, agreement, the class that lost most, bytes stored and packed, and its time
relative to the float32 file, both timed in turn. ``--make`` first makes the methods of :data:`METHODS`
that are missing; flags it does not know go to ``edgecell quantize``: ``--make --qat-epochs 2``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.host import Others, host
from benchmarks.latency import Pace
from benchmarks.method_rows import FLOAT32, compare, markdown, reference_row
from edgecell.config_file import load_config
from edgecell.data import load_dataset, materialize
from edgecell.disk import atomic_write_json
from edgecell.errors import ArtifactError, ConfigError, DataError, EdgecellError
from edgecell.native_log import overheard
from edgecell.preprocess import PreprocessSpec
from edgecell.rundir import RunDir
from edgecell.runtime import KerasPredictor
from edgecell.tasks import task_of_record

SCHEMA, SCHEMA_VERSION = "edgecell/quantization-methods", 1
_SLIM = {"pruned0.5": ["--prune", "0.5"], "clustered16": ["--cluster", "16"]}
_BOTH = [flag for flags in _SLIM.values() for flag in flags]
# What the recipe asks for is no part of another method.
_INT8 = ["--int8", "--no-search", "--no-qat"]
_QAT = ["--int8", "--no-search", "--qat"]
METHODS: dict[str, list[str]] = {
    **{plain: [f"--{plain}"] for plain in (FLOAT32, "float16", "dynamic", "int16x8")},
    "int8": _INT8,
    "int8-search": ["--int8", "--search", "--no-qat"],
    "int8-qat": _QAT,
    "mixed": [*_INT8, "--keep-float", "2"],
    **{f"int8-{name}": [*_INT8, *flags] for name, flags in _SLIM.items()},
    "int8-pruned0.5-clustered16": [*_INT8, *_BOTH],
    **{f"int8-{name}-qat": [*_QAT, *flags] for name, flags in _SLIM.items()},
    "int8-pruned0.5-clustered16-qat": [*_QAT, *_BOTH],
}
"""What a file's name ends in → the flags of ``edgecell quantize`` that make it."""


def methods_in(run: RunDir) -> dict[str, Path]:
    """What each file of the run's quantize record was made by, in the record's order → the file.

    Raises:
        ArtifactError: nothing quantized yet, or a file that was altered since.
    """
    name = load_config(run.path / "config.toml").name
    entries = run.check_outputs("quantize")["results"]["models"]
    # A resize inside is no method: same weights, other images.
    files = [entry["file"] for entry in entries if "source_size" not in entry]
    return {Path(f).stem.removeprefix(f"{name}-"): run.stage("quantize") / f for f in files}


def make(run: RunDir, wanted: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Make what is missing of ``wanted``, each by an ``edgecell quantize`` of its own; what it made.

    Raises:
        SystemExit: a call failed; its own message is on stderr.
    """
    there = methods_in(run) if run.has("quantize") else {}
    missing = [method for method in wanted if method not in there]
    for method in missing:
        command = [sys.executable, "-m", "edgecell", "quantize", str(run.path)]
        done = subprocess.run(
            [*command, *METHODS[method], *flags], stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            sys.exit(f"making {method} failed with exit code {done.returncode}")
    return missing


def _refuse_several_labels(run: RunDir) -> None:
    """Before anything is made: the table counts images whose one class is found.

    Raises:
        ConfigError: the run was trained on several labels to an image.
    """
    if task_of_record(run.read_record("train")["results"]["data"]).multi_label:
        raise ConfigError(
            f"{run.name} was trained on several labels to an image, and this table is of one class to an"
            " image; allowed: runs of one label. 'edgecell bench' compares the files that 'edgecell"
            " quantize' made"
        )


def _images(run: RunDir, split: str, size: tuple[int, int]) -> tuple[Any, NDArray[np.uint8], Any]:
    """The run's data set, and images (N, H, W, 3) and labels (N,) of its splits, joined by '+'."""
    config = load_config(run.path / "config.toml")
    dataset = load_dataset(config.data)
    trained_on = run.read_record("train")["results"]["data"]["fingerprint"]
    if dataset.fingerprint != trained_on:
        raise DataError(
            f"'{config.data.source}' is not the data set that {run.name} was trained on"
        )
    splits = [dataset.split(name) for name in split.split("+")]
    spec = PreprocessSpec.of(config.model, *size)
    images = np.concatenate([materialize(each, spec) for each in splits])
    return dataset, images, np.concatenate([each.labels for each in splits])


def measure(run: RunDir, split: str, wanted: Sequence[str], pace: Pace) -> dict[str, Any]:
    """Compare the run's files, or those of the ``wanted`` methods, on a split of its data; JSON types.

    Raises:
        ArtifactError: no file, or none of a wanted method. DataError: other images than trained on.
    """
    files = methods_in(run)
    unknown = [method for method in wanted if method not in files]
    if unknown:
        raise ArtifactError(
            f"{run.name} has no file of {', '.join(unknown)}; it has {', '.join(files)}; add --make"
        )
    files = {method: path for method, path in files.items() if not wanted or method in wanted}
    reference = KerasPredictor(run.stage("train") / "model.keras")
    dataset, images, labels = _images(run, split, reference.image_size)
    others = Others()
    rows = compare(reference, files, images, labels, dataset.class_names, pace)
    machine = host()
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "run": run.name,
        "data": dataset.name,
        "split": split,
        "n": len(labels),
        "reference": reference_row(reference, images, labels, dataset.class_names),
        "rows": [row.to_json() for row in rows],
        "timing": {
            "runs": pace.runs,
            "seconds": pace.seconds,
            "rounds": next((row.ratio.n for row in rows if row.ratio.value is not None), None),
            "cpu": machine["cpu"],
            "others": others.share().to_json(),
        },
        "host": machine,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Make what is missing, compare, print the table and write it with --output."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--make", action="store_true", help="first make the methods that are missing"
    )
    parser.add_argument(
        "--methods",
        default="",
        help=f"only these, separated by commas; --make knows {', '.join(METHODS)}",
    )
    parser.add_argument("--split", default="test", choices=["val", "test", "val+test"])
    parser.add_argument("--runs", type=int, default=256, help="least number of timed inferences")
    parser.add_argument("--seconds", type=float, default=5.0, help="least seconds of timing a file")
    parser.add_argument("--output", type=Path, help="a .json file; the table goes beside it as .md")
    arguments, flags = parser.parse_known_args(words)
    wanted = [method for method in arguments.methods.split(",") if method]
    try:
        if flags and not arguments.make:
            raise ConfigError(f"unknown: {' '.join(flags)}; flags of quantize go with --make")
        run = RunDir.open(arguments.run)
        _refuse_several_labels(run)
        if arguments.make:
            cannot = [method for method in wanted if method not in METHODS]
            if cannot:
                raise ConfigError(f"no method {cannot[0]}; allowed: {', '.join(METHODS)}")
            make(run, wanted or list(METHODS), flags)
        with overheard([]):  # what TensorFlow says as it starts
            result = measure(run, arguments.split, wanted, Pace(arguments.runs, arguments.seconds))
    except EdgecellError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    table = markdown(result)
    sys.stdout.write(table + "\n")
    if arguments.output:
        atomic_write_json(arguments.output, result)
        arguments.output.with_suffix(".md").write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
