"""What a bundle can carry sample code for. A target is a folder of files under ``samples/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecell.bundle import assets, c_source
from edgecell.errors import ConvertError

SAMPLES = Path(__file__).resolve().parent / "samples"
SKIPPED = ("__pycache__", "node_modules", "build", ".gradle", ".build", ".DS_Store")
"""Names in a samples folder that are left by building or running it and never shipped."""


@dataclass(frozen=True)
class Target:
    """One kind of app.

    ``title`` and ``needs`` are sentences of the bundle's README. ``make``, where files have to be
    generated (a model as a C array), is called with model.json's content, the finished bundle's
    folder and the sample's folder in it, and may only write into the latter. ``runtime`` runs the
    model; ``dtypes`` are what it takes as input and output, None where it takes every one of ours.
    """

    title: str
    needs: str
    make: Callable[[dict[str, Any], Path, Path], None] | None = None
    runtime: str = "LiteRT"
    dtypes: tuple[str, ...] | None = None


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
        runtime="LiteRT.js",
        dtypes=("uint8", "float32"),
    ),
    "android": Target(
        "Kotlin on LiteRT, a Gradle module with an instrumented test",
        "the Android SDK, Gradle 8.9 or newer and a JDK 17; a device with Android 9 or newer",
        assets.make_android,
    ),
    "ios": Target(
        "Swift on LiteRT, a package with XCTest",
        "a Mac with Xcode, and CocoaPods for LiteRT",
        runtime="LiteRT's Swift API",
        dtypes=("uint8", "int16", "float32"),
    ),
}


@dataclass(frozen=True)
class Samples:
    """The targets of a bundle that get a sample, and those that do not, each with the reason."""

    targets: tuple[str, ...]
    left_out: dict[str, str]


def chosen(wanted: str, model: dict[str, Any]) -> Samples:
    """The targets that ``wanted`` stands for: itself, or for "all" every one that takes the model.

    ``model`` is model.json's content.

    Raises:
        ConvertError: the one target that is wanted does not take it.
    """
    takes = tuple(name for name in TARGETS if refusal(name, model) is None)
    if wanted == "all":
        refused = {name: refusal(name, model) for name in TARGETS}
        return Samples(takes, {name: why for name, why in refused.items() if why is not None})
    if wanted in takes:
        return Samples((wanted,), {})
    raise ConvertError(
        f"{model['name']} is no file for --target {wanted}: {refusal(wanted, model)}; make one with 'edgecell"
        f" quantize RUN --int8 --input-type uint8', or choose another target ({', '.join(takes)})"
    )


def refusal(target: str, model: dict[str, Any]) -> str | None:
    """Why the runtime of a target does not take the model; None where it does."""
    runtime, dtypes = TARGETS[target].runtime, TARGETS[target].dtypes
    for side in ("input", "output"):
        dtype = model[side]["dtype"]
        if dtypes is not None and dtype not in dtypes:
            *most, last = dtypes
            takes = f"{', '.join(most)} and {last}"
            return f"{runtime} takes {takes} tensors, and the model's {side} is {dtype}"
    return None
