"""Turned, mirrored, shifted or blurred copies of one photograph, found by what they show.

Augmented data sets are often saved as files with nothing in the names that says which photograph a
file came from. Here local features tell: SIFT (Lowe 2004) as RootSIFT (Arandjelović and Zisserman
2012), candidates by a bag of visual words (Sivic and Zisserman 2003), and a pair counts as one
photograph only where a rotation, scale and shift found by RANSAC (Fischler and Bolles 1981) carries
enough features of one image onto the other. SIFT does not know mirrored images; a mirrored
descriptor is the same numbers in another order, so that each image is described once.

Needs OpenCV: ``pip install -c constraints.txt -e ".[copies]"``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edgecell.data.types import ImageSource
from edgecell.errors import ConfigError

LONG_SIDE = 128
"""Images are brought to this longest side, pixels, before features are looked for."""
FEATURES = 120
WORDS = 512
CANDIDATES = 10
LEAST_AGREEING = 12
"""Features that must agree on one movement. Unrelated fields of one smear reach 9, copies 15 to 100."""
TOLERANCE = 2.0
SCALES = (0.5, 2.0)
_CHUNK = 256


@dataclass(frozen=True)
class Features:
    """Keypoints of one image: positions float32 (K, 2) in pixels, descriptors uint8 (K, 128)."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]


@dataclass(frozen=True)
class Copies:
    """A group number per image, int64 (N,), and how many images showed too little to be compared."""

    groups: NDArray[np.int64]
    without_features: int


def find_copies(source: ImageSource, progress: Callable[[int], None] | None = None) -> Copies:
    """Group the images of ``source`` by photograph; an image without copies is a group of its own.

    ``progress`` gets the number of images done; the search itself takes about as long again.

    Raises:
        ConfigError: OpenCV is not installed. DataError: an image cannot be decoded.
    """
    cv2 = _opencv()
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the threads below are enough; BLAS' own would fight with them
        features = _describe_all(cv2, source, progress)
        pairs = _candidates(features)
        agreeing = _in_threads(
            lambda pair: _agree(cv2, features[pair[0]], features[pair[1]]), pairs
        )
    linked = np.array([p for p, n in zip(pairs, agreeing, strict=True) if n >= LEAST_AGREEING])
    linked = linked.reshape(-1, 2)
    links = coo_matrix((np.ones(len(linked)), (linked[:, 0], linked[:, 1])), [len(source)] * 2)
    _, groups = connected_components(links, directed=False)
    empty = sum(len(f.points) < LEAST_AGREEING for f in features)
    return Copies(groups.astype(np.int64), empty)


def _opencv() -> Any:
    if importlib.util.find_spec("cv2") is None:
        raise ConfigError(
            "finding copies needs OpenCV; install it with: pip install -c constraints.txt -e '.[copies]'"
        )
    import cv2

    return cv2


def _describe_all(
    cv2: Any, source: ImageSource, progress: Callable[[int], None] | None
) -> list[Features]:
    done = 0
    features: list[Features] = []
    for start in range(0, len(source), _CHUNK):
        rows = list(range(start, min(start + _CHUNK, len(source))))
        features += _in_threads(lambda row: _describe(cv2, source.read(row)), rows)
        done += len(rows)
        if progress is not None:
            progress(done)
    return features


def _describe(cv2: Any, image: NDArray[np.uint8]) -> Features:
    grey = Image.fromarray(image).convert("L")
    ratio = LONG_SIDE / max(grey.size)
    size = (max(1, round(grey.width * ratio)), max(1, round(grey.height * ratio)))
    # Not resize() of preprocess: this is no model input, and enlarging wants a smooth kernel.
    scaled = np.asarray(grey.resize(size, Image.Resampling.BICUBIC))
    sift = cv2.SIFT_create(nfeatures=FEATURES, contrastThreshold=0.02)
    keypoints, descriptors = sift.detectAndCompute(scaled, None)
    if descriptors is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    return Features(points, descriptors.astype(np.uint8))  # OpenCV's are whole numbers to 255


