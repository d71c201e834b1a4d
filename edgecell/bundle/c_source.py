"""What the C sample cannot know beforehand: the model as an array, its constants, the golden images' names."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecell.disk import atomic_write_bytes, atomic_write_text, read_json

_TYPES = {"uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "float32": "float"}
_NOTICE = "/* Written by edgecell bundle. Not a medical device; not for clinical use. */\n"


def make(card: dict[str, Any], bundle: Path, sample: Path) -> None:
    """Write model_data.[ch], golden_cases.[ch] and the pixels of the golden images of odd shapes.

    Decoding PNGs is not the C sample's business, so the few images that show a wrong resize are there
    decoded, ``decoded/NN.rgb``.
    """
    model = (bundle / card["model"]["file"]).read_bytes()
    folder = (bundle / card["golden"]["file"]).parent
    golden = read_json(bundle / card["golden"]["file"])
    for case in golden["cases"]:
        if case["chosen"] == "shape":
            with Image.open(folder / case["image"]) as picture:
                pixels = np.asarray(picture)
            atomic_write_bytes(sample / _decoded(case), pixels.tobytes())
    for name, text in (
        ("model_data.h", _model_header(card, model)),
        ("model_data.c", _model_source(card, model)),
        ("golden_cases.h", _golden_header(golden)),
        ("golden_cases.c", _golden_source(golden, sample.relative_to(bundle), folder.name)),
    ):
        atomic_write_text(sample / name, _NOTICE + text)


def quoted(text: str) -> str:
    """A C99 string literal: UTF-8 in octal escapes, no trigraphs."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    inner = "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode())
    return f'"{inner}"'


def _model_header(card: dict[str, Any], model: bytes) -> str:
    entry, leave, decision = card["input"], card["output"], card["decision"]
    height, width = (
        card["preprocessing"]["resize"]["height"],
        card["preprocessing"]["resize"]["width"],
    )
    fit = card["preprocessing"]["fit"]
    crop, fraction = fit["mode"] == "crop", float(fit.get("central_fraction", 1.0))
    value = "(double)(value)"
    if leave["scale"] is not None:
        value = f"(((value) - ({leave['zero_point']})) * MODEL_OUTPUT_SCALE)"
    threshold = decision["abstention"]["threshold"]
    warning = "" if card["verified"]["status"] == "passed" else card["verified"]["sentence"]
    return f"""#ifndef MODEL_DATA_H
#define MODEL_DATA_H

#include <stddef.h>
#include <stdint.h>

#define MODEL_NAME {quoted(card["name"])}
/* Empty where the model was verified; else to be shown. */
#define MODEL_WARNING {quoted(warning)}
#define MODEL_SIZE {len(model)}u
#define MODEL_CRC32 {zlib.crc32(model)}u /* as zlib counts it */

/* Input: shape [1, height, width, 3], red first; a pixel u enters as u * multiply + add. */
#define MODEL_HEIGHT {height}
#define MODEL_WIDTH {width}
#define MODEL_PIXELS (MODEL_HEIGHT * MODEL_WIDTH * 3)
#define MODEL_FIT_CROP {int(crop)} /* 1: the centre is cut out; 0: all is squeezed */
#define MODEL_CENTRAL_FRACTION {fraction!r} /* the share of each side of that which the model sees */
#define MODEL_INPUT_IS_INTEGER {int(not entry["dtype"].startswith("float"))}
#define MODEL_INPUT_MULTIPLY {float(entry["multiply"])!r}
#define MODEL_INPUT_ADD {float(entry["add"])!r}
{_quantization("INPUT", entry)}typedef {_TYPES[entry["dtype"]]} model_input_t;

/* Output: shape [1, classes]. */
#define MODEL_CLASSES {len(card["labels"])}
{_quantization("OUTPUT", leave)}typedef {_TYPES[leave["dtype"]]} model_output_t;
#define MODEL_PROBABILITY(value) {value}

/* Below this probability the app says that it is not sure; 0: it always answers. */
#define MODEL_ABSTAIN_BELOW {float(threshold or 0)!r}
/* Several labels can hold at once: each from its least probability on. */
#define MODEL_MULTI_LABEL {int(card["task"]["kind"] == "multi-label")}
#define MODEL_LABEL_LEAST {{{_least(decision, len(card["labels"]))}}}

/* LiteRT reads the weights where they are, and asks for this alignment. */
#if defined(_MSC_VER)
#define MODEL_ALIGNED __declspec(align(64))
#else
#define MODEL_ALIGNED __attribute__((aligned(64)))
#endif
extern MODEL_ALIGNED const unsigned char model_data[MODEL_SIZE];
extern const char *const model_labels[MODEL_CLASSES]; /* UTF-8, in the order of the outputs */

#endif
"""


