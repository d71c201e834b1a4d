"""An exploration of a data set in numbers: the body of ``edgecell data eda``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

from edgecell.data.duplicates import find_duplicates
from edgecell.data.explore import BLANK_SD, Looks, mean_and_sd
from edgecell.data.perceptual import BITS, SYMMETRIES, NearDuplicates, near_duplicates
from edgecell.data.sources import digests
from edgecell.data.types import SPLITS, Dataset, Split

SCHEMA = "edgecell/eda"
SCHEMA_VERSION = 1
OUTLIERS = 8
"""Images shown of each kind of outlier."""
EXAMPLES = 20
"""Near-duplicate pairs that are listed in the JSON; all are in the CSV."""
IMBALANCED = 10.0
"""Largest over smallest class of train from which on it is a finding."""
SHIFTED = 0.1
"""Share of pixels, or of images, that would have to change for a split to be like train (total
variation distance) from which on it is a finding."""
CHANCE = 0.001
"""Other class shares are a finding only where chance is less likely than this."""
_COMMON_SIZES = 10


def explore(dataset: Dataset, looks: Mapping[str, Looks], near: Near) -> dict[str, Any]:
    """Everything about ``dataset`` as JSON; ``looks`` by split, ``near`` from :func:`find_near`.

    ``shift``: how far val and test are from train, 0 (alike) to 1 (nothing in common), as the total
    variation distance of class shares and of the pixel values of each channel (in steps of 8).
    ``classes_p``: how likely chance alone makes the shares differ so much (chi-squared test). Of several
    labels it is the largest difference of a label's share of the images, and Holm's p of all labels.
    """
    counts = {name: dataset.split(name).counts(len(dataset.class_names)) for name in SPLITS}
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "name": dataset.name,
        "task": dataset.task,
        "class_names": list(dataset.class_names),
        "images": {name: len(dataset.split(name)) for name in SPLITS},
        "counts": {name: counts[name].tolist() for name in SPLITS},
        "imbalance": _imbalance(counts["train"]),
        "sizes": {name: _sizes(looks[name]) for name in SPLITS},
        "channels": {name: _channels(looks[name].whole.histogram) for name in SPLITS},
        "channels_by_class": {
            name: [
                {"name": class_name, "images": int(counts[name][label])}
                | (_channels(looks[name].classes[label].histogram) if counts[name][label] else {})
                for label, class_name in enumerate(dataset.class_names)
            ]
            for name in SPLITS
        },
        "histograms": {name: looks[name].whole.histogram.tolist() for name in SPLITS},
        "brightness": {name: _spread(looks[name].brightness) for name in SPLITS},
        "contrast": {name: _spread(looks[name].contrast) for name in SPLITS},
        "shift": {
            name: {
                **_class_shift(dataset.train, dataset.split(name), counts["train"], counts[name]),
                "pixels": [
                    _variation(_coarse(one), _coarse(other))
                    for one, other in zip(
                        looks["train"].whole.histogram, looks[name].whole.histogram, strict=True
                    )
                ],
            }
            for name in SPLITS[1:]
        },
        "duplicates": find_duplicates(dataset).to_json(),
        "near_duplicates": near.to_json(dataset),
        "outliers": _outliers(dataset, looks),
        "blank": {
            "below_contrast": BLANK_SD,
            "images": int(sum(looks[name].blank.sum() for name in SPLITS)),
        },
        "notes": list(dataset.notes),
        "origin": dataset.origin,
    }
    return report | {"findings": findings(report)}


class Near:
    """Near-duplicates among all images of a data set, of equal images only the first.

    Attributes:
        found: pairs of positions in ``places``.
        places: (split number, row) of each image that was compared, (M, 2).
    """

    def __init__(self, found: NearDuplicates, places: NDArray[np.int64], most_bits: int) -> None:
        self.found = found
        self.places = places
        self.most_bits = most_bits

    def rows(self, dataset: Dataset) -> list[dict[str, Any]]:
        """Every pair: what it is called, where it stands, what it is labelled. Those that stand in two
        splits first, then those with two labels, then the nearest."""
        rows = []
        for (one, two), bits, symmetry in zip(
            self.found.pairs, self.found.bits, self.found.symmetry, strict=True
        ):
            row: dict[str, Any] = {"bits": int(bits), "second": SYMMETRIES[symmetry]}
            for key, place in (("a", one), ("b", two)):
                split, index = SPLITS[self.places[place, 0]], int(self.places[place, 1])
                row[key] = describe_image(dataset, split, index)
            rows.append(row)
        rows.sort(key=lambda r: (r["a"]["split"] == r["b"]["split"], not differ(r), r["bits"]))
        return rows

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """Counts, examples, and how the search was done."""
        rows = self.rows(dataset)
        groups = self.found.groups(len(self.places))
        sizes = np.bincount(groups) if len(groups) else np.zeros(0, np.int64)
        return {
            "pairs": len(rows),
            "images": int(sizes[sizes > 1].sum()),
            "groups": int((sizes > 1).sum()),
            "largest_group": int(sizes.max(initial=0)),
            "across": {
                f"{one}/{two}": self._leaking(groups, i, j)
                for (i, one), (j, two) in combinations(enumerate(SPLITS), 2)
            },
            "conflicts": sum(map(differ, rows)),
            "examples": rows[:EXAMPLES],
            "method": {
                "hash": f"pHash of {BITS} bits in the symmetries of a square",
                "most_bits": self.most_bits,
                "compared": len(self.places),
                "all_pairs_found_up_to_bits": self.found.certain_up_to,
                "images_with_crowded_keys": self.found.crowded,
            },
        }

    def _leaking(self, groups: NDArray[np.int64], one: int, two: int) -> int:
        """Images of split ``two`` that are linked with an image of split ``one``."""
        theirs = set(groups[self.places[:, 0] == one].tolist())
        mine = groups[self.places[:, 0] == two].tolist()
        return sum(group in theirs for group in mine)


def find_near(dataset: Dataset, looks: Mapping[str, Looks], most_bits: int) -> Near:
    """Search all splits together; blank images and exact copies of an earlier one are left out."""
    seen: set[bytes] = set()
    places, kept = [], []
    for number, name in enumerate(SPLITS):
        blank = looks[name].blank
        for row, digest in enumerate(digests(dataset.split(name).source)):
            if not blank[row] and digest not in seen:
                seen.add(digest)
                places.append((number, row))
        rows = [row for split, row in places if split == number]
        kept.append(looks[name].hashes[rows])
    found = near_duplicates(np.concatenate(kept), most_bits=most_bits)
    return Near(found, np.array(places, np.int64).reshape(-1, 2), most_bits)


def differ(row: Mapping[str, Any]) -> bool:
    """Whether the two images of a pair are labelled differently."""
    return bool(row["a"]["label"] != row["b"]["label"])


def describe_image(dataset: Dataset, split: str, row: int) -> dict[str, Any]:
    """How an image is found again: split, row, name, label."""
    part = dataset.split(split)
    label = part.labels[row]
    several = [dataset.class_names[i] for i in np.flatnonzero(label)] if part.multi_label else []
    said = "; ".join(several) or "none" if part.multi_label else dataset.class_names[int(label)]
    return {"split": split, "row": row, "image": part.source.name(row), "label": said}


def findings(report: Mapping[str, Any]) -> list[str]:
    """What somebody should look at before training, a line each; none where nothing stands out."""
    lines = []
    names = report["class_names"]
    if report["imbalance"] is None:
        empty = [n for n, count in zip(names, report["counts"]["train"], strict=True) if not count]
        lines.append(f"train has no image of {', '.join(empty)}")
    elif report["imbalance"] >= IMBALANCED:
        lines.append(f"the largest class of train is {report['imbalance']:.1f} times the smallest")
    for kind, key in (("equal to", "duplicates"), ("nearly equal to", "near_duplicates")):
        for pair, count in report[key]["across"].items():
            one, two = pair.split("/")
            if count:
                images = "image is" if count == 1 else "images are"
                lines.append(
                    f"{count} {two} {images} {kind} images of {one}; figures on {two} will be too good"
                )
        conflicts = report[key]["conflicts"]
        if conflicts:
            pairs = "pair of images" if conflicts == 1 else "pairs of images"
            lines.append(f"{conflicts} {pairs} {kind} one another, labelled differently")
    for name, shift in report["shift"].items():
        worst = max(range(3), key=lambda channel: shift["pixels"][channel])
        if shift["pixels"][worst] >= SHIFTED:
            colour = ("red", "green", "blue")[worst]
            lines.append(
                f"{name} looks different from train: {shift['pixels'][worst]:.2f} of the {colour}"
                " values would have to change"
            )
        if shift["classes"] >= SHIFTED and shift["classes_p"] < CHANCE:
            lines.append(f"{name} has other class shares than train: {shift['classes']:.2f} apart")
    if report["blank"]["images"]:
        blank = report["blank"]["images"]
        lines.append(f"{blank} {'image shows' if blank == 1 else 'images show'} nothing at all")
    distinct = {tuple(size[:2]) for part in report["sizes"].values() for size in part["common"]}
    if len(distinct) > 1:
        lines.append("images have several sizes; --fit says how they become square")
    return lines


def _imbalance(counts: NDArray[np.int64]) -> float | None:
    return float(counts.max() / counts.min()) if counts.min() else None


def _sizes(looks: Looks) -> dict[str, Any]:
    common = [[w, h, count] for (w, h), count in looks.sizes.most_common(_COMMON_SIZES)]
    ratio = looks.widths / looks.heights
    return {
        "widths": [int(looks.widths.min()), int(looks.widths.max())],
        "heights": [int(looks.heights.min()), int(looks.heights.max())],
        "aspect": [round(float(v), 4) for v in (ratio.min(), np.median(ratio), ratio.max())],
        "distinct": len(looks.sizes),
        "common": common,
    }


def _channels(histogram: NDArray[np.int64]) -> dict[str, Any]:
    mean, sd = mean_and_sd(histogram)
    present = np.flatnonzero(histogram.sum(axis=0))
    return {"mean": mean, "sd": sd, "low": int(present[0]), "high": int(present[-1])}


def _spread(values: NDArray[np.float32]) -> dict[str, float]:
    low, first, middle, last, high = np.quantile(values, (0, 0.01, 0.5, 0.99, 1)).tolist()
    names = ("min", "p1", "median", "p99", "max")
    return {k: round(v, 3) for k, v in zip(names, (low, first, middle, last, high), strict=True)}


def _class_shift(
    train: Split, other: Split, expected: NDArray[np.int64], found: NDArray[np.int64]
) -> dict[str, float]:
    """How far the classes of ``other`` are from those of train, and how likely chance is that far."""
    if not train.multi_label:
        return {"classes": _variation(expected, found), "classes_p": _by_chance(expected, found)}
    numbers = []
    for split, counts in ((train, expected), (other, found)):
        having = np.append(counts, int((split.labels == 0).all(axis=1).sum()))  # the last: no label
        numbers.append(np.stack([having, len(split) - having]))
    shares = [pair[0] / pair.sum(axis=0) for pair in numbers]
    chances = [_by_chance(one, two) for one, two in zip(numbers[0].T, numbers[1].T, strict=True)]
    return {
        "classes": round(float(np.abs(shares[0] - shares[1]).max()), 4),
        "classes_p": min(1.0, len(chances) * min(chances)),
    }


def _variation(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Total variation distance of two counts as shares: half the summed differences."""
    shares = [np.asarray(c, np.float64) / max(float(np.sum(c)), 1.0) for c in (one, other)]
    return round(float(np.abs(shares[0] - shares[1]).sum() / 2), 4)


def _coarse(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Steps of 8 values (32,): brightening leaves gaps in the finer histogram that mean nothing."""
    return np.asarray(histogram.reshape(32, 8).sum(axis=1))


def _by_chance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    table = np.stack([one, other])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0
    return float(chi2_contingency(table).pvalue)


def _outliers(dataset: Dataset, looks: Mapping[str, Looks]) -> dict[str, list[dict[str, Any]]]:
    """The darkest, the brightest and the flattest images of all splits."""
    where = [(name, row) for name in SPLITS for row in range(len(dataset.split(name)))]
    brightness = np.concatenate([looks[name].brightness for name in SPLITS])
    contrast = np.concatenate([looks[name].contrast for name in SPLITS])
    kinds = {
        "darkest": (brightness, 1),
        "brightest": (brightness, -1),
        "least_contrast": (contrast, 1),
    }
    return {
        kind: [
            describe_image(dataset, *where[place])
            | {
                "brightness": round(float(brightness[place]), 2),
                "contrast": round(float(contrast[place]), 2),
            }
            for place in np.argsort(sign * values, kind="stable")[:OUTLIERS].tolist()
        ]
        for kind, (values, sign) in kinds.items()
    }
