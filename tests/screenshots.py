"""Pictures of the web sample and of serve's page, at phone and desktop widths, bright and dark, for docs/screens.

    python tests/screenshots.py --bundle BUNDLE --output docs/screens IMAGE IMAGE …

``BUNDLE`` is a bundle's folder with the web sample in it, its zip beside it; it gets the sample's packages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from chromium import Tab, browser
from PIL import Image
from web_page import served

from benchmarks.devices import litert_js

COLOURS = 200  # as good to look at, and a third of the bytes
LOOKS = [(width, dark) for width in (390, 1280) for dark in (False, True)]


def shot(tab: Tab, path: Path) -> None:
    """The page from its top, with the ring of the keyboard on the button after the first."""
    tab.js("document.querySelector('#choose').focus()")
    tab.press("Tab")
    tab.js("window.scrollTo(0, 0)")
    tab.point_at(0, 0)
    tab.picture(path)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def web_sample(tab: Tab, bundle: Path, image: Path, name: str, width: int, dark: bool) -> None:
    """An image answered, and the self-test passed."""
    packages = bundle / "samples" / "web" / "node_modules"
    if not packages.exists():
        packages.symlink_to(litert_js.packages())
    with served(bundle) as address:
        tab.show(address, width, dark=dark)
        tab.until("!document.querySelector('#test').disabled")
        tab.drop("#frame", image)
        tab.until(f"document.querySelector('#preview').alt.endsWith({json.dumps(image.name)})")
        tab.click("#test")
        tab.until("document.querySelector('#verdict').textContent")
        shot(tab, Path(name))


def serve_page(
    tab: Tab, address: str, images: list[Path], name: str, width: int, dark: bool
) -> None:
    """Images answered, and the self-test passed."""
    tab.show(address, width, dark=dark)
    tab.until("!document.querySelector('#choose').disabled")
    found = tab.call("Runtime.evaluate", expression="document.querySelector('#file')")
    files = [str(image) for image in images]
    tab.call("DOM.setFileInputFiles", files=files, objectId=found["result"]["objectId"])
    tab.until(f"document.querySelector('#status').textContent === '{len(images)} images'")
    tab.click("#test")
    tab.until("document.querySelector('#verdict').className")
    shot(tab, Path(name))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("images", nargs="+", type=Path)
    options = parser.parse_args()
    if len(options.images) < 2:
        parser.error("name two images or more")
    options.output.mkdir(parents=True, exist_ok=True)
    archive = options.bundle.with_name(f"{options.bundle.name}.zip")
    command = [sys.executable, "-m", "edgecell", "serve", "--model", archive, "--port", "0"]
    with (
        tempfile.TemporaryDirectory() as profile,
        browser(Path(profile)) as started,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            tab = started.tab()
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            for width, dark in LOOKS:
                look = f"{width}-{'dark' if dark else 'bright'}.png"
                web = str(options.output / f"web-{look}")
                web_sample(tab, options.bundle, options.images[0], web, width, dark)
                page = str(options.output / f"serve-{look}")
                serve_page(tab, address, options.images, page, width, dark)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
