"""The web sample in a real Chromium, from its own server: a person's ways through it, and what it answers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import toys
from chromium import Tab, browser, needs_chromium
from PIL import Image
from toy_bundle import make_bundle, weight_at
from web_page import visited

from benchmarks.devices import litert_js
from edgecell.bundle.targets import SAMPLES
from edgecell.label_confidence import floored_labels, scaled
from edgecell.preprocess import PreprocessSpec, decode_file, resize
from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL

WEB = SAMPLES / "web"
SPEC = PreprocessSpec(toys.SIZE, toys.SIZE)
READY = "!document.querySelector('#test').disabled"
# LiteRT.js says on the console that there is no GPU, and what it starts up with.
CHATTER = ("GPU", "adapter", "INFO: ", "npu_registry")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile"), *CAMERA) as started:
        yield started.tab()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, litertjs: Path) -> Path:
    """A bundle of the toy with the packages that 'npm install' would give."""
    bundle = make_bundle(tmp_path_factory.mktemp("bundle") / "toy-web", ["web"])
    (bundle / "samples" / "web" / "node_modules").symlink_to(litertjs)
    return bundle


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "toy", symlinks=True))


@contextmanager
def opened(tab: Tab, bundle: Path, width: int = 1280, *, dark: bool = False) -> Iterator[Tab]:
    """The page, ready; at the end there was no error, and no request to anywhere else."""
    with visited(tab, bundle) as address:
        tab.errors.clear()
        tab.requests.clear()
        tab.show(address, width, dark=dark)
        tab.until(f"{READY} || document.querySelector('#problem').textContent")
        yield tab
        assert [said for said in tab.errors if not any(word in said for word in CHATTER)] == []
        origin = address.removesuffix("samples/web/")
        assert {url for url in tab.requests if not url.startswith((origin, "blob:"))} == set()
        assert any(url.endswith(".wasm") for url in tab.requests)


def text(tab: Tab, selector: str) -> str:
    return tab.js(f"document.querySelector('{selector}').textContent.trim()")


def answered(tab: Tab, name: str) -> str:
    """What the page answers to the image of that name, once it does."""
    tab.until(f"document.querySelector('#preview').alt.endsWith({json.dumps(name)})")
    return text(tab, "#answer")


def verdict(tab: Tab) -> list[str]:
    tab.click("#test")
    tab.until("document.querySelector('#verdict').textContent")
    return text(tab, "#verdict").splitlines()


def replace(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(old) == 1
    path.write_text(content.replace(old, new), encoding="utf-8")


def edit_card(bundle: Path, change: Callable[[dict], None]) -> None:
    card = json.loads((bundle / "model.json").read_text())
    change(card)
    (bundle / "model.json").write_text(json.dumps(card))


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A toy's image as a file that a person has."""
    pixels = toys.images(1, seed=11)[0][0]
    path = tmp_path / "cell.png"
    Image.fromarray(pixels).resize((90, 70)).save(path)
    return path


def expected(photograph: Path) -> np.ndarray:
    pixels = resize(decode_file(photograph), SPEC)
    return TFLitePredictor(toys.converted("int8")).predict(pixels[None])[0]


pytestmark = [needs_chromium, needs_node]


@pytest.mark.parametrize(
    ("precision", "fit", "fraction"),
    [("int8", "crop", 1.0), ("int8", "crop", 0.8), ("float16", "stretch", 0.875)],
)
def test_the_self_test_passes(tab, tmp_path, litertjs, precision, fit, fraction):
    bundle = make_bundle(tmp_path / "toy", ["web"], precision, fit=fit, fraction=fraction)
    (bundle / "samples" / "web" / "node_modules").symlink_to(litertjs)
    with opened(tab, bundle):
        assert verdict(tab) == ["PASS decode, resize, scale, inference: 32 images"]
        assert tab.js("document.querySelectorAll('#stages .good').length") == 4


@pytest.mark.parametrize(
    ("old", "new", "stage"),
    [
        ("data[to++] = rgba[from];", "data[to++] = rgba[from + 2];", "decode"),  # BGR
        ("(u) => levels[u])", "(_, i) => levels[data[i - (i % 3) + 2 - (i % 3)]])", "scale"),  # BGR
        ("u * multiply + add", "(u / 255) * multiply + add", "scale"),
        ("share / total", "j === 0", "resize"),  # no resize: one pixel is taken
        ("Math.max(ratio, 1)", "1", "resize"),  # no antialias
    ],
)
def test_other_pixels_are_named_by_stage(tab, bundle, old, new, stage):
    path = bundle / "samples" / "web" / "preprocess.js"
    replace(path, old, new)
    if "j === 0" in new:
        replace(path, "shares.map((share) =>", "shares.map((share, j) =>")
    with opened(tab, bundle):
        assert [re.match(r"FAIL (\w+): ", line)[1] for line in verdict(tab)] == [stage]
        assert text(tab, "#stages .bad").startswith(f"{stage}: ")
        good = tab.js(
            "[...document.querySelectorAll('#stages .good')].map(e => e.innerText.split(':')[0])"
        )
        assert set(good) == {"decode", "resize", "scale", "inference"} - {stage} - (
            {"resize"} if stage == "decode" else set()
        )


