"""Classify images with the model of this bundle, or test that it does here what it did when it was made.

    python classify.py cell.jpg other.png
    python classify.py --self-test

Every number comes from ../../model.json. Not a medical device; not for clinical use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

BUNDLE = Path(__file__).resolve().parents[2]
STAGES = ("decode", "resize", "scale", "inference")
FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "TIFF",
    "WEBP",
    "GIF",
)  # of what Pillow reads, none starts a program


def decode(path: Path, rules: dict) -> np.ndarray:
    """An image file → uint8 RGB (h, w, 3), upright."""
    with Image.open(path, formats=FORMATS) as stored:
        if stored.width * stored.height > rules["max_pixels"]:
            raise ValueError(f"it has more than {rules['max_pixels']:,} pixels")
        if min(stored.width, stored.height) < 2:
            raise ValueError("it has a side of one pixel")
        image = ImageOps.exif_transpose(stored)
        if image.mode == "F":
            raise ValueError("floating-point pixels have no agreed range")
        if image.mode.startswith("I"):  # 16-bit grey
            grey = np.asarray(image).astype(np.int64)
            if grey.min() < 0 or grey.max() > 65535:
                raise ValueError(f"pixel values {grey.min()} to {grey.max()}, allowed 0 to 65535")
            grey //= rules["grey16_divide"]
            return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = np.asarray(image.convert("RGBA")).astype(np.uint32)
            return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)  # over black
        return np.array(image.convert("RGB"))


def resize(image: np.ndarray, preprocessing: dict) -> np.ndarray:
    """uint8 (h, w, 3) → the model's size. Pillow's bilinear is the filter that model.json states."""
    height, width = preprocessing["resize"]["height"], preprocessing["resize"]["width"]
    h, w = image.shape[:2]
    fit, high, wide = preprocessing["fit"], float(h), float(w)
    if fit["mode"] == "crop":
        side = min(h / height, w / width)
        high, wide = side * height, side * width
    fraction = fit.get("central_fraction", 1.0)
    crop_h = min(h, max(1, round(high * fraction)))
    crop_w = min(w, max(1, round(wide * fraction)))
    if crop_h * width > preprocessing["decode"]["max_pixels"]:  # what the first pass would make
        raise ValueError(f"{w}×{h} pixels are too few columns for so many rows")
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    image = image[top : top + crop_h, left : left + crop_w]
    picture = Image.fromarray(np.ascontiguousarray(image))
    # One pass at a time, horizontal first: left to itself, Pillow 13 sometimes turns the order round.
    for size in ((width, picture.height), (width, height)):
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)


def scale(pixels: np.ndarray, entry: dict) -> np.ndarray:
    """uint8 (height, width, 3) → the input tensor, (1, height, width, 3)."""
    values = pixels * float(entry["multiply"]) + entry["add"]
    if not entry["dtype"].startswith("float"):
        values = np.rint(values)
    return values.astype(entry["dtype"])[None]


class Classifier:
    """The model of a bundle; ``card`` is its model.json."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.card = json.loads((bundle / "model.json").read_text(encoding="utf-8"))
        if self.card["schema"] != "edgecell/bundle" or self.card["schema_version"] > 2:
            raise ValueError("model.json is of a newer kind than this sample knows")
        self.data = (bundle / self.card["model"]["file"]).read_bytes()
        self.interpreter = Interpreter(model_content=self.data, num_threads=1)
        self.interpreter.allocate_tensors()
        self.entry = self.interpreter.get_input_details()[0]["index"]
        self.leave = self.interpreter.get_output_details()[0]["index"]

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        """The input tensor → the output tensor's own numbers, (classes,)."""
        self.interpreter.set_tensor(self.entry, tensor)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.leave)[0]

    def probabilities(self, path: Path) -> np.ndarray:
        """An image file → what the model says of each class, 0 … 1."""
        steps = self.card["preprocessing"]
        pixels = resize(decode(path, steps["decode"]), steps)
        raw = self.infer(scale(pixels, self.card["input"]))
        leave = self.card["output"]
        if leave["scale"] is None:
            return raw.astype(np.float64)
        return (raw.astype(np.float64) - leave["zero_point"]) * leave["scale"]

    def calibrated(self, p: np.ndarray) -> np.ndarray:
        """Probabilities to show people: with the temperature, or each label's scaling, where there is one."""
        temperature = self.card["decision"]["temperature"]
        scaling = self.card["decision"].get("labels", {}).get("scaling")
        if scaling:
            kept = p.clip(temperature["floor"], 1 - temperature["floor"])
            logits = np.log(kept / (1 - kept)) * scaling["slopes"] + scaling["offsets"]
            return 1 / (1 + np.exp(-logits))
        if not temperature["use"]:
            return p
        logits = np.log(np.maximum(p, temperature["floor"])) / temperature["value"]
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()

    def answer(self, p: np.ndarray) -> list[str]:
        """The labels to show: one, several where several can hold, none where it is not sure."""
        labels, decision = self.card["labels"], self.card["decision"]
        if self.card["task"]["kind"] == "multi-label":
            own = decision["labels"]["thresholds"] if "labels" in decision else [None] * len(p)
            other = decision["label_threshold"]
            return [
                label
                for label, x, least in zip(labels, p, own, strict=True)
                if (x > other if least is None else x >= least - 1e-7)
            ]
        threshold = decision["abstention"]["threshold"]
        if threshold is not None and p.max() < threshold - 1e-7:
            return []
        return [labels[int(p.argmax())]]