def _in_threads(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        return list(pool.map(work, items))


def _rooted(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RootSIFT: unit vectors whose scalar product is Hellinger's kernel."""
    values = descriptors.astype(np.float32)
    rooted: NDArray[np.float32] = np.sqrt(values / np.maximum(values.sum(1, keepdims=True), 1))
    return rooted


def _mirrored(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The descriptors of the mirrored image: 4 rows × 4 columns × 8 directions, across the keypoint's own."""
    cells = descriptors.reshape(-1, 4, 4, 8)
    return cells[:, ::-1][..., -np.arange(8) % 8].reshape(-1, 128)


def _candidates(features: list[Features]) -> list[tuple[int, int]]:
    """Pairs of images with similar words, each once: the CANDIDATES nearest of every image."""
    from sklearn.cluster import MiniBatchKMeans

    owner = np.repeat(np.arange(len(features)), [len(f.points) for f in features])
    if len(features) < 2 or not len(owner):
        return []
    everything = np.concatenate([f.descriptors for f in features])
    chosen = np.random.default_rng(0).permutation(len(everything))[: 60 * WORDS]
    means = MiniBatchKMeans(
        min(WORDS, len(chosen)), batch_size=4096, n_init=1, max_iter=5, random_state=0
    ).fit(_rooted(everything[chosen]))
    starts = range(0, len(everything), 65536)
    slices = [everything[i : i + 65536] for i in starts]
    plain = np.concatenate(_in_threads(lambda part: means.predict(_rooted(part)), slices))
    turned = np.concatenate(
        _in_threads(lambda part: means.predict(_rooted(_mirrored(part))), slices)
    )
    rows, mirrored = (_bags(words, owner, len(features)) for words in (plain, turned))
    spread = np.log(len(features) / np.maximum(1, (rows > 0).sum(axis=0)))
    rows, mirrored = (_unit(np.sqrt(bag) * spread) for bag in (rows, mirrored))
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(features), 1024):
        block = slice(start, start + 1024)
        likeness = np.maximum(rows[block] @ rows.T, mirrored[block] @ rows.T)
        own = np.arange(len(likeness))
        likeness[own, start + own] = -1
        count = min(CANDIDATES, len(features) - 1)
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        for row, others in enumerate(nearest.tolist(), start):
            pairs.update((min(row, other), max(row, other)) for other in others)
    return sorted(pairs)


def _bags(words: NDArray[np.int32], owner: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    bags = np.zeros((count, WORDS), np.float32)
    np.add.at(bags, (owner, words), 1)
    return bags


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit.astype(np.float32)


def _agree(cv2: Any, one: Features, other: Features) -> int:
    """How many features agree on one movement of ``one``, or of its mirror image, onto ``other``."""
    if min(len(one.points), len(other.points)) < LEAST_AGREEING:
        return 0
    target = _rooted(other.descriptors)
    best = 0
    for flip in (False, True):
        descriptors = _mirrored(one.descriptors) if flip else one.descriptors
        likeness = _rooted(descriptors) @ target.T
        rows, nearest, second = _two_nearest(likeness)
        # Lowe's ratio test at 0.9 on distances, √(2 − 2·likeness); and each must be the other's nearest.
        clear = (1 - likeness[rows, nearest]) < 0.81 * (1 - second)
        clear &= likeness.argmax(axis=0)[nearest] == rows
        if clear.sum() < LEAST_AGREEING:
            continue
        start = one.points[clear] * np.array([-1 if flip else 1, 1], np.float32)
        movement, agreeing = cv2.estimateAffinePartial2D(
            start,
            other.points[nearest[clear]],
            method=cv2.RANSAC,
            ransacReprojThreshold=TOLERANCE,
            maxIters=500,
        )
        if movement is None or not SCALES[0] < np.hypot(*movement[:, 0]) < SCALES[1]:
            continue
        best = max(best, int(agreeing.sum()))
    return best


def _two_nearest(
    likeness: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers, the column of each row's largest value, and its second largest value."""
    rows = np.arange(len(likeness))
    nearest = likeness.argmax(axis=1)
    rest = likeness.copy()
    rest[rows, nearest] = -1
    return rows, nearest, rest.max(axis=1)
