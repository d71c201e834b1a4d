"""Golden images: what the model sees and says of 32 of them, stage by stage, to the byte.

An app's self-test repeats each stage on the stage before's stored result, so that a fault in decoding
is not mistaken for one in the model. The layout is in ``docs/bundle-format.md``.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell.data.smear import KINDS, Canvas, draw
from edgecell.data.sources import subset
from edgecell.data.splits import limit_indices
from edgecell.data.types import Split, read_into
from edgecell.disk import atomic_write_bytes, atomic_write_json, sha256_bytes
from edgecell.preprocess import PreprocessSpec, resize
from edgecell.runtime import TFLitePredictor

COUNT = 32
SHAPES = ((61, 37), (90, 160), (203, 151), (48, 256))
"""Height and width of drawn images that every set has: a resize that is left out must show."""
NEAR = 8
POOL = 1000
_DRAWN = 96  # candidates where there are no images
_TRIES = 8

# One step of an integer output: another machine's kernels may round a tie the other way (x86-64 and
# arm64 did in 14 of 4,096 outputs). Float kernels differ by some 1e-6 between builds.
INTEGER_TOLERANCE = {"quanta": 1, "quantum": 1.0}
FLOAT_TOLERANCE = {"quanta": 10, "quantum": 1e-5}


@dataclass(frozen=True)
class Golden:
    """One golden image: decoded pixels uint8 (h, w, 3), why it was chosen, its label if known.

    ``why`` is "class", "near threshold" or "shape"; ``label`` a class number, for several labels at
    once a list of 0 and 1.
    """

    pixels: NDArray[np.uint8]
    why: str
    label: int | list[int] | None = None


def gather(
    predictor: TFLitePredictor,
    spec: PreprocessSpec,
    split: Split | None,
    threshold: float | None,
    seed: int = 0,
) -> list[Golden]:
    """32 images: four drawn ones of odd shapes, eight near ``threshold``, the rest class by class.

    From ``split``; drawn where it is None or too small. Near the threshold means with a largest
    probability close to it, from both sides; without a threshold, with the two largest close
    together. Images whose answer hangs on a single step are avoided.
    """
    shapes = [_decided(predictor, spec, shape, [seed, index]) for index, shape in enumerate(SHAPES)]
    found = [Golden(pixels, "shape") for pixels in shapes]
    if split is not None:
        found = _from_split(predictor, spec, split, threshold, seed, COUNT - len(found)) + found
    missing = COUNT - len(found)
    return (_drawn(predictor, spec, threshold, seed, missing) if missing else []) + found


def pick(
    probabilities: NDArray[np.float32],
    kinds: NDArray[np.int64],
    threshold: float | None,
    count: int,
    step: float,
) -> list[tuple[int, str]]:
    """(row, why) of ``count`` rows of ``probabilities`` (N, C), fewer where there are no more.

    ``kinds`` (N,) is what to stratify by; ``step`` the least difference between the two largest
    probabilities that is certain.
    """
    ranked = np.sort(probabilities, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    certain = margin > 2 * step
    distance = margin if threshold is None else np.abs(ranked[:, -1] - threshold)
    order = np.argsort(distance, kind="stable")
    order = order[certain[order]]
    near = order[:NEAR]
    if threshold is not None:
        above = ranked[order, -1] >= threshold
        sides = [*order[above][: NEAR // 2], *order[~above][: NEAR // 2]]
        near = np.array(list(dict.fromkeys([*sides, *order])), np.int64)[:NEAR]
    chosen = {int(row): "near threshold" for row in near[:count]}
    queues = [
        [int(row) for row in np.flatnonzero((kinds == kind) & certain) if int(row) not in chosen]
        for kind in np.unique(kinds)
    ]
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen[queue.pop(0)] = "class"
    return sorted(chosen.items())


def write(
    folder: Path,
    images: Sequence[Golden],
    predictor: TFLitePredictor,
    spec: PreprocessSpec,
    labels: Sequence[str],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write the images and what becomes of them into ``folder``, golden.json last; its content.

    ``facts`` are put in front: the model's sha256, where the images come from.
    """
    integer = predictor.output_dtype.kind in "iu"
    tolerance = INTEGER_TOLERANCE if integer else FLOAT_TOLERANCE
    reach = tolerance["quanta"] * tolerance["quantum"]
    cases = []
    for number, image in enumerate(images):
        stem = f"{number:02d}"
        pixels = resize(image.pixels, spec)
        entry = predictor.entry(pixels)
        [output] = predictor.raw(pixels[None])
        atomic_write_bytes(folder / f"{stem}.png", _png(image.pixels))
        resized = _store(folder, f"{stem}.rgb", pixels)
        same = entry.tobytes() == pixels.tobytes()
        cases.append(
            {
                "image": f"{stem}.png",
                "chosen": image.why,
                "label": image.label,
                "decoded": {
                    "width": image.pixels.shape[1],
                    "height": image.pixels.shape[0],
                    **_sums(image.pixels),
                },
                "resized": resized,
                "input": resized if same else _store(folder, f"{stem}.input", entry),
                "output": _store(folder, f"{stem}.output", output)
                | {"values": [float(v) if not integer else int(v) for v in output]},
                "top1": _top(output, 2 * reach, labels),
            }
        )
    golden = {
        "schema": "edgecell/golden",
        "schema_version": 1,
        **facts,
        "tolerance": tolerance,
        "byte_order": "little",
        "cases": cases,
    }
    atomic_write_json(folder / "golden.json", golden)
    return golden


