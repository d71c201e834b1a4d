"""README.md of a bundle: what the developer of an app reads first."""

from __future__ import annotations

from typing import Any

from edgecell.bundle.targets import TARGETS, Samples


def readme(model: dict[str, Any], samples: Samples, golden_source: str) -> str:
    """Markdown from model.json's content; ``golden_source`` says where the golden images come from."""
    entry, leave, task = model["input"], model["output"], model["task"]
    height, width = entry["shape"][1:3]
    listed = [
        f"- `samples/{name}`: {TARGETS[name].title}. Needs {TARGETS[name].needs}."
        for name in samples.targets
    ]
    listed += [f"- no `samples/{name}`: {why}." for name, why in samples.left_out.items()]
    in_folder = "\n".join(listed)
    warning = ""
    if model["verified"]["status"] != "passed":
        warning = f"> **{model['verified']['sentence']}**\n\n"
    licence = model["licence"]["model"] or f"none stated: {model['licence']['reason']}"
    return f"""# {model["name"]}

{warning}**{model["notice"]}** {model["intended_use"]}

An image classifier of {len(model["labels"])} classes ({task["kind"]}): {", ".join(model["labels"])}.

| file | what it is |
| --- | --- |
| `model.tflite` | the model, with its labels and scaling as TFLite metadata |
| `model.json` | everything an app has to know: preprocessing, scales, labels, thresholds, hashes |
| `MODEL_CARD.md`, `MODEL_CARD.html` | how good it is, on which images, and what is not known |
| `labels.txt` | the labels, one a line, in the order of the outputs |
| `golden/` | {model["golden"]["count"]} images ({golden_source}) with the pixels, inputs and outputs they must give |
| `samples/` | code that is ready to run, with a self-test |

{in_folder}

## In five lines

1. Decode the image to RGB, upright (EXIF orientation), 8 bits a channel.
2. {_fit(model["preprocessing"]["fit"])} to {width}×{height} with a bilinear filter that has half-pixel
   centres and is widened when it shrinks (antialias). `model.json` states it to the byte.{_enlarged(entry)}
3. Write each pixel `u` into the input as {_pixel(entry)}.
4. Run the model. Output: {leave["dtype"]} {leave["shape"]}{_dequantize(leave)}.
5. {_decide(model)}

## Does it work here?

Run the self-test of the sample on the device before anything else. It repeats decode, resize, scale and inference on
the golden images and names the stage that differs. A model that was trained on other pixels than the app feeds it does
not fail loudly: it is only wrong more often.

{_label_trust(model) if "labels" in model["decision"] else _trust(model["decision"])}

## Licence

{licence}.
"""


def _fit(fit: dict[str, Any]) -> str:
    crop, fraction = fit["mode"] == "crop", fit.get("central_fraction", 1.0)
    if fraction != 1.0:
        whole = "the largest centred square" if crop else "it"
        rest = "" if crop else ", ignoring the aspect ratio,"
        return f"Cut out the middle {fraction:.4g} of each side of {whole} and resize that{rest}"
    if crop:
        return "Cut out the largest centred square and resize it"
    return "Resize it, ignoring the aspect ratio,"


def _enlarged(entry: dict[str, Any]) -> str:
    if entry["enlarged_to"] is None:
        return ""
    (height, width), (rows, columns) = entry["shape"][1:3], entry["enlarged_to"]
    return (
        f" An image that has\n   {width}×{height} pixels goes in as it is: the model enlarges it to"
        f" {columns}×{rows} by itself. Larger ones lose what\n   {width}×{height} pixels cannot show:"
        " for them take the file without the resize inside."
    )


def _pixel(entry: dict[str, Any]) -> str:
    form = f"{entry['dtype']}, shape {entry['shape']}"
    if (entry["multiply"], entry["add"]) == (1.0, 0.0):
        return f"it is: {form}, red first, 0 to 255. No mean, no division: the model does that"
    return f"`u * {entry['multiply']:g} + {entry['add']:g}`: {form}, red first"


def _dequantize(leave: dict[str, Any]) -> str:
    if leave["scale"] is None:
        return ", probabilities"
    return f"; probability = (value - {leave['zero_point']}) × {leave['scale']:.9g}"


def _decide(model: dict[str, Any]) -> str:
    decision = model["decision"]
    if "labels" in decision:
        return (
            "Every label whose probability reaches its own threshold is shown; of one without a threshold,"
            f" above {decision['label_threshold']:g}."
        )
    if model["task"]["kind"] == "multi-label":
        return f"Every label whose probability is above {decision['label_threshold']:g} is shown."
    threshold = decision["abstention"]["threshold"]
    if threshold is None:
        return "The largest output is the answer."
    return (
        f"The largest output is the answer if it is at least {threshold:g}; below that the app says that it"
        " is not sure."
    )


def _trust(decision: dict[str, Any]) -> str:
    lines = []
    abstention, conformal = decision["abstention"], decision["conformal"]
    if abstention["threshold"] is None:
        lines.append(f"- **Abstention**: no threshold: {abstention['reason']}.")
    else:
        quanta = abstention["threshold_quanta"]
        bytes_too = f" (output value {quanta})" if quanta is not None else ""
        lines.append(
            f"- **Abstention**: answering only from {abstention['threshold']:g}{bytes_too} on, at least"
            f" {abstention['target_accuracy']:g} of the answers are right, with certainty"
            f" {abstention['certainty']:g}, for images like the {abstention['n']} that set it."
        )
    if conformal["threshold"] is None:
        lines.append(f"- **Sets of classes**: none: {conformal['reason']}.")
    else:
        lines.append(
            f"- **Sets of classes**: all classes from {conformal['threshold']:.4g} on; the set holds the right"
            f" one in {conformal['coverage']:g} of the cases, on average over validation sets like that one."
        )
    temperature = decision["temperature"]
    if temperature["use"]:
        lines.append(
            f"- **Shown confidence**: softmax(ln p / {temperature['value']:.4g}); thresholds are for p itself."
        )
    else:
        lines.append("- **Shown confidence**: the output as it is.")
    return "## When to trust an answer\n\n" + "\n".join(lines)


def _label_trust(model: dict[str, Any]) -> str:
    decision = model["decision"]
    found = decision["labels"]
    rows = [
        f"| {name.replace('|', chr(92) + '|')} | {_from(threshold, decision)}{_bytes(quanta)} | {positives:,} |"
        for name, threshold, quanta, positives in zip(
            model["labels"],
            found["thresholds"],
            found["threshold_quanta"],
            found["positives"],
            strict=True,
        )
    ]
    shown = "the output as it is."
    if found["scaling"]:
        shown = (
            "sigmoid(slope · ln(p / (1 - p)) + offset), with the label's numbers in `model.json`;"
            " thresholds are for p itself."
        )
    return f"""## From which probability on a label is present

A threshold finds {found["sensitivity"]:g} of the images with its label, on average over validation sets like the
one that set it: of as many as the last column says. With few of them the true share can be well below that.

| label | present | images that set it |
| --- | --- | --- |
{chr(10).join(rows)}

- **Shown probability**: {shown}"""


def _from(threshold: float | None, decision: dict[str, Any]) -> str:
    if threshold is None:
        return f"above {decision['label_threshold']:g}: too few images to choose by"
    return f"from {threshold:.4g} on"


def _bytes(quanta: int | None) -> str:
    return "" if quanta is None else f" (output value {quanta})"
