"""The red, green and blue of a set of images in a few numbers, and whether two sets look alike.

Training writes down those of its images, so that a later stage can tell images of another camera or
stain, and channels in another order (BGR for RGB), from those that the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1000
"""Images that are measured at most, a seeded sample."""
APART = 1.0
"""Distance of two sets' means, in standard deviations of the images' means, from which on it is said.

Between train, val and test of PBC and of the MedMNIST sets at hand it is at most 0.2; between two
laboratories' blood cells 1.9.
"""
_LEAST_SD = 1.0  # a grey level; a set of equal images has no deviation to measure by
_FEWER = 0.25


@dataclass(frozen=True)
class Channels:
    """Of the mean colours of ``images`` images, in 0…255: mean and sd over them, by R, G, B.

    ``warmth``: mean and sd of red minus blue, which changes its sign where the channels are swapped.
    """

    images: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    warmth: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "images": self.images,
            "mean": [round(value, 3) for value in self.mean],
            "sd": [round(value, 3) for value in self.sd],
            "red_minus_blue": [round(value, 3) for value in self.warmth],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Channels:
        """What :meth:`to_json` wrote."""
        mean, spread = data["red_minus_blue"]
        return cls(data["images"], tuple(data["mean"]), tuple(data["sd"]), (mean, spread))


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
        return Channels(
            self.images, tuple(mean.tolist()), (0.0, 0.0, 0.0), (float(mean[0] - mean[2]), 0.0)
        )


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


def measure(images: NDArray[np.uint8]) -> Channels:
    """Measure images uint8 (N, H, W, 3), N at least 1: all of them up to SAMPLE, else a sample."""
    if len(images) > SAMPLE:
        images = images[sample_rows(len(images))]
    return of_means(images.mean(axis=(1, 2), dtype=np.float64))


def of_means(means: NDArray[np.float64]) -> Channels:
    """From the mean colour of each image, (N, 3)."""
    warmth = means[:, 0] - means[:, 2]
    return Channels(
        len(means),
        tuple(means.mean(axis=0).tolist()),
        tuple(means.std(axis=0).tolist()),
        (float(warmth.mean()), float(warmth.std())),
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
        f" {found.mean[worst]:.0f} there, {train.mean[worst]:.0f} in train"
        f" ({abs(apart[worst]):.1f} standard deviations apart); figures there say little about it"
    )


def _apart(train: Channels, mean: tuple[float, ...]) -> list[float]:
    """How far from train's each mean is, in train's standard deviations."""
    return [
        (there - here) / max(sd, _LEAST_SD)
        for here, there, sd in zip(train.mean, mean, train.sd, strict=True)
    ]