@pytest.mark.parametrize("covered_up", [False, True])
def test_a_changed_weight_is_a_fault_of_inference(tab, bundle, covered_up):
    data = bytearray((bundle / "model.tflite").read_bytes())
    data[weight_at(bytes(data))] ^= 0x80
    (bundle / "model.tflite").write_bytes(data)
    if covered_up:
        from edgecell.disk import sha256_bytes

        edit_card(bundle, lambda card: card["model"].update(sha256=sha256_bytes(bytes(data))))
    with opened(tab, bundle):
        [line] = verdict(tab)
        assert re.match(r"FAIL inference: \d+ faults?; first: \d\d.png differs in ", line)


def test_an_image_is_dropped_and_answered(tab, bundle, photograph):
    p = expected(photograph)
    order = np.argsort(-p, kind="stable")[:3]
    with opened(tab, bundle):
        assert text(tab, "#answer") == "No image yet"
        assert "Not for clinical use." in text(tab, ".notice")
        tab.drop("#frame", photograph)
        assert answered(tab, "cell.png") == toys.CLASSES[order[0]]
        rows = tab.js("[...document.querySelectorAll('#bars li')].map(row => row.innerText)")
        shown = [f"{toys.CLASSES[i]}\n{100 * p[i]:.1f} %" for i in order]
        assert [row.strip() for row in rows] == shown
        bar = tab.js("document.querySelector('.bar').getBoundingClientRect().width")
        track = tab.js("document.querySelector('.track').getBoundingClientRect().width")
        assert bar / track == pytest.approx(p[order[0]], abs=0.02)
        assert re.search(r"inference \d+\.\d ms", text(tab, "#times"))


def test_the_keyboard_is_enough(tab, bundle, photograph):
    with opened(tab, bundle):
        tab.js(
            "document.querySelector('#file').onclick = e => { e.preventDefault(); window.asked = 1 }"
        )
        tab.js("document.activeElement.blur()")
        seen = []
        for _ in range(3):
            tab.press("Tab")
            seen.append(tab.js("document.activeElement.id"))
        assert seen == ["choose", "camera", "test"]
        tab.js("document.querySelector('#choose').focus()")
        tab.press("Enter")
        assert tab.js("window.asked") == 1
        tab.choose("#file", photograph)
        assert answered(tab, "cell.png") == toys.CLASSES[expected(photograph).argmax()]


def test_a_screen_reader_is_told(tab, bundle, photograph):
    with opened(tab, bundle):
        tab.drop("#frame", photograph)
        answered(tab, "cell.png")
        tree = tab.call("Accessibility.getFullAXTree")["nodes"]
        told = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree
            if not node["ignored"]
        ]
        assert ("heading", "Answer") in told
        assert ("image", "The image that was classified: cell.png") in told
        assert ("list", "The most probable classes") in told
        assert {role for role, _ in told} >= {"main", "status", "region", "button"}
        unnamed = [
            role for role, name in told if role in ("button", "image", "region") and not name
        ]
        assert unnamed == []
        assert tab.js("document.querySelector('#answer').closest('[role=status]') !== null")


def test_the_camera_gives_an_image(tab, bundle):
    with opened(tab, bundle):
        tab.click("#camera")
        tab.until("document.activeElement.id === 'shoot'")
        tab.click("#shoot")
        assert answered(tab, "a picture from the camera") in toys.CLASSES
        assert tab.js("document.querySelector('#video').srcObject.active") is False
        tab.click("#camera")
        tab.until("document.activeElement.id === 'shoot'")
        tab.click("#stop")
        assert text(tab, "#answer") == "No image yet"
        assert tab.js("document.querySelector('#video').srcObject.active") is False


def test_below_its_threshold_it_is_not_sure(tab, bundle, photograph):
    highest = float(expected(photograph).max())

    def above(card: dict) -> None:
        card["decision"]["abstention"]["threshold"] = highest + 0.01
        card["verified"] = {"status": "failed", "sentence": "UNVERIFIED: do not ship it."}

    edit_card(bundle, above)
    with opened(tab, bundle):
        assert text(tab, "#unverified") == "UNVERIFIED: do not ship it."
        tab.drop("#frame", photograph)
        assert answered(tab, "cell.png") == "Not sure"
        said = f"answers from {100 * (highest + 0.01):.1f} % on; its best guess has {100 * highest:.1f} %"
        assert said in text(tab, "#reason")
        assert tab.js("document.querySelectorAll('.chosen').length") == 0


