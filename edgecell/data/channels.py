"""The red, green and blue of a set of images in a few numbers, and whether two sets look alike.

Training writes down those of its images, so that a later stage can tell images of another camera or
stain, and channels in another order (BGR for RGB), from those that the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.tasks import several_labels

SAMPLE = 1000
"""Images that are measured at most, a seeded sample."""
APART = 1.0
"""Distance of a mean from what train's classes span, in standard deviations within a class, from which
on it is said. docs/plausible.md has what real sets come to."""
_LEAST_SD = 1.0  # a grey level; a set of equal images has no deviation to measure by
_FEWER = 0.25


@dataclass(frozen=True)
class Channels:
    """Of the mean colours of ``images`` images, in 0…255, by R, G, B: the mean over them, ``sd`` within a
    class, and the lowest and highest mean of a class.

    A set with other shares of the classes has its mean anywhere between ``low`` and ``high``. Without
    classes both are ``mean``. ``warmth``: mean and sd of red minus blue, whose sign tells swapped channels.
    """

    images: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    warmth: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "images": self.images,
            "mean": [round(value, 3) for value in self.mean],
            "sd_within_class": [round(value, 3) for value in self.sd],
            "lowest_class_mean": [round(value, 3) for value in self.low],
            "highest_class_mean": [round(value, 3) for value in self.high],
            "red_minus_blue": [round(value, 3) for value in self.warmth],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Channels:
        """What :meth:`to_json` wrote."""
        mean, spread = data["red_minus_blue"]
        return cls(
            data["images"],
            mean=tuple(data["mean"]),
            sd=tuple(data["sd_within_class"]),
            low=tuple(data["lowest_class_mean"]),
            high=tuple(data["highest_class_mean"]),
            warmth=(mean, spread),
        )


@dataclass
class Running:
    """The mean colour of images that come batch by batch, in no more memory however many they are."""

    images: int = 0
    flat: int = 0
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count in images uint8 (N, H, W, 3)."""
        self.images += len(images)
        self.flat += int(flat(images).sum())
        self.total += images.mean(axis=(1, 2), dtype=np.float64).sum(axis=0)

    def channels(self) -> Channels:
        """What they come to; no spread is known of them. ValueError without an image."""
        if self.images == 0:
            raise ValueError("no images")
        mean = self.total / self.images
        return of_means(np.tile(mean, (self.images, 1)))


def flat(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which images of uint8 (N, H, W, 3) are one flat colour, bool (N,)."""
    return np.asarray((images == images[:, :1, :1]).all(axis=(1, 2, 3)))


def flat_line(count: int, total: int, where: str) -> str:
    """One line about images of one flat colour, or "" where there are none."""
    if not count:
        return ""
    return (
        f"{count} of {total} images of {where} are one flat colour: they show nothing, and what is said"
        " of them means nothing"
    )


def sample_rows(count: int, seed: int = 0) -> NDArray[np.int64]:
    """The rows of ``count`` images that are measured, in order."""
    chosen = np.random.default_rng(seed).permutation(count)[:SAMPLE]
    return np.sort(chosen).astype(np.int64)


def measure(images: NDArray[np.uint8], labels: NDArray[np.int64] | None = None) -> Channels:
    """Measure images uint8 (N, H, W, 3), N at least 1: all of them up to SAMPLE, else a sample.

    ``labels`` int (N,) are their classes; several labels to an image (N, C) count as none.
    """
    if len(images) > SAMPLE:
        rows = sample_rows(len(images))
        images, labels = images[rows], None if labels is None else labels[rows]
    return of_means(images.mean(axis=(1, 2), dtype=np.float64), labels)


def of_means(means: NDArray[np.float64], labels: NDArray[np.int64] | None = None) -> Channels:
    """From the mean colour of each image, (N, 3), and its class (N,)."""
    whole, within = means.mean(axis=0), means.std(axis=0)
    low = high = whole
    if labels is not None and not several_labels(labels):
        present, place = np.unique(labels, return_inverse=True)
        centres = np.stack([means[place == i].mean(axis=0) for i in range(len(present))])
        low, high = centres.min(axis=0), centres.max(axis=0)
        if len(means) > 2 * len(
            present
        ):  # with an image or two of a class there is no spread in it
            within = (means - centres[place]).std(axis=0)
    warmth = means[:, 0] - means[:, 2]
    return Channels(
        len(means),
        mean=tuple(whole.tolist()),
        sd=tuple(within.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        warmth=(float(warmth.mean()), float(warmth.std())),
    )


def drift_line(train: Channels, found: Channels, where: str) -> str:
    """One line where the images of ``where`` do not look like those of ``train``; "" where they do.

    Swapped channels are told from another look only where train is red or blue enough for it.
    """
    chance = 3 / np.sqrt(found.images)  # three standard errors of a mean
    middle, spread = train.warmth[0], max(train.warmth[1], _LEAST_SD)
    as_is, swapped = (abs(found.warmth[0] - sign * middle) / spread for sign in (1, -1))
    same = max(np.abs(_apart(train, found.mean[::-1]))) <= APART + chance
    if as_is > APART + chance and swapped < _FEWER * as_is and same:
        return (
            f"red and blue of {where} look swapped (BGR for RGB): red minus blue is"
            f" {found.warmth[0]:+.0f} there and {middle:+.0f} in train; save the images as RGB"
        )
    apart = _apart(train, found.mean)
    worst = max(range(3), key=lambda channel: abs(apart[channel]))
    if abs(apart[worst]) <= APART + chance:
        return ""
    colour = ("red", "green", "blue")[worst]
    return (
        f"images of {where} look otherwise than those the model was trained on: mean {colour}"
        f" {found.mean[worst]:.0f} there, {train.mean[worst]:.0f} in train and no class beyond"
        f" {(train.low if apart[worst] < 0 else train.high)[worst]:.0f}; what the model says there is"
        " not what it was judged by"
    )


def _apart(train: Channels, mean: tuple[float, ...]) -> list[float]:
    """How far each mean is outside of what train's classes span, in standard deviations within one."""
    return [
        (min(there - low, 0.0) + max(there - high, 0.0)) / max(sd, _LEAST_SD)
        for low, high, there, sd in zip(train.low, train.high, mean, train.sd, strict=True)
    ]
