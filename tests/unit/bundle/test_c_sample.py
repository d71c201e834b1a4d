"""The C sample, compiled without a warning and run on LiteRT's library; what is spoiled is named."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image
from toy_bundle import make_bundle, weight_at

from edgecell.bundle.c_source import quoted
from edgecell.preprocess import PreprocessSpec, resize
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL

LITERT = Path(find_spec("ai_edge_litert").origin).parent  # find_spec does not load it
GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(
    GCC is None or shutil.which("make") is None, reason="no gcc and make to compile the C sample"
)
needs_library = pytest.mark.skipif(
    not (LITERT / "libLiteRt.so").is_file(), reason="this ai-edge-litert has no libLiteRt.so"
)
pytestmark = [needs_gcc, needs_library]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "toy-c", ["c"])


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "toy"))


def run(bundle: Path, *words: str, target: str = "classify") -> subprocess.CompletedProcess[str]:
    """Compile with the sample's own Makefile, run in its folder."""
    folder = bundle / "samples" / "c"
    order = ["make", "-s", f"CC={GCC}", f"LITERT={LITERT}", target]
    compiled = subprocess.run(order, cwd=folder, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    program = [f"./{target}", *words]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=60)


def failures(bundle: Path) -> list[str]:
    """The stages that the self-test names."""
    done = run(bundle)
    assert done.returncode == 1, done.stdout
    return [re.fullmatch(r"FAIL (\w+): .*", line)[1] for line in done.stdout.splitlines()]


def spoil(bundle: Path, name: str, old: str, new: str) -> None:
    path = bundle / "samples" / "c" / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def cell(folder: Path) -> tuple[str, str, str]:
    """The words that classify one image of the toy's."""
    path = folder / "cell.rgb"
    path.write_bytes(toys.images(1, seed=11)[0].tobytes())
    return str(path), str(toys.SIZE), str(toys.SIZE)


@pytest.mark.parametrize(
    ("precision", "input_type", "fit", "fraction"),
    [
        ("int8", None, "stretch", 1.0),
        ("int8", "int8", "crop", 0.8),
        ("int8", "float32", "stretch", 0.875),
        ("int16x8", "int16", "stretch", 1.0),
        ("float16", None, "crop", 1.0),
    ],
)
def test_it_passes_whatever_the_precision(tmp_path, precision, input_type, fit, fraction):
    bundle = make_bundle(tmp_path / "toy", ["c"], precision, input_type, fit=fit, fraction=fraction)
    done = run(bundle)
    assert (done.returncode, done.stdout) == (0, "PASS resize, scale, inference: 32 images\n")


def test_without_a_runtime_the_rest_is_tested(bundle):
    done = run(bundle, target="without-runtime")
    said = "PASS resize, scale: 32 images; inference was not tried\n"
    assert (done.returncode, done.stdout) == (0, said)
    spoil(bundle, "model_data.h", "#define MODEL_CRC32 ", "#define MODEL_CRC32 1 + ")
    done = run(bundle, target="without-runtime")
    assert (done.returncode, done.stdout[:14]) == (1, "FAIL inference")


@pytest.mark.parametrize(
    ("old", "new", "stage"),
    [
        ("pixels[i] * MODEL", "pixels[i - i % 3 + 2 - i % 3] * MODEL", "scale"),  # BGR
        ("pixels[i] * MODEL", "pixels[i] / 255.0 * MODEL", "scale"),
        ("(size_t)channel]", "(size_t)(out->step == 3 ? 2 - channel : channel)]", "resize"),  # BGR
        ("0.5 + share[j] / total *", "(j == 0) *", "resize"),  # one pixel is taken, the rest left
        ("const double stretch = ratio > 1.0 ? ratio :", "const double stretch =", "resize"),
    ],
)
def test_other_pixels_are_named_by_stage(bundle, old, new, stage):
    spoil(bundle, "preprocess.c", old, new)
    assert failures(bundle) == [stage]