def self_test(model: Classifier) -> list[str]:
    """What differs from the golden images, a line for each stage; empty where nothing does.

    Each stage is fed what the stage before should have given, so that one fault is not four.
    """
    card, bundle = model.card, model.bundle
    golden = json.loads((bundle / card["golden"]["file"]).read_text(encoding="utf-8"))
    folder = (bundle / card["golden"]["file"]).parent
    steps, entry = card["preprocessing"], card["input"]
    shape = (steps["resize"]["height"], steps["resize"]["width"], 3)
    reach = golden["tolerance"]["quanta"] * golden["tolerance"]["quantum"]
    wrong: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for case in golden["cases"]:
        name, expected = case["image"], case["decoded"]
        seen = decode(folder / name, steps["decode"])
        if seen.shape != (expected["height"], expected["width"], 3):
            wrong["decode"].append(f"{name} has shape {seen.shape}")
        elif zlib.crc32(seen.tobytes()) != expected["crc32"]:
            wrong["decode"].append(f"{name} has other pixels")
        else:
            pixels = np.fromfile(folder / case["resized"]["file"], np.uint8).reshape(shape)
            _compare(resize(seen, steps), pixels, 0, name, wrong["resize"])
        pixels = np.fromfile(folder / case["resized"]["file"], np.uint8).reshape(shape)
        tensor = np.fromfile(folder / case["input"]["file"], entry["dtype"])
        tensor = tensor.reshape(entry["shape"])
        _compare(scale(pixels, entry), tensor, 0, name, wrong["scale"])
        output = np.fromfile(folder / case["output"]["file"], card["output"]["dtype"])
        found = model.infer(tensor)
        if _compare(found, output, reach, name, wrong["inference"]):
            top = case["top1"]
            if top is not None and int(found.argmax()) != top["index"]:
                wrong["inference"].append(f"{name} is not {top['label']}")
    lines = [
        f"FAIL {stage}: {len(found)} of {len(golden['cases'])} images; first: {found[0]}"
        for stage, found in wrong.items()
        if found
    ]
    digest = hashlib.sha256(model.data).hexdigest()
    if digest != card["model"]["sha256"]:
        lines.append(
            f"FAIL inference: {card['model']['file']} was altered, its sha256 is {digest[:12]}…,"
            f" model.json says {card['model']['sha256'][:12]}…"
        )
    if "seal" in card and card["seal"] != seal(card):
        lines.append("FAIL model.json: it was altered, its seal is not that of its content")
    return lines


def seal(card: dict) -> str:
    """The sha256 of model.json without its own seal: labels and thresholds are those it was made with."""
    plain = {key: value for key, value in card.items() if key != "seal"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _compare(
    found: np.ndarray, expected: np.ndarray, reach: float, name: str, wrong: list[str]
) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        wrong.append(
            f"{name} gives {found.dtype} {found.shape}, not {expected.dtype} {expected.shape}"
        )
        return False
    off = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if not off.max() <= reach:
        wrong.append(
            f"{name} differs in {np.count_nonzero(~(off <= reach)):,} of {off.size:,} values,"
            f" by up to {off.max():g}; allowed {reach:g}"
        )
        return False
    return True


def main() -> int:
    """The command line; 0 where all is well."""
    parser = argparse.ArgumentParser(description="Classify images with the model of this bundle.")
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--self-test", action="store_true", help="run the golden images")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="folder with model.json")
    options = parser.parse_args()
    if not options.images and not options.self_test:
        parser.error("name an image, or give --self-test")
    for path in options.images:
        if not path.is_file():
            parser.error(f"there is no image {path}")
    model = Classifier(options.bundle)
    if model.card["verified"]["status"] != "passed":
        print(f"WARNING: {model.card['verified']['sentence']}", file=sys.stderr)
    if options.self_test:
        wrong = self_test(model)
        print(
            "\n".join(wrong) or f"PASS {', '.join(STAGES)}: {model.card['golden']['count']} images"
        )
        return 1 if wrong else 0
    unread = 0
    for path in options.images:
        try:
            p = model.probabilities(path)
        except Exception as error:  # whatever Pillow makes of a damaged file
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"{path}: not read: {reason}", file=sys.stderr)
            unread += 1
            continue
        shown = model.calibrated(p)
        # Labels that are scaled one by one can change places; a temperature changes no order.
        by = shown if model.card["task"]["kind"] == "multi-label" else p
        top = ", ".join(
            f"{model.card['labels'][i]} {shown[i]:.3f}" for i in np.lexsort((-p, -by))[:3]
        )
        print(f"{path.name}: {' and '.join(model.answer(p)) or 'not sure'} ({top})")
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
