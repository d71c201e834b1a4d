"""Near-duplicates by perceptual hash: equal pictures saved again, resized, brightened, mirrored.

The hash is pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"):
grey, 32 × 32, discrete cosine transform, and of the 16 × 16 lowest frequencies one bit each: above
the median or not. Mirroring an image changes the sign of its odd frequencies and a quarter turn swaps
rows and columns, so the hashes of the eight symmetries of an image come from one transform.

Two images are near-duplicates where at most :data:`MOST_BITS` of 256 bits differ, in any of these
symmetries. Measured on PBC cells at 28 and 128 px and on PneumoniaMNIST: saving as JPEG of quality 70,
resizing to 75 or 200 %, brightening by a tenth and noise of 4 grey levels changed at most 22 bits in 99
of 100 images (38 for that noise on X-rays of 28 px). Of the 118 million pairs among 15,383 PBC cells one
of different files came within 40 bits: it is a copy, 28 bits away. Where all images have one outline
chance comes nearer: among 1,600 retinas of RetinaMNIST pairs grow frequent from 22 bits on.

The search is multi-index hashing (Norouzi, Punjani and Fleet 2012): the bits are cut into bands, and
only images that agree in a whole band are compared. Within a band an image is compared with the
:data:`WINDOW` next of the same key at most, so that the work is bounded by images × bands × window
whatever the images look like. With m bands every pair that differs in fewer than m bits is found
(the pigeonhole principle), unless more images than the window share a key; both are reported.
Copies turned by other angles are not found: that takes local features (:mod:`edgecell.data.copies`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

BITS = 256
MOST_BITS = 24
WINDOW = 48
SYMMETRIES = (
    "as it is",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180°",
    "mirrored along the diagonal",
    "turned by 90°",
    "mirrored along the other diagonal",
)
"""Seven of the eight: the turn by 270° is the turn by 90° of the other image of a pair."""

_SIDE, _KEPT = 32, 16
_WORDS = BITS // 64
_ODD = (-1.0) ** np.arange(_KEPT)

Hashes = NDArray[np.uint64]
"""(N, 7, 4): 256 bits of each symmetry of each image."""


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs (P, 2) of positions, first < second, sorted; the bits (P,) in which they differ, and the
    symmetry (P,) in :data:`SYMMETRIES` that brings them nearest.

    ``certain_up_to``: pairs of so few differing bits are all there, unless ``crowded``, the number of
    images that shared a key with more images than they were compared with, is above 0.
    """

    pairs: NDArray[np.int64]
    bits: NDArray[np.int64]
    symmetry: NDArray[np.int64]
    certain_up_to: int
    crowded: int

    def groups(self, count: int) -> NDArray[np.int64]:
        """A number per image (count,); images that are linked by pairs share it."""
        ones = np.ones(len(self.pairs))
        links = coo_matrix((ones, (self.pairs[:, 0], self.pairs[:, 1])), (count, count))
        return np.asarray(connected_components(links, directed=False)[1], np.int64)


def thumbnail(grey: Image.Image) -> NDArray[np.float32]:
    """What the hash of an image is made from: float32 (32, 32)."""
    small = grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32)


def hashes(thumbnails: NDArray[np.float32]) -> Hashes:
    """The hashes of all symmetries, uint64 (N, 7, 4), of thumbnails (N, 32, 32)."""
    low = dctn(thumbnails, axes=(1, 2), norm="ortho")[:, :_KEPT, :_KEPT]
    across, turned = _ODD[None, None, :], low.transpose(0, 2, 1)
    down = _ODD[None, :, None]
    views = (
        *(low, low * across, low * down, low * across * down),
        *(turned, turned * across, turned * across * down),
    )
    return np.stack([_packed(view) for view in views], axis=1)


def near_duplicates(
    found: Hashes, *, most_bits: int = MOST_BITS, window: int = WINDOW
) -> NearDuplicates:
    """All pairs of images at most ``most_bits`` apart that the banded search meets."""
    count = len(found)
    bands = _bands(count)
    first, bits, symmetry = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    crowded = np.zeros(count, bool)
    own = _keys(found[:, 0], bands)
    for view in range(found.shape[1]):
        other = own if view == 0 else _keys(found[:, view], bands)
        for band in range(bands.shape[0]):
            if view == 0:
                one, two, full = _meetings(own[:, band], found[:, 0, 0], None, window)
            else:
                keys = np.concatenate([own[:, band], other[:, band]])
                ties = np.concatenate([found[:, 0, 0], found[:, view, 0]])
                one, two, full = _meetings(keys, ties, count, window)
            crowded[full] = True
            apart = np.bitwise_count(found[one, 0] ^ found[two, view]).sum(axis=1, dtype=np.int64)
            near = apart <= most_bits
            low, high = np.minimum(one, two)[near], np.maximum(one, two)[near]
            first = np.concatenate([first, low * count + high])
            bits = np.concatenate([bits, apart[near]])
            symmetry = np.concatenate([symmetry, np.full(near.sum(), view, np.int64)])
        first, bits, symmetry = _nearest(first, bits, symmetry)
    pairs = np.stack(np.divmod(first, max(count, 1)), axis=1).reshape(-1, 2)
    return NearDuplicates(pairs, bits, symmetry, len(bands) - 1, int(crowded.sum()))


def _packed(low: NDArray[np.float32]) -> NDArray[np.uint64]:
    flat = low.reshape(len(low), -1)
    above = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64).reshape(len(low), _WORDS)


def _bands(count: int) -> NDArray[np.int64]:
    """Which bits form each band, (bands, width): wide enough that chance fills no key with many.

    The bits are dealt out in a fixed shuffled order: neighbouring frequencies hang together.
    """
    width = int(np.clip(np.ceil(np.log2(max(count, 2))) + 2, 8, 30))
    order = np.random.default_rng(0).permutation(BITS)
    return order[: BITS // width * width].reshape(-1, width)


def _keys(words: NDArray[np.uint64], bands: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number that each band's bits form, (N, bands)."""
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    weights = 1 << np.arange(bands.shape[1], dtype=np.int64)
    return np.stack([bits[:, band] @ weights for band in bands], axis=1)


def _meetings(
    keys: NDArray[np.int64], ties: NDArray[np.uint64], split: int | None, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of positions with equal keys, at most ``window`` apart in the order of key and tie.

    With ``split`` the positions from there on are views of the images before: a pair is an image and a
    view of another. Last the images whose key was too crowded for the window.
    """
    order = np.lexsort((ties, keys))
    ranked = keys[order]
    ones, twos = [], []
    for step in range(1, window + 1):
        same = ranked[step:] == ranked[:-step]
        if not same.any():
            break
        one, two = order[:-step][same], order[step:][same]
        if split is not None:
            mixed = (one < split) != (two < split)
            one, two = np.minimum(one, two)[mixed], np.maximum(one, two)[mixed] - split
            different = one != two
            one, two = one[different], two[different]
        ones.append(one)
        twos.append(two)
    beyond = ranked[window + 1 :] == ranked[: -window - 1]
    full = order[: len(beyond)][beyond]
    nothing = np.zeros(0, np.int64)
    return (
        np.concatenate(ones) if ones else nothing,
        np.concatenate(twos) if twos else nothing,
        full if split is None else full % split,
    )


def _nearest(
    pairs: NDArray[np.int64], bits: NDArray[np.int64], symmetry: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each pair once, sorted, as it is nearest."""
    order = np.lexsort((symmetry, bits, pairs))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(pairs[order]) != 0
    kept = order[first]
    return pairs[kept], bits[kept], symmetry[kept]
