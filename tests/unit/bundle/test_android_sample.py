"""The Android sample without Android: its arithmetic on a JVM, the rest compiled against stubs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from android_stubs import write_stubs
from PIL import Image
from toy_bundle import make_bundle

KOTLINC = shutil.which("kotlinc")
needs_kotlin = pytest.mark.skipif(
    KOTLINC is None or shutil.which("java") is None,
    reason="no Kotlin compiler here; on Debian: apt-get install kotlin default-jre-headless",
)
PREPROCESS = "src/main/kotlin/edgecell/sample/Preprocess.kt"
CLASSIFIER = "src/main/kotlin/edgecell/sample/Classifier.kt"
TEST = "src/androidTest/kotlin/edgecell/sample/GoldenTest.kt"

# Golden images through Preprocess: a line of the list names decoded, height, width, resized and input.
CHECK = """
package edgecell.sample

import java.io.File

fun main(words: Array<String>) {
    val (list, height, width, crop, dtype) = words
    val faults = mutableMapOf("resize" to 0, "scale" to 0)
    for (line in File(list).readLines()) {
        val (decoded, h, w, resized, input) = line.split("\\t")
        val image = Pixels(w.toInt(), h.toInt(), File(decoded).readBytes())
        val fraction = words[7].toDouble()
        val small = Preprocess.resize(image, width.toInt(), height.toInt(), crop == "crop", fraction)
        val expected = File(resized).readBytes()
        if (!small.data.contentEquals(expected)) faults["resize"] = faults["resize"]!! + 1
        val right = Pixels(width.toInt(), height.toInt(), expected)
        val tensor = Preprocess.scale(right, dtype, words[5].toDouble(), words[6].toDouble())
        val found = ByteArray(tensor.remaining())
        tensor.get(found)
        if (!found.contentEquals(File(input).readBytes())) faults["scale"] = faults["scale"]!! + 1
    }
    println(faults.filterValues { it > 0 }.keys.joinToString(" ").ifEmpty { "PASS" })
}
"""


def compile_kotlin(output: Path, *sources: Path) -> list[str]:
    """What the compiler complains of; the classes go to ``output``."""
    order = [KOTLINC, "-d", output, *sources]
    done = subprocess.run(order, capture_output=True, text=True, timeout=300)
    found = [line for line in done.stderr.splitlines() if "error: " in line]
    assert bool(found) == (done.returncode != 0), done.stderr
    return found


def stages(bundle: Path, scratch: Path) -> str:
    """What the JVM says of the bundle's golden images: PASS, or the stages that differ."""
    sample = bundle / "samples" / "android"
    (scratch / "Check.kt").write_text(CHECK)
    assert compile_kotlin(scratch / "classes", sample / PREPROCESS, scratch / "Check.kt") == []
    card = json.loads((bundle / "model.json").read_text())
    golden = bundle / "golden"
    lines = []
    for case in json.loads((golden / "golden.json").read_text())["cases"]:
        pixels = np.asarray(Image.open(golden / case["image"]))
        decoded = scratch / f"{case['image']}.rgb"
        decoded.write_bytes(pixels.tobytes())
        files = [golden / case[stage]["file"] for stage in ("resized", "input")]
        lines.append("\t".join(map(str, [decoded, *pixels.shape[:2], *files])))
    (scratch / "list").write_text("\n".join(lines))
    size, entry = card["preprocessing"]["resize"], card["input"]
    words = [size["height"], size["width"], card["preprocessing"]["fit"]["mode"]]
    words += [entry["dtype"], entry["multiply"], entry["add"]]
    words.append(card["preprocessing"]["fit"].get("central_fraction", 1.0))
    library = Path(os.path.realpath(KOTLINC)).parents[1] / "lib" / "kotlin-stdlib.jar"
    order = [
        "java",
        "-cp",
        f"{scratch / 'classes'}{os.pathsep}{library}",
        "edgecell.sample.CheckKt",
    ]
    done = subprocess.run(
        [*order, scratch / "list", *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_kotlin
@pytest.mark.parametrize(
    ("precision", "input_type", "fit", "fraction"),
    [
        ("int8", None, "crop", 0.8),
        pytest.param("int8", None, "crop", 1.0, marks=pytest.mark.slow),
        pytest.param("int8", "int8", "stretch", 1.0, marks=pytest.mark.slow),
        pytest.param("float16", None, "stretch", 0.875, marks=pytest.mark.slow),
    ],
)
def test_the_golden_pixels_come_out(tmp_path, precision, input_type, fit, fraction):
    bundle = make_bundle(
        tmp_path / "toy", ["android"], precision, input_type, fit=fit, fraction=fraction
    )
    assert stages(bundle, tmp_path) == "PASS"


@needs_kotlin
@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "stage"),
    [
        (  # BGR
            "for (byte in image.data) {",
            "for (i in image.data.indices) {\nval byte = image.data[i - i % 3 + 2 - i % 3]",
            "scale",
        ),
        ("0xff) * multiply", "0xff) / 255 * multiply", "scale"),
        ("val stretch = max(ratio, 1.0)", "val stretch = 1.0", "resize"),
    ],
)
def test_other_pixels_are_named_by_stage(tmp_path, old, new, stage):
    bundle = make_bundle(tmp_path / "toy", ["android"])
    path = bundle / "samples" / "android" / PREPROCESS
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    assert stages(bundle, tmp_path) == stage


@needs_kotlin
def test_it_compiles_against_the_stubs(tmp_path):
    sample = make_bundle(tmp_path / "toy", ["android"]) / "samples" / "android"
    sources = [sample / name for name in (PREPROCESS, CLASSIFIER, TEST)]
    stubs = write_stubs(tmp_path / "stubs")
    assert compile_kotlin(tmp_path / "classes", *sources, stubs) == []
    text = sources[1].read_text()
    sources[1].write_text(text.replace("decoder.allocator =", "decoder.alocator ="))
    assert any("alocator" in line for line in compile_kotlin(tmp_path / "c", *sources, stubs))


def test_the_assets_are_the_bundle_s(tmp_path):
    bundle = make_bundle(tmp_path / "toy", ["android"])
    assets = bundle / "samples" / "android" / "src" / "main" / "assets"
    assert (assets / "model.tflite").read_bytes() == (bundle / "model.tflite").read_bytes()
    card = json.loads((bundle / "model.json").read_text())
    assert card.pop("files")  # the list of the bundle's files, these assets among them
    assert card.pop("seal")  # of the whole
    assert json.loads((assets / "model.json").read_text()) == card


def test_every_key_it_reads_is_there(tmp_path):
    """A name in Kotlin that model.json or golden.json does not have would only fail on a device."""
    labels = {"thresholds": [0.2] * 4, "scaling": {"slopes": [1.0] * 4, "offsets": [0.0] * 4}}
    decision = {"labels": labels}
    bundle = make_bundle(tmp_path / "toy", ["android"], fraction=0.875, decision=decision)
    known: set[str] = set()

    def collect(node: object) -> None:
        for key, value in node.items() if isinstance(node, dict) else ():
            known.add(key)
            collect(value)
        for value in node if isinstance(node, list) else ():
            collect(value)

    for name in ("model.json", "golden/golden.json"):
        collect(json.loads((bundle / name).read_text()))
    sample = bundle / "samples" / "android"
    text = "".join((sample / name).read_text() for name in (CLASSIFIER, TEST))
    asked = set(re.findall(r'(?:get\w+|opt\w+|isNull|stored\(case,)\(?\s?"(\w+)"', text)) - {"SHA"}
    assert len(asked) > 25
    assert asked <= known