def test_of_several_labels_those_above_the_threshold_hold(tab, bundle, photograph):
    p = expected(photograph)
    third, second = np.argsort(p)[-3:-1]

    def several(card: dict) -> None:
        card["task"] = {"name": MULTI_LABEL, "kind": "multi-label"}
        card["decision"]["label_threshold"] = float(p[third])

    edit_card(bundle, several)
    held = [name for name, x in zip(toys.CLASSES, p, strict=True) if x >= p[second]]
    with opened(tab, bundle):
        tab.drop("#frame", photograph)
        assert answered(tab, "cell.png") == " and ".join(held)


def test_labels_with_thresholds_of_their_own(tab, bundle, photograph):
    """One that is reached, one a step too high, and two without: above the common one, not at it."""
    p = expected(photograph)
    low, third, second, high = (int(i) for i in np.argsort(p))
    own: list[float | None] = [None] * 4
    own[low], own[high] = float(p[low]), float(p[high]) + 1 / 256
    slopes, offsets = [0.5, 0.8, 1.0, 1.2], [0.1, 0.0, -0.5, 0.2]
    offsets[high] = -9.0  # shown last, and first by its own
    scaling = {"slopes": slopes, "offsets": offsets}

    def several(card: dict) -> None:
        card["task"] = {"name": MULTI_LABEL, "kind": "multi-label"}
        labels = {"thresholds": own, "scaling": scaling}
        card["decision"] |= {"label_threshold": float(p[third]), "labels": labels}

    edit_card(bundle, several)
    held = sorted((low, second))
    [shown] = scaled(floored_labels(p[None], 1 / 256), slopes, offsets)
    with opened(tab, bundle):
        tab.drop("#frame", photograph)
        assert answered(tab, "cell.png") == " and ".join(toys.CLASSES[i] for i in held)
        said = " and ".join(f"{100 * shown[i]:.1f} %" for i in held)
        assert text(tab, "#reason") == f"Probability {said}"
        rows = tab.js("[...document.querySelectorAll('#bars li')].map(row => row.innerText.trim())")
        order = [int(i) for i in np.lexsort((-p, -shown))]
        assert order != [int(i) for i in np.argsort(-p, kind="stable")] and order[-1] == high
        barred = [i for place, i in enumerate(order) if place < 3 or i in held]
        assert rows == [f"{toys.CLASSES[i]}\n{100 * shown[i]:.1f} %" for i in barred]

    def none_reached(card: dict) -> None:
        card["decision"]["labels"]["thresholds"] = [0.9999] * 4

    edit_card(bundle, none_reached)
    with opened(tab, bundle):
        tab.drop("#frame", photograph)
        assert answered(tab, "cell.png") == "None of the findings"
        assert text(tab, "#reason") == "No label reaches its threshold."


