"""Verbs about trust: confidence and robustness. Each imports its stage inside, as in `commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgecell.cli import options as opt
from edgecell.cli.flags import CONFIDENCE, ROBUSTNESS
from edgecell.cli.options import PATH, named_data
from edgecell.cli.show import measurement
from edgecell.cli.show_label_confidence import show_label_confidence
from edgecell.cli.terminal import display, print_json, print_line, print_table
from edgecell.naming import listed
from edgecell.tasks import task_of_record

_REFERENCE = click.option(
    "--reference", type=PATH, help="The Keras model that files of no run came from."
)


@click.command(short_help="Temperature, abstention threshold, conformal sets.")
@click.argument("target", type=PATH)
@_REFERENCE
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    default="val",
    show_default=True,
    help="'test' also reports what the numbers, always fitted on val, hold there.",
)
@opt.flags(CONFIDENCE)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def calibrate(
    target: Path,
    reference: Path | None,
    split: str,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Calibrate the confidence of converted files on val: when to answer, and with which classes.

    TARGET is a run (all its files) or one .tflite file. Where an image can have several labels: from
    which probability on each of them is present. Not to be confused with the calibration of int8
    ranges, which is part of quantize.
    """
    from edgecell.pipeline import confidence

    data = named_data(parameters)
    given = [flag for flag in CONFIDENCE if parameters[flag.parameter] is not None]
    with display() as progress:
        record = confidence.calibrate_target(
            target,
            reference,
            lambda config: opt.configure(parameters, config),
            data,
            split,
            output,
            progress,
        )
        for flag in given:
            if flag.field.split(".")[1] not in record["config"]:
                labels = "one label" if flag.name == "--sensitivity" else "several labels"
                progress.say(f"note: {flag.name} is not used: an image can have {labels} here")
    if as_json:
        print_json(record)
    else:
        _calibrated(record)


