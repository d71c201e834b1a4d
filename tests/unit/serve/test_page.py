"""The page in a real browser: several images at once, keyboard, self-test, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys
import toys_labels
from asked import label_calibration, make_bundle, make_run, save_pictures
from chromium import Tab, browser, needs_chromium
from PIL import Image
from served import Client, serving

from edgecell.runtime import TFLitePredictor
from edgecell.tasks import MULTI_LABEL

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def client(bundle: Path):
    with serving(bundle) as client:
        yield client


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def tab(chromium, client: Client):
    tab = chromium.tab()
    tab.show(f"http://127.0.0.1:{client.port}/")
    tab.until("!document.querySelector('#choose').disabled")
    yield tab
    assert tab.errors == []
    assert all(
        url.startswith((f"http://127.0.0.1:{client.port}/", "blob:")) for url in tab.requests
    )


def choose(tab: Tab, files: list[Path]) -> None:
    found = tab.call("Runtime.evaluate", expression="document.querySelector('#file')")
    names = [str(file) for file in files]
    tab.call("DOM.setFileInputFiles", files=names, objectId=found["result"]["objectId"])


def texts(tab: Tab, selector: str) -> list[str]:
    return tab.js(f"[...document.querySelectorAll('{selector}')].map((e) => e.textContent)")


def test_several_images_get_their_answers(tab, client, tmp_path):
    pictures = save_pictures(tmp_path, 5)
    (tmp_path / "broken.png").write_bytes(pictures[0].read_bytes()[:50])
    choose(tab, [*pictures, tmp_path / "broken.png"])
    tab.until("document.querySelector('#status').textContent === '6 images'")
    names = texts(tab, "article h3")
    assert names == [*(p.name for p in pictures), "broken.png"]
    answers = texts(tab, "article .answer")
    for path, shown in zip(pictures, answers, strict=False):
        _, told = client.told("POST", "/api/classify", path.read_bytes())
        assert shown == (told["answer"][0] if told["answer"] else "Not sure")
    assert "corrupt image" in answers[-1]
    assert len(tab.errors) == 1 and "422" in tab.errors.pop()  # the browser's own remark on it
    assert len(texts(tab, "article:first-child .bars li")) == 3
    first = texts(tab, "article:first-child .bars li:first-child .share")[0]
    assert first.count("%") == 2  # calibrated, and its own in brackets
    assert "Candidates: " in texts(tab, "article:first-child .set")[0]
    assert "inference" in texts(tab, "article:first-child .times")[0]
    widths = tab.js(
        "[...document.querySelectorAll('article:first-child .bar')].map((b) => b.clientWidth)"
    )
    assert widths == sorted(widths, reverse=True) and widths[0] > 2 * widths[-1] > 0


def test_several_labels_are_all_shown(chromium, tmp_path):
    file = make_run(tmp_path, toys_labels.converted("int8"), toys_labels.LABELS, task=MULTI_LABEL)
    pixels, _ = toys_labels.images(300, seed=8)
    said = TFLitePredictor(toys_labels.converted("int8")).predict(pixels) > 0.5
    pictures = []
    for count in (0, 4):  # an image without any label, and one with all four
        pictures.append(tmp_path / f"{count}.png")
        Image.fromarray(pixels[said.sum(axis=1) == count][0]).save(pictures[-1])
    with serving(file) as client:
        tab = chromium.tab()
        tab.show(f"http://127.0.0.1:{client.port}/")
        tab.until("!document.querySelector('#choose').disabled")
        [about] = texts(tab, "#about")
        assert about == f"Decides each of 4 labels by itself: {', '.join(toys_labels.LABELS)}"
        choose(tab, pictures)
        tab.until("document.querySelector('#status').textContent === '2 images'")
        none, every = texts(tab, "article .answer")
        assert none == "None of the findings" and set(every.split(" and ")) == set(
            toys_labels.LABELS
        )
        assert len(texts(tab, "article:first-child .bars li")) == 3
        assert len(texts(tab, "article:last-child .bars li.chosen")) == 4
        assert tab.errors == []


def test_an_image_can_be_dropped_anywhere(tab, tmp_path):
    [picture] = save_pictures(tmp_path, 1)
    tab.drop("#frame", picture)
    tab.until("document.querySelector('#status').textContent === '1 image'")
    tab.click("#clear")
    assert texts(tab, "article") == [] and texts(tab, "#status") == ["No image yet"]
    assert tab.js("document.activeElement.id") == "choose"


def test_names_of_files_are_no_markup(tab, tmp_path):
    [picture] = save_pictures(tmp_path, 1)
    rude = picture.rename(tmp_path / "<img src=x onerror=alert(1)>.png")
    choose(tab, [rude])
    tab.until("document.querySelector('#status').textContent === '1 image'")
    assert (
        texts(tab, "h3") == [rude.name] and tab.js("document.querySelectorAll('h3 *').length") == 0
    )


def test_the_self_test_can_be_run_from_the_keyboard(tab):
    tab.press("Tab")
    order = []
    for _ in range(4):
        order.append(tab.js("document.activeElement.id"))
        if order[-1] == "test":
            break
        tab.press("Tab")
    assert order == ["choose", "test"]
    tab.press("Enter")
    tab.until("document.querySelector('#verdict').className === 'good'")
    assert texts(tab, "#verdict") == ["PASS decode, resize, scale, inference: 32 images"]
    assert len(texts(tab, "#stages .good")) == 4


def test_what_a_screen_reader_is_told(tab, tmp_path):
    choose(tab, save_pictures(tmp_path, 1))
    tab.until("document.querySelector('#status').textContent === '1 image'")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    seen = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if "role" in n]
    roles = {role for role, _ in seen}
    assert {"main", "banner", "heading", "button", "status", "list", "region"} <= roles
    unnamed = [role for role, name in seen if role in ("button", "region", "link") and not name]
    assert unnamed == []
    assert ("heading", "cell 000.png") in seen
    [said] = texts(tab, "#said p")
    name, answer, reason = texts(tab, "h3") + texts(tab, "article .answer, article .reason")
    assert said == f"{name}: {answer}. {reason}"
    assert ("log", "Answers as they come") in seen
    tab.click("#clear")
    assert texts(tab, "#said p") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(chromium, client, tmp_path, width):
    tab = chromium.tab()
    tab.show(f"http://127.0.0.1:{client.port}/", width)
    tab.until("!document.querySelector('#choose').disabled")
    [picture] = save_pictures(tmp_path, 1)
    choose(tab, [picture.rename(tmp_path / ("long-name-" * 12 + ".png"))])
    tab.until("document.querySelector('#status').textContent === '1 image'")
    assert tab.js("document.documentElement.scrollWidth") <= width
    small = tab.js(
        "[...document.querySelectorAll('button')].filter((b) => b.offsetParent && b.offsetHeight < 44).length"
    )
    assert small == 0


def test_labels_are_called_from_their_thresholds_on(chromium, tmp_path):
    data = toys_labels.converted("int8")
    [pixels], _ = toys_labels.images(1, seed=8)
    Image.fromarray(pixels).save(tmp_path / "cell.png")
    [p] = TFLitePredictor(data).predict(pixels[None])
    least = int(p.argmin())  # called alone: its threshold is 0, the others' out of reach
    names = toys_labels.LABELS
    for limits, said in (
        ({name: 0.0 if i == least else 1.0 for i, name in enumerate(names)}, names[least]),
        (dict.fromkeys(names, 1.0), "None of the findings"),
    ):
        found = label_calibration(limits)
        run = tmp_path / said
        file = make_run(run, data, names, task=MULTI_LABEL, calibrated=found)
        with serving(file) as other:
            tab = chromium.tab()
            tab.show(f"http://127.0.0.1:{other.port}/")
            tab.until("!document.querySelector('#choose').disabled")
            choose(tab, [tmp_path / "cell.png"])
            tab.until("document.querySelector('#status').textContent === '1 image'")
            assert texts(tab, "article .answer") == [said]
            [reason] = texts(tab, "article .reason")
            if said not in names:
                assert reason == "No label reaches its threshold."
            first = texts(tab, "article .bars li:first-child .share")[0]
            assert first.count("%") == 2  # scaled, and its own in brackets


def test_labels_stand_by_what_is_shown_and_each_that_is_called_has_its_bar(chromium, tmp_path):
    data, names = toys_labels.converted("int8"), toys_labels.LABELS
    [pixels], _ = toys_labels.images(1, seed=8)
    Image.fromarray(pixels).save(tmp_path / "cell.png")
    [p] = TFLitePredictor(data).predict(pixels[None])
    most = int(p.argmax())
    found = label_calibration({name: 0.0 if i == most else 1.0 for i, name in enumerate(names)})
    found["scaling"] |= {"offsets": [-9.0 if i == most else 0.0 for i in range(len(names))]}
    with serving(make_run(tmp_path / "run", data, names, task=MULTI_LABEL, calibrated=found)) as on:
        tab = chromium.tab()
        tab.show(f"http://127.0.0.1:{on.port}/")
        tab.until("!document.querySelector('#choose').disabled")
        choose(tab, [tmp_path / "cell.png"])
        tab.until("document.querySelector('#status').textContent === '1 image'")
        assert texts(tab, "article .answer") == [names[most]]
        assert texts(tab, "article .bars li.chosen .label") == [names[most]]
        shown = [float(text.split()[0]) for text in texts(tab, "article .bars .share")]
        assert len(shown) == 4 and shown == sorted(shown, reverse=True)
        assert texts(tab, "article .bars .label")[-1] == names[most]  # its own is the largest


def test_an_unverified_model_says_so_on_top(chromium, tmp_path):
    with serving(make_run(tmp_path / "run", toys.converted("int8"), passed=False)) as other:
        tab = chromium.tab()
        tab.show(f"http://127.0.0.1:{other.port}/")
        tab.until("!document.querySelector('#choose').disabled")
        assert "FAILED verify" in texts(tab, "#unverified")[0]
        assert tab.js("document.querySelector('#unverified').offsetHeight") > 20
        assert tab.js("document.querySelector('#check').hidden") is True
        assert any("is not calibrated" in note for note in texts(tab, "#notes li"))
