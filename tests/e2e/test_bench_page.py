"""bench.html in a real browser, from a file, as a person uses it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from benched import NAMES, result
from chromium import Tab, browser, needs_chromium

from edgecell.report.bench_page import write_bench_page

pytestmark = needs_chromium

HOSTILE = "</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started.tab()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = result([*NAMES[:7], HOSTILE])
    found.models[2]["name"] = HOSTILE
    found.models[1]["footprint"]["memory"]["over_baseline"] = {"reason": "gone", "unit": "bytes"}
    folder = tmp_path_factory.mktemp("bench")
    return write_bench_page(folder / "bench.html", "pbc", found.to_json())


@pytest.fixture
def opened(tab: Tab, page: Path) -> Iterator[Tab]:
    """The page, fresh; at the end nothing was complained of and nothing fetched."""
    tab.errors.clear()
    tab.requests.clear()
    tab.show(page)
    yield tab
    assert tab.errors == []
    assert set(tab.requests) == {page.resolve().as_uri()}
    assert tab.js("window.hacked") is None


def column(tab: Tab, position: int) -> list[str]:
    return tab.js(
        "[...document.querySelectorAll('#figures-table tbody tr')]"
        f".map(row => row.cells[{position}].firstChild.textContent)"
    )


def head(title: str) -> str:
    titles = ["Model", "Accuracy", "Macro F1", "Weakest class", "Size", "p50, 1 thread"]
    titles += ["p50, 2 threads", "× float32", "Memory"]
    return f"#figures-table th:nth-child({titles.index(title) + 1})"


def test_a_click_sorts_and_another_reverses(opened: Tab) -> None:
    assert column(opened, 4) == ["1,650.3 kB", "850.1 kB", "635.1 kB"]
    opened.click(f"{head('Size')} button")
    assert column(opened, 4) == ["635.1 kB", "850.1 kB", "1,650.3 kB"]
    assert opened.js(f"document.querySelector('{head('Size')}').ariaSort") == "ascending"
    opened.click(f"{head('Size')} button")
    assert column(opened, 4) == ["1,650.3 kB", "850.1 kB", "635.1 kB"]
    opened.click(f"{head('Accuracy')} button")  # the best first
    values = column(opened, 1)
    assert values == sorted(values, reverse=True) and len(set(values)) > 1
    assert opened.js("document.querySelectorAll('#figures-table [aria-sort]').length") == 1


def test_the_keyboard_sorts_and_what_is_missing_stands_last(opened: Tab) -> None:
    opened.js(f"document.querySelector('{head('× float32')} button').focus()")
    opened.press("Tab")  # to the next heading
    opened.press("Enter")
    assert opened.js(f"document.querySelector('{head('Memory')}').ariaSort") == "ascending"
    assert column(opened, 8)[-1] == "–"
    opened.press("Enter")
    assert opened.js(f"document.querySelector('{head('Memory')}').ariaSort") == "descending"
    assert column(opened, 8)[-1] == "–"


TIP = "document.querySelector('.tip')"


def test_pointing_at_a_mark_tells_its_figures(opened: Tab) -> None:
    assert opened.js(f"{TIP}.hidden")
    x, y = opened.middle("#scatter .point .mark")
    opened.point_at(x + 9, y + 4)  # near is enough
    assert not opened.js(f"{TIP}.hidden")
    told = opened.js(f"{TIP}.innerText")
    assert told.startswith("pbc-float32") and "1,650.3 kB" in told and "p50, 2 threads" in told
    box = opened.js(
        f"(() => {{ const r = {TIP}.getBoundingClientRect(); return [r.left, r.right]; }})()"
    )
    assert box[0] >= 0 and box[1] <= 1280
    opened.point_at(x, y + 120)
    assert opened.js(f"{TIP}.hidden")


def test_the_keyboard_reaches_a_mark(opened: Tab) -> None:
    opened.js("document.querySelectorAll('.chooser select')[1].focus()")
    opened.press("Tab")
    assert not opened.js(f"{TIP}.hidden")
    assert opened.js(f"{TIP}.innerText").startswith("pbc-float32")
    label = opened.js("document.activeElement.getAttribute('aria-label')")
    assert re.fullmatch(r"pbc-float32: 0\.\d{3} \[.*\] against 1,650\.3 kB", label)
    opened.press("Escape")
    assert opened.js(f"{TIP}.hidden")


def places(tab: Tab) -> list[list[float]]:
    return tab.js(
        "[...document.querySelectorAll('#scatter .point .mark')].map(mark => {"
        "const r = mark.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })"
    )


def test_the_axes_can_be_chosen(opened: Tab) -> None:
    assert (
        opened.js("document.querySelector('.chart-title').textContent") == "Accuracy against Size"
    )
    before = places(opened)
    assert before[2][0] < before[1][0] < before[0][0]  # int8 is the smallest
    assert before[2][1] > before[0][1]  # and less accurate: further down
    select = "document.querySelector('.chooser select')"
    titles = opened.js(f"[...{select}.options].map(option => option.textContent)")
    assert {"Size, deflated", "p99, 2 threads", "Multiplications", "AUC"} <= set(titles)
    wanted = titles.index("p50, 1 thread")
    opened.js(f"{select}.value = {wanted}; {select}.dispatchEvent(new Event('change'))")
    title = opened.js("document.querySelector('.chart-title').textContent")
    assert title == "Accuracy against p50, 1 thread"
    after = places(opened)
    assert after[0][0] < after[1][0]  # float16 is a little slower than float32 here
    assert after != before
    names = opened.js("[...document.querySelectorAll('.grid .name')].map(e => e.textContent)")
    assert names == ["p50, 1 thread, ms", "Accuracy"]


def test_the_arrow_keys_choose_an_axis(opened: Tab) -> None:
    opened.js("document.querySelectorAll('.chooser select')[1].focus()")
    opened.press("ArrowDown")
    opened.until("document.querySelector('.chart-title').textContent === 'Macro F1 against Size'")


def cells(tab: Tab, matrix: int) -> list[list[str]]:
    return tab.js(
        f"[...document.querySelectorAll('.matrix')[{matrix}].tBodies[0].rows]"
        ".map(row => [...row.cells].slice(1).map(cell => cell.textContent))"
    )


def test_the_matrices_and_their_difference(opened: Tab, page: Path) -> None:
    text = re.search(r'id="figures">(.*?)</script', page.read_text(), re.S)[1]
    first, _, last = (entry["confusion"] for entry in json.loads(text)["entries"])
    number = {"": 0}
    for shown, counts in ((cells(opened, 0), first), (cells(opened, 1), last)):
        assert [[number.get(c) if c in number else int(c) for c in row] for row in shown] == counts
    difference = [
        [number.get(c) if c in number else int(c.replace("−", "-")) for c in row]
        for row in cells(opened, 2)
    ]
    expected = [
        [b - a for a, b in zip(*rows, strict=True)] for rows in zip(first, last, strict=True)
    ]
    assert difference == expected
    assert any(value for row in expected for value in row)
    lost = opened.js(
        "[...document.querySelectorAll('.matrix')[2].tBodies[0].rows].map((row, i) => row.cells[i + 1])"
        ".filter(cell => cell.textContent.startsWith('−')).every(cell => cell.className === 'wrong')"
    )
    assert lost
    select = "document.querySelectorAll('#matrices select')[1]"
    opened.js(f"{select}.value = 0; {select}.dispatchEvent(new Event('change'))")
    captions = opened.js(
        "[...document.querySelectorAll('#matrices figcaption')].map(e => e.textContent)"
    )
    assert captions == ["pbc-float32", "pbc-float32", "Second minus first: nothing"]


def test_names_are_text(opened: Tab) -> None:
    assert opened.js("document.images.length") == 0
    shown = opened.js("document.querySelectorAll('.matrix')[1].previousSibling.textContent")
    assert shown == HOSTILE
    heads = opened.js(
        "[...document.querySelectorAll('.matrix')[0].tHead.rows[0].cells].map(e => e.textContent)"
    )
    assert heads[1:] == [*NAMES[:7], HOSTILE]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_the_screen_and_is_legible(tab: Tab, page: Path, width: int, dark: bool) -> None:
    tab.show(page, width, dark=dark)
    assert tab.js("document.documentElement.scrollWidth") == width
    # Nothing but what scrolls by itself stands over the edge.
    over = tab.js(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .tip'))"
        f".filter(e => e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert over == []
    assert contrast(tab) >= 4.5
    assert tab.js("document.querySelectorAll('#scatter .point').length") == 3


def contrast(tab: Tab) -> float:
    """The least contrast of a text with what is behind it (WCAG 2.2)."""
    return tab.js(CONTRAST)


CONTRAST = """(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const srgb = (text) => channels(text).slice(0, 3).map((v) => (text.startsWith("color(") ? v : v / 255));
  const clear = (text) => text === "transparent" || channels(text)[3] === 0;
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => (clear(getComputedStyle(e).backgroundColor) ? behind(e.parentElement) : e);
  const ratio = (e) => {
    const a = light(srgb(getComputedStyle(e).color));
    const b = light(srgb(getComputedStyle(behind(e)).backgroundColor));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const texts = [...document.querySelectorAll("th, td, td small, .notes li, .lead, .card *")];
  return Math.min(...texts.filter((e) => e.textContent).map(ratio));
})()"""


def test_it_prints(opened: Tab) -> None:
    printed = opened.pdf()
    assert printed.startswith(b"%PDF")
    opened.call("Emulation.setEmulatedMedia", media="print")
    assert opened.js("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert opened.js("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    opened.call("Emulation.setEmulatedMedia", media="")


def test_another_script_would_not_run(tab: Tab, page: Path, tmp_path: Path) -> None:
    """The partner of the checks above: a page that was tampered with is seen to complain."""
    tampered = tmp_path / "tampered.html"
    added = "<script>window.hacked = 1</script><img src='http://localhost:9/x.png'></body>"
    tampered.write_text(page.read_text().replace("</body>", added))
    tab.errors.clear()
    tab.show(tampered)
    assert tab.js("window.hacked") is None
    assert any("Content Security Policy" in line for line in tab.errors)