@click.command(short_help="Accuracy, or mean AUC, on the images of a worse camera.")
@click.argument("target", type=PATH)
@_REFERENCE
@click.option(
    "--split", type=click.Choice(["val", "test"]), default="val", show_default=True, help="Split."
)
@opt.flags(ROBUSTNESS)
@opt.run_data_flags
@opt.output_option
@opt.json_option
def robustness(
    target: Path,
    reference: Path | None,
    split: str,
    output: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Accuracy under blur, JPEG, brightness, white balance and noise, at five strengths each.

    TARGET is a run (all its files) or one .tflite file. Tells whether the files fall faster than
    the model they came from. Where an image can have several labels, their mean AUC stands in the
    place of accuracy.
    """
    from edgecell.pipeline import robustness as stage

    data = named_data(parameters)
    with display() as progress:
        record = stage.robustness_target(
            target,
            reference,
            lambda config: opt.configure(parameters, config),
            data,
            split,
            output,
            progress,
        )
    if as_json:
        print_json(record)
    else:
        _corrupted(record)


def _calibrated(record: dict[str, Any]) -> None:
    for entry in record["results"]["models"]:
        if "sensitivity" in entry:
            show_label_confidence(entry, record["results"]["splits"])
            continue
        for split in record["results"]["splits"]:
            scores = entry[split]["scores"]
            rows = [
                [name, *(measurement(scores[name][key]) for key in ("ece", "log_loss", "brier"))]
                for name in ("reference", "converted", "tempered")
                if name != "tempered" or entry["temperature"]["kept"]
            ]
            title = f"{entry['file']} on {split}, n={scores['converted']['ece']['n']}"
            print_table(title, ["", "ECE", "log loss, nat", "Brier"], rows)
            _promises(entry, split)
        temperature = entry["temperature"]
        why = temperature.get("reason")
        why = why or f"gain on other images {measurement(temperature['gain'])} nat"
        print_line(
            f"  temperature {temperature['value']:.3f}, {'kept' if temperature['kept'] else 'not kept'}: {why}"
        )
    for line in record["results"].get("notes", ()):
        print_line(f"!! {line}")


def _promises(entry: dict[str, Any], split: str) -> None:
    abstention, found = entry["abstention"], entry[split]
    if abstention["threshold"] is None:
        print_line(f"  abstention: {abstention['reason']}")
    else:
        print_line(
            f"  abstention: answer from {abstention['threshold']:.4f} on for accuracy"
            f" {abstention['target_accuracy']:g} with certainty {abstention['certainty']:g};"
            f" answered {measurement(found['answered']['share'])},"
            f" right {measurement(found['answered']['accuracy'])}"
        )
    conformal = entry["conformal"]
    for key, said in (("sets", "one threshold"), ("sets_by_class", "one per class")):
        classes = found[key]["classes"]
        judged = {name: row for name, row in classes.items() if "value" in row}
        worst = min(judged, key=lambda name: judged[name]["value"])
        print_line(
            f"  conformal sets, {said}, for {conformal['coverage']:g}: hold the class"
            f" {measurement(found[key]['coverage'])}, least {worst} {measurement(judged[worst])},"
            f" {found[key]['mean_size']:.2f} classes on average"
        )
    if "coverage_at_least" in conformal:  # not in records from before it was told
        print_line(f"  {_promised(conformal, abstention['n'])}")
    if conformal["always_in"]:
        print_line(
            f"  too few images for {conformal['coverage']:g} by class, so always in that set:"
            f" {', '.join(conformal['always_in'])}"
        )


def _promised(conformal: dict[str, Any], n: int) -> str:
    """What the sets promise in the mean, and what those of this val promise with certainty."""
    said = (
        f"coverage {conformal['coverage']:g} holds on average over validation sets; with certainty"
        f" {conformal['certainty']:g} it is at least {conformal['coverage_at_least']:.3f} ({n:,} images in val)"
    )
    classes = conformal["class_coverage_at_least"]
    able = [name for name in classes if name not in conformal["always_in"]]
    if not able:
        return said
    least = min(able, key=lambda name: classes[name])
    return f"{said}; one per class, at least {classes[least]:.3f} for {least}, and no less for the others"


def _corrupted(record: dict[str, Any]) -> None:
    results = record["results"]
    models, task = results["models"], task_of_record(results)
    rows = []
    for condition in results["conditions"]:
        row = [condition["corruption"], str(condition["strength"])]
        for model in condition["models"]:
            drop = f" ({model['drop']['value']:+.4f})" if "drop" in model else ""
            row.append(f"{model[task.metric]['value']:.4f}{drop}")
        rows.append(row)
    title = (
        f"{task.metric_name} on {results['split']}, n={results['n']}; in brackets the drop to"
        f" {models[0]}"
    )
    print_table(title, ["corruption", "strength", *models], rows)
    rows = [
        [fall["model"], fall["corruption"], measurement(fall["extra_fall"]), fall["verdict"]]
        for fall in results["falls"]
    ]
    columns = ["file", "corruption", "extra fall, mean of strengths", "verdict"]
    print_table("falls faster than the trained model?", columns, rows, numeric_from=2)
    for fall in results.get("labels", ()):
        if fall["verdict"] != "no difference seen":
            print_line(
                f"{fall['model']}, '{fall['label']}': {fall['verdict']} over all, extra fall of its AUC"
                f" {measurement(fall['extra_fall'])}"
            )
    blind = "no better than naming the commonest class"
    if task.multi_label:
        blind = "not above chance with 97.5 % confidence"
    for row in results["blind"]:
        print_line(f"left out: {row['corruption']} {row['strength']}, where {models[0]} is {blind}")
    if results.get("unranked"):
        print_line(
            f"not ranked, too few images with the label or without it: {listed(results['unranked'])};"
            " show more images with --images (0: all)"
        )


COMMANDS: tuple[click.Command, ...] = (calibrate, robustness)
