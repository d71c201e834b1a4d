"""What a bundle can carry sample code for. A target is a folder of files under ``samples/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell.bundle import assets, c_source

SAMPLES = Path(__file__).resolve().parent / "samples"
SKIPPED = ("__pycache__", "node_modules", "build", ".gradle", ".build", ".DS_Store")
"""Names in a samples folder that are left by building or running it and never shipped."""


@dataclass(frozen=True)
class Target:
    """One kind of app.

    ``title`` and ``needs`` are sentences of the bundle's README. ``make``, where files have to be
    generated (a model as a C array), is called with model.json's content, the finished bundle's
    folder and the sample's folder in it, and may only write into the latter.
    """

    title: str
    needs: str
    make: Callable[[dict[str, Any], Path, Path], None] | None = None


TARGETS: dict[str, Target] = {
    "python": Target(
        "Python, one file",
        "Python 3.10 or newer with ai-edge-litert, numpy and Pillow",
    ),
    "c": Target(
        "C99, the model as an array",
        "a C compiler and LiteRT's shared library, which the Python package ai-edge-litert holds",
        c_source.make,
    ),
    "web": Target(
        "a page on LiteRT.js, without a framework",
        "Node.js with npm to install and try it; any web server with https to ship it",
    ),
    "android": Target(
        "Kotlin on LiteRT, a Gradle module with an instrumented test",
        "the Android SDK, Gradle 8.9 or newer and a JDK 17; a device with Android 9 or newer",
        assets.make_android,
    ),
    "ios": Target(
        "Swift on LiteRT, a package with XCTest",
        "a Mac with Xcode, and CocoaPods for LiteRT",
    ),
}


def chosen(name: str) -> list[str]:
    """The targets that ``name`` stands for: itself, or every one for "all"."""
    return list(TARGETS) if name == "all" else [name]