def test_what_is_no_image_is_said(tab, bundle, photograph, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with opened(tab, bundle):
        tab.drop("#frame", photograph)
        answered(tab, "cell.png")
        tab.drop("#frame", tmp_path / "notes.txt")
        tab.until("document.querySelector('#problem').textContent")
        assert text(tab, "#problem") == "notes.txt is no image that this browser reads."
        assert text(tab, "#answer") == "No answer"
        tab.drop("#frame", photograph)
        tab.until("!document.querySelector('#problem').textContent")


def test_an_input_that_litert_js_does_not_take_is_said(tab, tmp_path, litertjs):
    bundle = make_bundle(tmp_path / "toy", ["web"], "int8", "int8")
    (bundle / "samples" / "web" / "node_modules").symlink_to(litertjs)
    with visited(tab, bundle) as address:
        tab.show(address)
        tab.until("document.querySelector('#problem').textContent")
        assert "The model's input is int8, which LiteRT.js does not take" in text(tab, "#problem")
        assert tab.js(READY) is False


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_can_be_read_and_touched(tab, bundle, photograph, width, dark):
    with opened(tab, bundle, width, dark=dark):
        tab.drop("#frame", photograph)
        answered(tab, "cell.png")
        verdict(tab)
        assert tab.js("document.documentElement.scrollWidth") == width
        small = tab.js(
            "[...document.querySelectorAll('button')].filter(b => !b.hidden)"
            ".filter(b => b.getBoundingClientRect().height < 44).map(b => b.id)"
        )
        assert small == []
        pairs = tab.js(_COLOURS)
        assert len(pairs) > 10
        assert [pair for pair in pairs if contrast(*pair[1:]) < 4.5] == []
        ground = tab.js("getComputedStyle(document.body).backgroundColor")
        assert (contrast(ground, "rgb(0, 0, 0)") < 3) == dark


# Each element with words of its own: the words, its colour, the colour behind.
_COLOURS = """[...document.querySelectorAll('body *')]
  .filter(e => e.offsetParent && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
  .map(e => {
    let behind = e;
    while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
    return [e.textContent.trim(), getComputedStyle(e).color, getComputedStyle(behind).backgroundColor];
  })"""


def contrast(colour: str, behind: str) -> float:
    """The ratio of WCAG 2 for two "rgb(r, g, b)"."""

    def luminance(text: str) -> float:
        levels = np.array([int(n) for n in re.findall(r"\d+", text)[:3]]) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, dark = sorted([luminance(colour), luminance(behind)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_counts_as_wcag_does():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.005)


def test_it_installs_what_bench_measures_with():
    """One version of LiteRT.js in the repository, by the same hashes."""

    def locked(folder: Path) -> dict[str, str]:
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        assert all("resolved" not in entry for entry in packages.values())
        return {name: entry["integrity"] for name, entry in packages.items() if name}

    assert locked(WEB) == locked(litert_js.PAGE)
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert wanted == {litert_js.PACKAGE: litert_js.version()}


def predictions(tab: Tab, bundle: Path, files: list[Path]) -> list[dict]:
    """What the sample's modules give for image files, without its page: pixels and probabilities."""
    web = bundle / "samples" / "web"
    page = (web / "index.html").read_text()
    program = '<script type="module" src="app.js"></script>'
    assert page.count(program) == 1
    (web / "bare.html").write_text(page.replace(program, ""))
    for i, file in enumerate(files):
        shutil.copy(file, web / f"image-{i}{file.suffix}")
    names = [f"image-{i}{file.suffix}" for i, file in enumerate(files)]
    with visited(tab, bundle) as address:
        tab.show(f"{address}bare.html")
        return tab.js(
            f"""(async () => {{
              const {{ Classifier }} = await import(new URL("classifier.js", document.baseURI));
              const classifier = await Classifier.open(new URL("../../", document.baseURI));
              const found = [];
              for (const name of {json.dumps(names)}) {{
                const blob = await (await fetch(name)).blob();
                const {{ probabilities, pixels }} = await classifier.predict(blob);
                found.push({{ probabilities, pixels: Array.from(pixels.data) }});
              }}
              return found;
            }})()"""
        )


def check_equal(found: list[dict], files: list[Path], predictor: TFLitePredictor) -> None:
    assert len(found) == len(files)
    for file, answer in zip(files, found, strict=True):
        pixels = resize(decode_file(file), SPEC)
        np.testing.assert_array_equal(answer["pixels"], pixels.ravel(), err_msg=file.name)
        [p] = predictor.predict(pixels[None])
        np.testing.assert_array_equal(np.float32(answer["probabilities"]), p, err_msg=file.name)


def test_predictions_are_python_s(tab, bundle, tmp_path):
    random = np.random.default_rng(7)
    files = []
    for number, (height, width) in enumerate([(16, 16), (200, 31), (5, 300), (97, 128)]):
        noise = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        files.append(tmp_path / f"{number}.png")
        noise.save(files[-1])
    turned = Image.Exif()
    turned[0x0112] = 6
    smooth = Image.fromarray(toys.images(1, seed=3)[0][0]).resize(
        (64, 40), Image.Resampling.BICUBIC
    )
    smooth.save(tmp_path / "turned.jpg", quality=95, exif=turned)
    smooth.convert("L").save(tmp_path / "grey.png")
    files += [tmp_path / "turned.jpg", tmp_path / "grey.png"]
    found = predictions(tab, bundle, files)
    check_equal(found, files, TFLitePredictor(bundle / "model.tflite"))


@pytest.mark.needs_shared
def test_predictions_on_real_images_are_python_s(tab, bundle, shared):
    """JPEGs of two data sets, square and not: the same pixels, the same answers."""
    folders = [*sorted((shared / "data/pbc128/test").iterdir())]
    folders += sorted((shared / "data/bloodcells4/TEST").iterdir())
    files = [file for folder in folders for file in sorted(folder.iterdir())[:20]]
    found = predictions(tab, bundle, files)
    check_equal(found, files, TFLitePredictor(bundle / "model.tflite"))
    assert len({int(np.argmax(answer["probabilities"])) for answer in found}) > 1
