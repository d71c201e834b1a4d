"""LiteRT.js, installed by npm into the cache folder: exactly the versions of `page/package-lock.json`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.devices import npm

PAGE = Path(__file__).resolve().parent / "page"
PACKAGE = "@litertjs/core"


def version() -> str:
    """The pinned version of LiteRT.js."""
    pinned = json.loads((PAGE / "package.json").read_text(encoding="utf-8"))
    return str(pinned["dependencies"][PACKAGE])


def packages() -> Path:
    """The folder with LiteRT.js in it, as :func:`npm.installed` makes it.

    Raises:
        DeviceError: no npm, or it cannot install. ArtifactError: the cache folder cannot be written.
    """
    return npm.installed(PAGE, "litertjs")
