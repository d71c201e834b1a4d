"""Converted files against the model they came from, one row each, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency import Pace, open_timed, time_interleaved
from benchmarks.spread import paired_ratio
from edgecell import metrics
from edgecell.metrics import paired
from edgecell.packing import deflated_bytes
from edgecell.record import Measurement
from edgecell.runtime import Predictor, TFLitePredictor

FLOAT32 = "float32"
"""The method that ratios of times are to."""

_TIMED_IMAGES = 16
_COLUMNS = (
    *("method", "accuracy", "macro-F1", "drop, points", "agreement, %", "worst class, F1 points"),
    *("bytes", "packed", "× float32"),
)


@dataclass(frozen=True)
class Row:
    """One method against the reference; drops are reference minus file, so that positive is worse.

    ``worst_class_drop`` is that of the F1 of ``worst_class``. ``ratio`` is of times with one thread.
    """

    method: str
    file: str
    accuracy: Measurement
    macro_f1: Measurement
    accuracy_drop: Measurement
    agreement: Measurement
    worst_class: str
    worst_class_drop: Measurement
    size_bytes: int
    packed_bytes: int
    ratio: Measurement

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            key: value.to_json() if isinstance(value, Measurement) else value
            for key, value in vars(self).items()
        }


def compare(
    reference: Predictor,
    files: dict[str, Path],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    pace: Pace,
    *,
    seed: int = 0,
) -> list[Row]:
    """One row a file (method → path), on images uint8 (N, H, W, 3) with labels (N,).

    Intervals are of 95 %: Wilson for accuracy and agreement, Tango's for the drop, for the worst class
    :func:`edgecell.metrics.paired.f1_drop_interval`, for macro-F1 the bootstrap over images joined with the
    classes' own, order statistics over rounds for the ratio.

    Raises:
        ArtifactError: no classifier's .tflite. DataError: images and labels do not fit.
    """
    ratios = _ratios(files, images[:_TIMED_IMAGES], pace)
    expected = reference.predict(images).argmax(axis=1)
    return [
        _row(method, path, expected, labels, images, class_names, ratios[method], seed)
        for method, path in files.items()
    ]


def reference_row(
    reference: Predictor,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy and macro-F1 of the Keras model."""
    found = reference.predict(images).argmax(axis=1)
    accuracy, macro_f1 = _quality(labels, found, len(class_names), seed)
    return {"accuracy": accuracy.to_json(), "macro_f1": macro_f1.to_json()}


def markdown(result: dict[str, Any]) -> str:
    """The table and what its columns are, from the JSON of a result."""
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"]
    reference = result["reference"]
    cells = ["Keras model", _shown(reference["accuracy"], 4), _shown(reference["macro_f1"], 4)]
    lines.append(f"| {' | '.join([*cells, *['–'] * (len(_COLUMNS) - len(cells))])} |")
    for row in result["rows"]:
        cells = [
            row["method"],
            _shown(row["accuracy"], 4),
            _shown(row["macro_f1"], 4),
            _shown(row["accuracy_drop"], 2, 100, sign=True),
            _shown(row["agreement"], 2, 100),
            f"{_shown(row['worst_class_drop'], 2, 100, sign=True)} {row['worst_class']}",
            f"{row['size_bytes']:,}",
            f"{row['packed_bytes']:,}",
            _shown(row["ratio"], 2),
        ]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    timing = result["timing"]
    busy = timing["others"].get("value")
    return "\n".join(
        [
            *lines,
            "",
            f"{result['run']} on {result['split']} of {result['data']}, n = {result['n']:,}. Brackets are"
            " 95 % intervals. Drops are against the Keras model on the same images; positive is worse."
            " Packed: DEFLATE, as in zip, gzip and app packages. × float32: one thread,"
            f" {timing['rounds'] or 'no'} rounds in turn on {timing['cpu']}"
            + (f", other programs used {busy:.0%} of the cores." if busy is not None else "."),
        ]
    )


def _ratios(
    files: dict[str, Path], images: NDArray[np.uint8], pace: Pace
) -> dict[str, Measurement]:
    if FLOAT32 not in files:
        none = Measurement.missing("1", "no float32 file")
        return dict.fromkeys(files, none)
    opened = [
        open_timed(lambda path=path: TFLitePredictor.open(path, threads=1), images[0], loads=1)  # type: ignore[misc]
        for path in files.values()
    ]
    timed = time_interleaved([each.predictor for each in opened], [images] * len(opened), pace)
    reference = timed[list(files).index(FLOAT32)]
    return {m: paired_ratio(mine, reference) for m, mine in zip(files, timed, strict=True)}


def _row(
    method: str,
    path: Path,
    expected: NDArray[np.int64],
    labels: NDArray[np.int64],
    images: NDArray[np.uint8],
    class_names: Sequence[str],
    ratio: Measurement,
    seed: int,
) -> Row:
    found = TFLitePredictor(path, threads=0).predict(images).argmax(axis=1)
    n, classes = len(labels), len(class_names)
    accuracy, macro_f1 = _quality(labels, found, classes, seed)
    lost, gained = paired.discordant(expected == labels, found == labels)
    f1 = [
        metrics.per_class(metrics.confusion_matrix(labels, p, classes)).f1
        for p in (expected, found)
    ]
    drops = f1[0] - f1[1]
    present = np.flatnonzero(np.bincount(labels, minlength=classes))
    worst = int(present[np.argmax(drops[present])])
    resampled = paired.paired_bootstrap(labels, expected, found, classes, seed)["f1"][:, worst]
    data = path.read_bytes()
    same = int((found == expected).sum())
    return Row(
        method,
        path.name,
        accuracy,
        macro_f1,
        _measured((lost - gained) / n, n, paired.tango_interval(lost, gained, n)),
        _measured(same / n, n, metrics.wilson_interval(same, n)),
        class_names[worst],
        _measured(
            float(drops[worst]),
            int((labels == worst).sum()),
            paired.f1_drop_interval(labels == worst, expected == worst, found == worst, resampled),
        ),
        len(data),
        deflated_bytes(data),
        ratio,
    )


def _quality(
    labels: NDArray[np.int64], found: NDArray[np.int64], classes: int, seed: int
) -> tuple[Measurement, Measurement]:
    confusion, n = metrics.confusion_matrix(labels, found, classes), len(labels)
    right = int((found == labels).sum())
    drawn = metrics.bootstrap_confusion(confusion, seed=seed)
    ends = metrics.mean_f1_interval(*metrics.margins(confusion), drawn["f1"], drawn["macro_f1"])
    return (
        _measured(right / n, n, metrics.wilson_interval(right, n)),
        _measured(metrics.macro_f1(confusion), n, ends),
    )


def _measured(value: float, n: int, interval: metrics.Interval | None) -> Measurement:
    return Measurement.within(value, "fraction", n, interval)


def _shown(data: dict[str, Any], digits: int, factor: float = 1.0, *, sign: bool = False) -> str:
    """ "0.9785 [0.9704, 0.9844]", or a dash where there is no value."""
    if "value" not in data:
        return "–"
    style = f"{'+' if sign else ''}.{digits}f"
    text = f"{factor * data['value']:{style}}"
    if "low" in data:
        text += f" [{factor * data['low']:{style}}, {factor * data['high']:{style}}]"
    return text
