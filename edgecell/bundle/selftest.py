"""The golden images of a bundle on this machine: does each stage do what it did when they were made?

As ``docs/bundle-format.md`` asks: a stage is fed what the stage before should have given, so that one
fault is not reported four times.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.bundle.reader import Bundle
from edgecell.documents import json_of
from edgecell.errors import ArtifactError, DataError
from edgecell.preprocess import decode_bytes, resize
from edgecell.record import MISSHAPEN
from edgecell.runtime import TFLitePredictor

STAGES = ("decode", "resize", "scale", "inference")


@dataclass(frozen=True)
class Tested:
    """How many golden images there were, and by stage what differed."""

    count: int
    faults: dict[str, list[str]]

    @property
    def lines(self) -> list[str]:
        """PASS, or FAIL with the first fault of each stage: the lines that every sample prints."""
        failed = [
            f"FAIL {stage}: {len(found)} of {self.count} images; first: {found[0]}"
            for stage, found in self.faults.items()
            if found
        ]
        return failed or [f"PASS {', '.join(STAGES)}: {self.count} images"]

    def to_json(self) -> dict[str, Any]:
        """The outcome in JSON types."""
        return {
            "passed": not any(self.faults.values()),
            "count": self.count,
            "stages": {
                stage: {"faults": len(found), "first": found[0] if found else None}
                for stage, found in self.faults.items()
            },
            "lines": self.lines,
        }


def self_test(bundle: Bundle, predictor: TFLitePredictor) -> Tested:
    """Repeat decode, resize, scale and inference on the golden images.

    Raises:
        ArtifactError: a golden file is missing or altered, or golden.json is of another form.
    """
    try:
        where = bundle.card["golden"]["file"]
        golden = json_of(bundle.read(where))
        folder = PurePosixPath(where).parent
        faults: dict[str, list[str]] = {stage: [] for stage in STAGES}
        reach = golden["tolerance"]["quanta"] * golden["tolerance"]["quantum"]
        for case in golden["cases"]:
            _judge(case, _Case(bundle, folder, case), predictor, bundle, reach, faults)
        return Tested(len(golden["cases"]), faults)
    except MISSHAPEN as error:
        raise ArtifactError(f"{bundle.name}: golden.json is damaged ({error})") from error


@dataclass(frozen=True)
class _Case:
    """The stored files of one golden image."""

    bundle: Bundle
    folder: PurePosixPath
    facts: dict[str, Any]

    def stored(self, stage: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        data = self.bundle.read(str(self.folder / self.facts[stage]["file"]))
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype)

    def image(self) -> bytes:
        return self.bundle.read(str(self.folder / self.facts["image"]))


def _judge(
    facts: dict[str, Any],
    case: _Case,
    predictor: TFLitePredictor,
    bundle: Bundle,
    reach: float,
    faults: dict[str, list[str]],
) -> None:
    name, spec = facts["image"], bundle.spec
    shape = (spec.height, spec.width, 3)
    pixels = case.stored("resized", np.dtype(np.uint8)).reshape(shape)
    try:
        seen = decode_bytes(case.image(), name)
    except DataError as error:
        faults["decode"].append(str(error))
    else:
        if zlib.crc32(seen.tobytes()) != facts["decoded"]["crc32"]:
            faults["decode"].append(f"{name} has other pixels")
        else:
            _compare(resize(seen, spec), pixels, 0, name, faults["resize"])
    entry = case.stored("input", predictor.input_dtype).reshape(shape)
    # The predictor takes pixels, not tensors: where scaling differs, inference cannot be told.
    if not _compare(predictor.entry(pixels), entry, 0, name, faults["scale"]):
        return
    [found] = predictor.raw(pixels[None])
    expected = case.stored("output", predictor.output_dtype)
    same, top = _compare(found, expected, reach, name, faults["inference"]), facts["top1"]
    if same and top is not None and int(found.argmax()) != top["index"]:
        faults["inference"].append(f"{name} is not {top['label']}")


def _compare(
    found: NDArray[Any], expected: NDArray[Any], reach: float, name: str, faults: list[str]
) -> bool:
    off = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    beyond = int(np.count_nonzero(~(off <= reach)))  # not a number counts as beyond
    if beyond:
        faults.append(
            f"{name} differs in {beyond:,} of {off.size:,} values, by up to {off.max():g};"
            f" allowed {reach:g}"
        )
    return not beyond