@pytest.mark.parametrize("covered_up", [False, True])
def test_a_changed_weight_is_a_fault_of_inference(bundle, covered_up):
    data = bytearray((bundle / "model.tflite").read_bytes())
    at = weight_at(bytes(data))
    path = bundle / "samples" / "c" / "model_data.c"
    head, array = path.read_text().split("[MODEL_SIZE] = {\n")
    numbers = array.split("}")[0].split()
    assert bytes(int(n.rstrip(",")) for n in numbers) == bytes(data)
    data[at] ^= 0x80
    numbers[at] = f"{data[at]},"
    path.write_text(f"{head}[MODEL_SIZE] = {{\n{' '.join(numbers)}}};\n")
    if covered_up:
        import zlib

        header = path.with_suffix(".h")
        sum_of = zlib.crc32(data)
        header.write_text(re.sub(r"(CRC32) \d+", rf"\1 {sum_of}", header.read_text()))
    assert failures(bundle) == ["inference"] * (1 if covered_up else 2)


def test_a_missing_golden_file_is_no_pass(bundle):
    (bundle / "golden" / "07.rgb").unlink()
    done = run(bundle)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot read ../../golden/07.rgb" in done.stderr


def test_answers_are_edgecell_s(bundle, tmp_path):
    predictor = TFLitePredictor(bundle / "model.tflite")
    images, _ = toys.images(3, seed=11)
    for pixels in (*images, np.array(Image.fromarray(images[0]).resize((37, 61)))):
        (tmp_path / "cell.rgb").write_bytes(pixels.tobytes())
        height, width = pixels.shape[:2]
        done = run(bundle, str(tmp_path / "cell.rgb"), str(height), str(width))
        small = resize(pixels, PreprocessSpec(toys.SIZE, toys.SIZE))
        [p] = predictor.predict(small[None])
        said = ", ".join(f"{name} {x:.3f}" for name, x in zip(toys.CLASSES, p, strict=True))
        assert done.stdout == f"{toys.CLASSES[p.argmax()]} ({said})\n"


def test_threshold_warning_and_odd_labels_arrive(tmp_path):
    labels = ('say "no"', "what??/", "back\\slash", "größer")
    decision = {"abstention": {"threshold": 1.5}}
    bundle = make_bundle(
        tmp_path / "toy", ["c"], labels=labels, verdict="failed", decision=decision
    )
    done = run(bundle, *cell(tmp_path))
    assert done.stdout.startswith("not sure (")
    assert all(label in done.stdout for label in labels)
    assert "WARNING: UNVERIFIED: this file FAILED verify" in done.stderr


def test_of_several_labels_those_above_the_threshold_hold(tmp_path):
    [p] = TFLitePredictor(toys.converted("int8")).predict(toys.images(1, seed=11)[0])
    third, second = np.argsort(p)[-3:-1]
    decision = {"label_threshold": float(p[third])}
    bundle = make_bundle(tmp_path / "toy", ["c"], task=MULTI_LABEL, decision=decision)
    held = [name for name, x in zip(toys.CLASSES, p, strict=True) if x >= p[second]]
    assert run(bundle, *cell(tmp_path)).stdout.startswith(f"{' and '.join(held)} (")


def test_labels_with_thresholds_of_their_own(tmp_path):
    """One that is reached, one a step too high, and two without: above the common one, not at it."""
    [p] = TFLitePredictor(toys.converted("int8")).predict(toys.images(1, seed=11)[0])
    low, third, second, high = (int(i) for i in np.argsort(p))
    own: list[float | None] = [None] * 4
    own[low], own[high] = float(p[low]), float(p[high]) + 1 / 256
    decision = {"label_threshold": float(p[third]), "labels": {"thresholds": own}}
    bundle = make_bundle(tmp_path / "toy", ["c"], task=MULTI_LABEL, decision=decision)
    held = [toys.CLASSES[i] for i in sorted((low, second))]
    assert p[third] < p[second]
    assert run(bundle, *cell(tmp_path)).stdout.startswith(f"{' and '.join(held)} (")


def test_a_literal_hides_what_c_would_read():
    assert quoted('a"b') == '"a\\042b"'
    assert quoted("?\\é") == '"\\077\\134\\303\\251"'
