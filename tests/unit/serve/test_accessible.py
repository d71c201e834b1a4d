"""The web sample and serve's page, held by axe-core against WCAG 2 and its own good practice, at both widths."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import make_bundle, save_pictures
from chromium import Tab, browser, needs_chromium
from served import serving
from toy_bundle import make_bundle as make_web_bundle
from web_page import visited

from benchmarks.devices import npm
from benchmarks.devices.interface import DeviceError

pytestmark = [needs_chromium, pytest.mark.slow]

PAGES = Path(__file__).resolve().parents[2] / "clients"
LOOKS = [(width, dark) for width in (390, 1280) for dark in (False, True)]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here")


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core."""
    try:
        folder = npm.installed(PAGES, "clients")
    except DeviceError as error:
        pytest.skip(str(error))
    return (folder / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started.tab()


def violations(tab: Tab, axe: str) -> list[str]:
    """A line for each rule that is broken, with the elements that break it."""
    tab.js(f"{axe}; undefined")
    found = tab.js(
        "axe.run(document, {resultTypes: ['violations']}).then((r) => ({rules: r.passes.length,"
        " broken: r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' '))}`)}))"
    )
    assert found["rules"] > 15, found
    return found["broken"]


def unmarked(tab: Tab) -> list[str]:
    """Which of the elements that Tab reaches show no ring when it is there; at least two are reached."""
    tab.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    seen: dict[str, bool] = {}
    for _ in range(12):
        tab.press("Tab")
        name, style, width = tab.js(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.id || e.tagName, s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        if name in seen:
            break
        if name != "BODY":  # where it goes round
            seen[name] = style != "none" and width >= 2
    assert len(seen) >= 2
    return [name for name, marked in seen.items() if not marked]


@needs_node
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_web_sample(tab, axe, tmp_path, litertjs, width, dark):
    bundle = make_web_bundle(tmp_path / "toy", ["web"], verdict="failed")
    (bundle / "samples" / "web" / "node_modules").symlink_to(litertjs)
    (bundle / "golden" / "00.output").write_bytes(bytes(4))
    with visited(tab, bundle) as address:
        tab.show(address, width, dark=dark)
        tab.until("!document.querySelector('#test').disabled")
        assert violations(tab, axe) == []
        tab.drop("#frame", save_pictures(tmp_path, 1)[0])
        tab.until("document.querySelector('#preview').alt.endsWith('.png')")
        tab.click("#test")
        tab.until("document.querySelector('#verdict').className === 'bad'")
        assert violations(tab, axe) == []
        assert unmarked(tab) == []


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_serve_s_page(tab, axe, tmp_path, width, dark):
    pictures = save_pictures(tmp_path / "pictures", 3)
    pictures[1].write_bytes(b"no image")
    with serving(make_bundle(tmp_path, verdict="failed")) as client:
        tab.show(f"http://127.0.0.1:{client.port}/", width, dark=dark)
        tab.until("!document.querySelector('#choose').disabled")
        assert violations(tab, axe) == []
        found = tab.call("Runtime.evaluate", expression="document.querySelector('#file')")
        names = [str(path) for path in pictures]
        tab.call("DOM.setFileInputFiles", files=names, objectId=found["result"]["objectId"])
        tab.until("document.querySelector('#status').textContent === '3 images'")
        tab.click("#test")
        tab.until("document.querySelector('#verdict').className === 'good'")
        assert violations(tab, axe) == []
        assert unmarked(tab) == []


def test_axe_would_complain(tab, axe, tmp_path):
    with serving(make_bundle(tmp_path)) as client:
        tab.show(f"http://127.0.0.1:{client.port}/")
        tab.until("!document.querySelector('#choose').disabled")
        tab.js(
            "document.querySelector('#test').textContent = '';"
            "document.querySelector('#about').style.color = '#557';"
            "document.documentElement.lang = '';"
            "document.querySelector('#choose').style.outline = 'none'"
        )
        broken = {line.split(":")[0] for line in violations(tab, axe)}
        assert broken >= {"button-name", "color-contrast", "html-has-lang"}
        assert unmarked(tab) == ["choose"]