def _least(decision: dict[str, Any], count: int) -> str:
    """Where each label begins: its threshold less what rounding may take, or the next number above the common one."""
    if decision["label_threshold"] is None:
        return "0"
    common = math.nextafter(decision["label_threshold"], 2)
    own = decision["labels"]["thresholds"] if "labels" in decision else [None] * count
    return ", ".join(repr(common if t is None else t - 1e-7) for t in own)


def _quantization(side: str, tensor: dict[str, Any]) -> str:
    if tensor["scale"] is None:
        return ""
    return (
        f"#define MODEL_{side}_SCALE {float(tensor['scale'])!r}\n"
        f"#define MODEL_{side}_ZERO_POINT ({tensor['zero_point']})\n"
    )


def _model_source(card: dict[str, Any], model: bytes) -> str:
    labels = "".join(f"    {quoted(label)},\n" for label in card["labels"])
    rows = "\n".join(
        "    " + " ".join(f"{byte}," for byte in model[at : at + 20])
        for at in range(0, len(model), 20)
    )
    return f"""#include "model_data.h"

const char *const model_labels[MODEL_CLASSES] = {{
{labels}}};

/* sha256 {card["model"]["sha256"]} */
MODEL_ALIGNED const unsigned char model_data[MODEL_SIZE] = {{
{rows}
}};
"""


def _golden_header(golden: dict[str, Any]) -> str:
    reach = golden["tolerance"]["quanta"] * golden["tolerance"]["quantum"]
    return f"""#ifndef GOLDEN_CASES_H
#define GOLDEN_CASES_H

/* Names of files in the bundle; top1 is a class number, -1 where two classes are too close. */
typedef struct {{
    const char *name, *resized, *input, *output;
    int top1;
    const char *decoded; /* 0 for most: PNGs are not decoded here */
    int height, width;
}} golden_case;

#define GOLDEN_COUNT {len(golden["cases"])}
#define GOLDEN_TOLERANCE {float(reach)!r} /* in numbers of the output tensor */
extern const golden_case golden_cases[GOLDEN_COUNT];

#endif
"""


def _golden_source(golden: dict[str, Any], sample: Path, folder: str) -> str:
    rows = []
    for case in golden["cases"]:
        files = ", ".join(
            quoted(f"{folder}/{case[stage]['file']}") for stage in ("resized", "input", "output")
        )
        top = -1 if case["top1"] is None else case["top1"]["index"]
        decoded, size = "0", case["decoded"]
        if case["chosen"] == "shape":
            decoded = quoted((sample / _decoded(case)).as_posix())
        rows.append(
            f"    {{{quoted(case['image'])}, {files}, {top}, {decoded},"
            f" {size['height']}, {size['width']}}},\n"
        )
    return f"""#include "golden_cases.h"

const golden_case golden_cases[GOLDEN_COUNT] = {{
{"".join(rows)}}};
"""


def _decoded(case: dict[str, Any]) -> str:
    return f"decoded/{Path(case['image']).stem}.rgb"