def _top(output: NDArray[Any], reach: float, labels: Sequence[str]) -> dict[str, Any] | None:
    """The answer; None where two classes are so close that the tolerance could swap them."""
    values = output.astype(np.float64)
    second, first = np.sort(values)[-2:]
    if first - second <= reach:
        return None
    index = int(values.argmax())
    return {"index": index, "label": labels[index]}


def _store(folder: Path, name: str, values: NDArray[Any]) -> dict[str, Any]:
    data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).tobytes()
    atomic_write_bytes(folder / name, data)
    return {"file": name, "crc32": zlib.crc32(data), "sha256": sha256_bytes(data)}


def _sums(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    data = np.ascontiguousarray(pixels).tobytes()
    return {"crc32": zlib.crc32(data), "sha256": sha256_bytes(data)}


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def _step(predictor: TFLitePredictor) -> float:
    """The tolerance as a probability."""
    if predictor.output_scale is not None and predictor.output_dtype.kind in "iu":
        return INTEGER_TOLERANCE["quanta"] * predictor.output_scale
    return FLOAT_TOLERANCE["quanta"] * FLOAT_TOLERANCE["quantum"]


def _from_split(
    predictor: TFLitePredictor,
    spec: PreprocessSpec,
    split: Split,
    threshold: float | None,
    seed: int,
    count: int,
) -> list[Golden]:
    rows = np.random.default_rng(seed).permutation(limit_indices(split.labels, POOL, seed, "val"))
    source, labels = subset(split.source, rows), split.labels[rows]
    images = np.empty((len(rows), spec.height, spec.width, 3), np.uint8)
    read_into(images, source, np.arange(len(rows)), spec)
    # Of several labels at once, the first that holds; those without any are a kind of their own.
    kinds = np.where(labels.any(axis=1), labels.argmax(axis=1), -1) if split.multi_label else labels
    chosen = pick(predictor.predict(images), kinds, threshold, count, _step(predictor))
    return [Golden(source.read(row), why, labels[row].tolist()) for row, why in chosen]


def _drawn(
    predictor: TFLitePredictor,
    spec: PreprocessSpec,
    threshold: float | None,
    seed: int,
    count: int,
) -> list[Golden]:
    """Drawn cells, stratified by what the model takes them for."""
    pictures = list(_cells(Canvas.of(64), [seed, len(SHAPES)], _DRAWN))
    images = np.stack([resize(picture, spec) for picture in pictures])
    probabilities = predictor.predict(images)
    chosen = dict(pick(probabilities, probabilities.argmax(1), threshold, count, _step(predictor)))
    # A model that cannot decide on any of them still gets its images, without a top-1.
    rest = [row for row in range(_DRAWN) if row not in chosen][: count - len(chosen)]
    chosen |= dict.fromkeys(rest, "class")
    return [Golden(pictures[row], why) for row, why in sorted(chosen.items())]


def _decided(
    predictor: TFLitePredictor, spec: PreprocessSpec, shape: tuple[int, int], seed: list[int]
) -> NDArray[np.uint8]:
    """A drawn picture of ``shape`` of which the model is sure enough; the last one tried if of none."""
    height, width = shape
    for picture in _cells(Canvas.of(max(shape)), seed, _TRIES):
        top, left = (len(picture) - height) // 2, (len(picture) - width) // 2
        cut = np.ascontiguousarray(picture[top : top + height, left : left + width])
        [row] = np.sort(predictor.predict(resize(cut, spec)[None]), axis=1)
        if row[-1] - row[-2] > 2 * _step(predictor):
            break
    return cut


def _cells(canvas: Canvas, seed: list[int], count: int) -> Iterator[NDArray[np.uint8]]:
    kinds = list(KINDS.values())
    for index in range(count):
        yield draw(kinds[index % len(kinds)], canvas, np.random.default_rng([*seed, index]))
